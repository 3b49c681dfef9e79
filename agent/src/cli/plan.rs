//! What a configuration says becomes what is run.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashSet;

use super::backends::{Backends, Change};
use super::load::Loaded;
use super::pipeline::Wish;
use crate::assemble::Reading;
use crate::config::{LoadError, Settings, TracingBackend as TracingTo, ZipkinFormat, resources};
use crate::decide::{Destinations, Plan, Policies, Route, Sampling};
use crate::export::{BackendConfig, NameLimit, OpenError, Protocol, Queries, Wording};
use crate::http::context::Order;
use crate::identify::Naming;
use crate::link::TraceWidth;
use crate::policy::{BackendKind, EmptyPattern, Engine, Resources, TracingBackend, ZipkinApi};
use crate::sample::{Percentage, SamplerConfig};

/// Why nothing is run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The configuration is unusable.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// The resources are unusable.
    #[error("the resources are wrong:\n{0}")]
    Resources(#[from] resources::Refused),
    /// A backend is unusable.
    #[error(transparent)]
    Backend(#[from] OpenError),
    /// A name on the command line is no pattern.
    #[error("{flag} `{value}`: {source}")]
    Pattern {
        /// The flag.
        flag: &'static str,
        /// What was typed.
        value: String,
        /// What is wrong with it.
        source: EmptyPattern,
    },
}

/// How requests are read.
pub(super) fn reading(settings: &Settings) -> Reading {
    let tracing = settings.tracing.as_ref();
    Reading {
        order: Order::preferring(&settings.capture.context_order),
        context_header: tracing.and_then(|tracing| tracing.context_header.clone()),
        targets: !settings.capture.selection.exclude_paths.is_empty(),
        lines: sampler(settings).needs_operations(),
    }
}

/// What workloads are called.
pub(super) fn naming(settings: &Settings) -> Naming {
    Naming {
        service: settings.agent.service.clone(),
        node: settings.agent.node.clone(),
    }
}

/// Decides where neither a request nor a policy does.
pub(super) fn sampler(settings: &Settings) -> &SamplerConfig {
    const ALL: &SamplerConfig = &SamplerConfig::Const(true);
    settings
        .tracing
        .as_ref()
        .map_or(ALL, |tracing| &tracing.sampler)
}

fn name_limit(settings: &Settings) -> Option<NameLimit> {
    settings.tracing.as_ref()?.name_limit
}

/// What the reader is told.
pub(super) fn wish(settings: &Settings) -> Wish {
    Wish {
        ports: settings.capture.selection.ports.clone(),
        reading: reading(settings),
    }
}

/// Opens the backends of a configuration and plans the ways to them. Those
/// that are open already stay so. Must run within a tokio runtime.
///
/// # Errors
/// A backend cannot be opened; then nothing has changed.
pub(super) fn plan(
    loaded: &Loaded,
    own: HashSet<IpAddr>,
    backends: &mut Backends,
) -> Result<(Plan, Change), PlanError> {
    let settings = &loaded.settings;
    let plan = |destinations| Plan {
        selection: settings.capture.selection.clone(),
        destinations,
        sampler: sampler(settings).clone(),
        name_limit: name_limit(settings),
        directory: loaded.directory.clone(),
        assume_http: loaded.assume_http,
    };
    // Before a cluster has said which policies there are, nothing is traced:
    // it might go where nobody wants it. Nor where it may have some that it does
    // not tell of.
    let is_open = loaded.directory.as_ref().is_some_and(|all| !all.synced) || loaded.withheld;
    let nothing = is_open.then(Arc::default);
    // Dataplanes alone say nothing about where spans go; a policy whose Mesh is
    // gone says that not everything goes anywhere.
    let has_rules = |all: &Resources| {
        all.meshes().next().is_some() || all.all_traffic_traces().next().is_some()
    };
    let resources = loaded.resources.as_ref().or(nothing.as_ref());
    let Some(resources) = resources.filter(|all| is_open || has_rules(all)) else {
        let wanted: Vec<_> = single(settings).into_iter().collect();
        let change = backends.change(&wanted)?;
        let shares = wanted
            .iter()
            .all(|backend| backend.protocol.has_shared_spans());
        let route = Route {
            backend: change.ids.first().copied().unwrap_or_default(),
            sampling: Sampling::Configured,
            shared_spans: settings.shared_spans() && shares,
            width: settings.trace_width(),
            debug: settings
                .tracing
                .as_ref()
                .is_some_and(|tracing| tracing.debug),
        };
        return Ok((plan(Destinations::One(route)), change));
    };
    let engine = Arc::new(Engine::new(Arc::clone(resources)));
    let of_meshes: Vec<_> = resources
        .meshes()
        .flat_map(|mesh| &mesh.backends)
        .filter_map(|backend| Some((backend, of_mesh(backend, settings)?)))
        .collect();
    let wanted: Vec<_> = of_meshes.iter().map(|(_, config)| config.clone()).collect();
    let change = backends.change(&wanted)?;
    let policies = Policies::new(engine, own, |backend| {
        let place = of_meshes
            .iter()
            .position(|(of, _)| Arc::ptr_eq(of, backend))?;
        let (_, config) = of_meshes.get(place)?;
        let mut route = route(backend, *change.ids.get(place)?);
        route.shared_spans &= config.protocol.has_shared_spans();
        Some(route)
    });
    Ok((plan(Destinations::Policies(policies)), change))
}

/// The one backend of a configuration without a Mesh.
fn single(settings: &Settings) -> Option<BackendConfig> {
    let (name, protocol, target) = match &settings.tracing {
        Some(tracing) => match &tracing.backend {
            TracingTo::Zipkin { endpoint } => ("zipkin", of_zipkin(endpoint, settings), endpoint),
            TracingTo::Jaeger { agent } => ("jaeger", Protocol::JaegerCompact, agent),
            TracingTo::Otlp { endpoint } => ("otlp", Protocol::Otlp, endpoint),
        },
        None => {
            let url = settings.export.zipkin.as_ref()?;
            ("zipkin", of_zipkin(url, settings), url)
        }
    };
    Some(backend(name.into(), protocol, target, settings))
}

/// What a Zipkin endpoint is sent; the configuration has seen to it that the
/// format fits.
fn of_zipkin(endpoint: &str, settings: &Settings) -> Protocol {
    match settings.export.zipkin_format {
        ZipkinFormat::Proto => Protocol::ZipkinProto,
        format => Protocol::of_zipkin(endpoint, None, format == ZipkinFormat::Thrift),
    }
}

fn backend(name: Arc<str>, protocol: Protocol, target: &str, settings: &Settings) -> BackendConfig {
    BackendConfig {
        name,
        protocol,
        target: target.to_owned(),
        wording: wording(settings),
        limits: settings.export.limits,
        delivery: settings.export.delivery.clone(),
    }
}

/// A backend of a Mesh, if it is one that can be sent to.
fn of_mesh(of: &TracingBackend, settings: &Settings) -> Option<BackendConfig> {
    let (protocol, target) = match &of.kind {
        BackendKind::Zipkin {
            url, api_version, ..
        } => match api_version {
            // A server decodes by the path, whatever the version is called.
            ZipkinApi::Json => (Protocol::of_zipkin(url, None, false), url),
            ZipkinApi::Proto => (Protocol::ZipkinProto, url),
        },
        BackendKind::OpenTelemetry { endpoint } => (Protocol::Otlp, endpoint),
        BackendKind::Jaeger { agent } => (Protocol::JaegerCompact, agent),
        BackendKind::Datadog { .. } => return None,
    };
    let name = format!("{}/{}", of.mesh, of.name);
    let mut backend = backend(name.into(), protocol, target, settings);
    // They would go to whatever host a resource names.
    backend.delivery.credentials = None;
    Some(backend)
}

fn route(backend: &TracingBackend, id: crate::link::Backend) -> Route {
    let (wide, shared) = match backend.kind {
        BackendKind::Zipkin {
            trace_id_128,
            shared_span_context,
            ..
        } => (trace_id_128, shared_span_context),
        BackendKind::OpenTelemetry { .. }
        | BackendKind::Jaeger { .. }
        | BackendKind::Datadog { .. } => (true, false),
    };
    Route {
        backend: id,
        sampling: Sampling::Percentage(Percentage::new(backend.sampling)),
        shared_spans: shared,
        width: match wide {
            true => TraceWidth::Bits128,
            false => TraceWidth::Bits64,
        },
        debug: false,
    }
}

/// How spans are put into words.
pub(super) fn wording(settings: &Settings) -> Wording {
    Wording {
        queries: match settings.capture.redact_query {
            true => Queries::Redacted,
            false => Queries::AsSent,
        },
        name_limit: name_limit(settings),
    }
}

/// Whether spans have no backend to go to.
pub(super) fn goes_nowhere(loaded: &Loaded) -> bool {
    let resources = loaded.resources.as_ref();
    let meshes = resources.is_some_and(|all| all.meshes().next().is_some());
    !meshes && single(&loaded.settings).is_none()
}
