//! What resources have to do with each other: identities that come twice, and
//! references that lead nowhere.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::document::{self, Placed};
use crate::config::nearest;
use crate::config::report::{Finding, Report, Severity, in_order};
use crate::config::table::At;
use crate::policy::{
    Dataplane, Engine, Host, Mesh, Resource, ResourceKey, Resources, TrafficTrace, nearest_backend,
};

/// The resources of these texts, by their names, and a report on each.
pub(super) fn together(texts: Vec<(String, String)>) -> (Resources, Vec<Report>) {
    let mut all = Together::default();
    for (file, text) in texts {
        let (placed, findings) = document::read(&text);
        let place = all.reports.len();
        all.reports.push(Report {
            file,
            text,
            findings,
        });
        for placed in placed {
            all.add(place, placed);
        }
    }
    let resources: Resources = all
        .resources
        .iter()
        .map(|(_, placed)| placed.resource.clone())
        .collect();
    // Of what is refused nobody knows what it was meant to be.
    if !all.reports.iter().any(Report::has_errors) {
        all.relate(&Arc::new(resources.clone()));
    }
    for report in &mut all.reports {
        report.findings = in_order(std::mem::take(&mut report.findings));
    }
    (resources, all.reports)
}

#[derive(Default)]
struct Together {
    reports: Vec<Report>,
    /// With the place of its file.
    resources: Vec<(usize, Placed)>,
    first: HashMap<ResourceKey, usize>,
}

impl Together {
    fn add(&mut self, file: usize, placed: Placed) {
        let key = placed.resource.key();
        // Without a name it is refused already.
        if key.name.is_empty() {
            return;
        }
        if let Some((other, first)) = self.first.get(&key).and_then(|n| self.resources.get(*n)) {
            let message = format!("{key} is there twice");
            let hint = self.reports.get(*other).map(|report| {
                let place = report.place(first.places.name.span.start);
                let (line, column) = (place.line, place.column);
                format!(
                    "the other is at {}:{line}:{column}; remove one",
                    report.file
                )
            });
            let at = &placed.places.name;
            push(&mut self.reports, file, Severity::Error, at, message, hint);
            return;
        }
        self.first.insert(key, self.resources.len());
        self.resources.push((file, placed));
    }

    /// Warns of what refers to nothing, or does nothing.
    fn relate(&mut self, resources: &Arc<Resources>) {
        let engine = Engine::new(Arc::clone(resources));
        let used = used_backends(resources);
        let selecting = winners(&engine);
        let all = std::mem::take(&mut self.resources);
        for (file, placed) in &all {
            let mut warn = |at: &At, message: String, hint: Option<String>| {
                push(
                    &mut self.reports,
                    *file,
                    Severity::Warning,
                    at,
                    message,
                    hint,
                );
            };
            match &placed.resource {
                Resource::Mesh(mesh) => of_mesh(mesh, placed, resources, &used, &mut warn),
                Resource::TrafficTrace(trace) => {
                    of_policy(trace, placed, resources, &selecting, &mut warn);
                }
                Resource::Dataplane(dataplane) => {
                    of_dataplane(dataplane, placed, &engine, &mut warn);
                }
            }
        }
    }
}

fn push(
    reports: &mut [Report],
    file: usize,
    severity: Severity,
    at: &At,
    message: String,
    hint: Option<String>,
) {
    if let Some(report) = reports.get_mut(file) {
        report.findings.push(Finding {
            severity,
            field: at.field.clone(),
            message,
            hint,
            span: at.span.clone(),
        });
    }
}

/// Dataplanes that are asked whether they know a policy that selects none.
const COMPARED: usize = 1000;

type Names = HashSet<(Arc<str>, Arc<str>)>;

/// Mesh and name of each backend that a policy means.
fn used_backends(resources: &Resources) -> Names {
    let traces = resources.all_traffic_traces();
    traces
        .filter_map(|trace| {
            let mesh = resources.mesh(&trace.mesh)?;
            let backend = mesh.backend(trace.backend.as_deref())?;
            Some((Arc::clone(&mesh.name), Arc::clone(&backend.name)))
        })
        .collect()
}

/// Mesh and name of each policy that selects a Dataplane.
fn winners(engine: &Engine) -> Names {
    let dataplanes = engine.resources().all_dataplanes();
    dataplanes
        .filter_map(|dataplane| {
            let decision = engine.decide(&dataplane.mesh, &dataplane.inbounds);
            Some((Arc::clone(&decision.mesh), decision.policy.clone()?))
        })
        .collect()
}

fn of_mesh(
    mesh: &Mesh,
    placed: &Placed,
    resources: &Resources,
    used: &Names,
    warn: &mut impl FnMut(&At, String, Option<String>),
) {
    if mesh.backends.is_empty() {
        return;
    }
    if resources.traffic_traces(&mesh.name).next().is_none() {
        let message = format!(
            "mesh \"{}\" has tracing backends but no TrafficTrace: nothing of it is traced",
            mesh.name
        );
        let hint = "a defaultBackend alone traces nothing; add a TrafficTrace".to_owned();
        let at = placed
            .places
            .tracing
            .as_ref()
            .unwrap_or(&placed.places.name);
        warn(at, message, Some(hint));
        return;
    }
    for (backend, at) in mesh.backends.iter().zip(&placed.places.backends) {
        let key = (Arc::clone(&mesh.name), Arc::clone(&backend.name));
        if !used.contains(&key) {
            let message = format!("no TrafficTrace uses backend \"{}\"", backend.name);
            warn(at, message, None);
        }
    }
}

fn of_policy(
    trace: &TrafficTrace,
    placed: &Placed,
    resources: &Resources,
    selecting: &Names,
    warn: &mut impl FnMut(&At, String, Option<String>),
) {
    let Some(mesh) = resources.mesh(&trace.mesh) else {
        let (message, hint) = no_mesh(&trace.mesh, resources);
        return warn(&placed.places.mesh, message, hint);
    };
    if mesh.backend(trace.backend.as_deref()).is_none() {
        let at = placed
            .places
            .backend
            .as_ref()
            .unwrap_or(&placed.places.name);
        match &trace.backend {
            Some(wanted) => {
                let message = format!(
                    "mesh \"{}\" has no backend \"{wanted}\": what this selects is not traced",
                    mesh.name
                );
                let hint = match nearest_backend(mesh, wanted) {
                    Some(nearest) => Some(format!("did you mean \"{nearest}\"?")),
                    None => Some(backends(mesh)),
                };
                warn(at, message, hint);
            }
            None => {
                let message = format!(
                    "no backend is named, and mesh \"{}\" has no defaultBackend: what this \
                     selects is not traced",
                    mesh.name
                );
                warn(at, message, Some(backends(mesh)));
            }
        }
    }
    let key = (Arc::clone(&trace.mesh), Arc::clone(&trace.name));
    if selecting.contains(&key) || resources.dataplanes(&trace.mesh).next().is_none() {
        return;
    }
    let compared = resources.dataplanes(&trace.mesh).take(COMPARED);
    let mut ranks = compared.filter_map(|dataplane| trace.rank(&dataplane.inbounds));
    let message = match ranks.next().is_some() {
        true => "this selects no Dataplane that a stronger policy does not select",
        false => "this selects none of the Dataplanes",
    };
    let hint = "`nodespan explain` says why, for the tags of a workload".to_owned();
    warn(&placed.places.name, message.to_owned(), Some(hint));
}

/// `it has "a", "b"`
fn backends(mesh: &Mesh) -> String {
    let names = mesh
        .backends
        .iter()
        .map(|backend| format!("\"{}\"", backend.name));
    match names.collect::<Vec<_>>().as_slice() {
        [] => "it has no tracing backends".to_owned(),
        names => format!("it has {}", names.join(", ")),
    }
}

fn of_dataplane(
    dataplane: &Dataplane,
    placed: &Placed,
    engine: &Engine,
    warn: &mut impl FnMut(&At, String, Option<String>),
) {
    let resources = engine.resources();
    if let Host::Name(name) = &dataplane.address {
        let message = format!("the address \"{name}\" is a name, by which no process is found");
        let hint = "write the IP address, or a serviceAddress for each inbound".to_owned();
        if dataplane
            .listeners
            .iter()
            .any(|listener| listener.service_address.ip().is_none())
        {
            warn(&placed.places.name, message, Some(hint));
        }
    }
    // Without any Mesh it may be there to name a workload.
    if resources.mesh(&dataplane.mesh).is_none() {
        if resources.meshes().next().is_some() {
            let (message, hint) = no_mesh(&dataplane.mesh, resources);
            warn(&placed.places.mesh, message, hint);
        }
        return;
    }
    if engine
        .decide(&dataplane.mesh, &dataplane.inbounds)
        .backend
        .is_none()
    {
        return;
    }
    for (inbound, at) in dataplane.inbounds.iter().zip(&placed.places.inbounds) {
        if inbound.protocol.is_traced() && !inbound.protocol.is_captured() {
            let message = format!(
                "this inbound is selected, but {} is not captured by this version",
                inbound.protocol
            );
            warn(at, message, None);
        }
    }
}

fn no_mesh(name: &str, resources: &Resources) -> (String, Option<String>) {
    let names = resources.meshes().map(|mesh| &*mesh.name);
    let hint = nearest(name, names).map(|nearest| format!("did you mean \"{nearest}\"?"));
    let message = format!("there is no Mesh \"{name}\" among the resources");
    (message, hint)
}
