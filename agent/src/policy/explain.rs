//! Why a workload is or is not traced, as values that can be sent and drawn.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::backend::TracingBackend;
use super::engine::{Decision, Engine, Outcome};
use super::resource::{Inbound, TrafficTrace};
use super::tags::{ANY, Rank, Selector};

/// Policies that did not match are told about at most.
const NEAR: usize = 3;

/// All that led to a decision.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Explanation {
    /// The workload's mesh.
    pub mesh: String,
    /// Its inbounds.
    pub inbounds: Vec<ExplainedInbound>,
    /// The policies that matched, the winner first, then from the strongest
    /// to the weakest.
    pub matched: Vec<Candidate>,
    /// Of those that did not, the few that came nearest.
    pub near: Vec<NearMiss>,
    /// Policies of the mesh.
    pub policies: usize,
    /// The winner's name, also if its backend does not exist.
    pub policy: Option<String>,
    /// Where spans go.
    pub backend: Option<ExplainedBackend>,
    /// Whether policies trace what the workload serves: there is a backend,
    /// and an inbound is `http`, `http2` or `grpc`.
    pub traced: bool,
    /// Why, or why not.
    pub reason: String,
    /// What else there is to know: what this version cannot do about it.
    pub notes: Vec<String>,
}

/// An inbound, or a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExplainedInbound {
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its protocol; `tcp` if none is named.
    pub protocol: String,
}

/// A backend, without secrets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExplainedBackend {
    /// Its name.
    pub name: String,
    /// `zipkin`, `opentelemetry`, `jaeger` or `datadog`.
    #[serde(rename = "type")]
    pub kind: String,
    /// Where it listens.
    pub url: String,
    /// Percent.
    pub sampling: f64,
}

/// A policy that matched.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Candidate {
    /// Its name.
    pub policy: String,
    /// The strongest of its selectors that match.
    pub selector: BTreeMap<String, String>,
    /// That one's rank.
    pub rank: Rank,
    /// What became of it.
    pub fate: Fate,
}

/// What became of a policy that matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Fate {
    /// It won.
    Won,
    /// The winner's selector has more tags.
    FewerTags,
    /// As many, but more exact values.
    FewerExact,
    /// The winner was created later.
    Older,
    /// The winner's name comes first.
    LaterName,
    /// Nothing wins: the mesh does not exist.
    NoMesh,
}

/// A policy that did not match.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearMiss {
    /// Its name.
    pub policy: String,
    /// What the nearest of its selectors asks for in vain.
    pub unmet: Vec<Unmet>,
}

/// A tag that a selector asks for in vain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unmet {
    /// Its name.
    pub tag: String,
    /// The value it must have, `*` for any.
    pub wanted: String,
    /// The value it has; none if the workload does not have the tag.
    pub found: Option<String>,
}

/// What `nodespan explain --output json` prints.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Summary<'a> {
    mesh: &'a str,
    policy: Option<&'a str>,
    backend: Option<&'a ExplainedBackend>,
    traced: bool,
    reason: &'a str,
}

impl Explanation {
    /// The short form.
    #[must_use]
    pub fn summary(&self) -> Summary<'_> {
        Summary {
            mesh: &self.mesh,
            policy: self.policy.as_deref(),
            backend: self.backend.as_ref(),
            traced: self.traced,
            reason: &self.reason,
        }
    }
}

impl Engine {
    /// Why a workload of this mesh is or is not traced.
    #[must_use]
    pub fn explain(&self, mesh: &str, inbounds: &[Inbound]) -> Explanation {
        let decision = self.decide(mesh, inbounds);
        let policies: Vec<_> = self.resources.traffic_traces(mesh).collect();
        let (matched, near) = compare(&policies, decision.policy.as_deref(), inbounds);
        let mut notes = notes(&decision, inbounds);
        if let Outcome::NoMesh | Outcome::NoPolicy = decision.outcome {
            notes.extend(self.elsewhere(mesh, inbounds));
        }
        let mut reason = self.reason(&decision, policies.len());
        for note in &notes {
            let _infallible = write!(reason, "; {note}");
        }
        Explanation {
            mesh: mesh.to_owned(),
            inbounds: inbounds.iter().map(ExplainedInbound::from).collect(),
            matched,
            near,
            policies: policies.len(),
            policy: decision.policy.as_deref().map(str::to_owned),
            backend: decision.backend.as_deref().map(ExplainedBackend::from),
            traced: decision.is_traced(),
            reason,
            notes,
        }
    }

    fn reason(&self, decision: &Decision, policies: usize) -> String {
        let mesh = &decision.mesh;
        let policy = decision.policy.as_deref().unwrap_or_default();
        let backend = decision.backend.as_deref().map_or("", |b| &b.name);
        match &decision.outcome {
            Outcome::Selected => {
                format!("policy \"{policy}\" sends its spans to backend \"{backend}\"")
            }
            Outcome::OutgoingOnly => format!(
                "none of its inbounds is http, http2 or grpc (without a kuma.io/protocol it is \
                 tcp); of its outgoing calls those to such services go to backend \"{backend}\" \
                 by policy \"{policy}\""
            ),
            Outcome::NoMesh => {
                let names = self.resources.meshes().map(|mesh| &*mesh.name);
                let mut text = format!("there is no Mesh \"{mesh}\"");
                if let Some(nearest) = crate::nearest::nearest(mesh, names) {
                    let _infallible = write!(text, "; did you mean \"{nearest}\"?");
                }
                text
            }
            Outcome::NoPolicy => match policies {
                0 => format!(
                    "mesh \"{mesh}\" has no TrafficTrace (a defaultBackend alone traces nothing)"
                ),
                1 => format!("the one TrafficTrace of mesh \"{mesh}\" does not match"),
                n => format!("none of the {n} TrafficTraces of mesh \"{mesh}\" matches"),
            },
            Outcome::UnknownBackend { wanted, nearest } => {
                let all = self.backends(mesh);
                match nearest {
                    Some(nearest) => format!(
                        "policy \"{policy}\" names backend \"{wanted}\", which mesh \"{mesh}\" \
                         does not have; the nearest is \"{nearest}\""
                    ),
                    None => format!(
                        "policy \"{policy}\" names backend \"{wanted}\", which mesh \"{mesh}\" \
                         does not have; {all}"
                    ),
                }
            }
            Outcome::NoBackend => format!(
                "policy \"{policy}\" names no backend, and mesh \"{mesh}\" has no defaultBackend; \
                 {}",
                self.backends(mesh)
            ),
        }
    }

    /// `it has "a", "b"`
    fn backends(&self, mesh: &str) -> String {
        let backends = self.resources.mesh(mesh).map(|mesh| &mesh.backends);
        let names: Vec<String> = backends
            .into_iter()
            .flatten()
            .map(|backend| format!("\"{}\"", backend.name))
            .collect();
        match names.as_slice() {
            [] => "it has no tracing backends".to_owned(),
            names => format!("it has {}", names.join(", ")),
        }
    }

    /// Other meshes whose policies would match.
    fn elsewhere(&self, mesh: &str, inbounds: &[Inbound]) -> Option<String> {
        let found = self
            .meshes
            .iter()
            .filter(|(other, _)| &***other != mesh)
            .filter_map(|(other, policies)| {
                let decision = policies.decide(inbounds);
                Some((other, decision.policy.as_ref()?))
            })
            .min();
        // Of a mesh that does not exist, too: it may be misspelt there.
        let lost = || {
            let traces = self.resources.all_traffic_traces();
            let others = traces.filter(|trace| *trace.mesh != *mesh);
            let matching = others.filter(|trace| trace.rank(inbounds).is_some());
            matching.map(|trace| (&trace.mesh, &trace.name)).min()
        };
        let (other, policy) = found.or_else(lost)?;
        Some(format!(
            "policy \"{policy}\" would match, but it is of mesh \"{other}\""
        ))
    }
}

/// What this version cannot do about a decision.
fn notes(decision: &Decision, inbounds: &[Inbound]) -> Vec<String> {
    let mut notes = Vec::new();
    let Some(backend) = &decision.backend else {
        return notes;
    };
    if !backend.is_exported() {
        notes.push(format!(
            "nodespan does not send to {} backends, so the spans are dropped",
            backend.type_name()
        ));
    }
    let unseen =
        |inbound: &Inbound| inbound.protocol.is_traced() && !inbound.protocol.is_captured();
    if inbounds.iter().any(unseen) {
        let seen = inbounds
            .iter()
            .any(|inbound| inbound.protocol.is_captured());
        notes.push(
            match seen {
                true => "requests to its http2 and grpc inbounds are not captured by this version",
                false => "HTTP/2 is not captured by this version",
            }
            .to_owned(),
        );
    }
    if decision.sampling == 0.0 {
        notes
            .push("its sampling is 0 %: only what the caller decided to sample is kept".to_owned());
    }
    notes
}

/// The policies that match, and those that nearly do.
fn compare(
    policies: &[&Arc<TrafficTrace>],
    winner: Option<&str>,
    inbounds: &[Inbound],
) -> (Vec<Candidate>, Vec<NearMiss>) {
    let mut matched = Vec::new();
    let mut near = Vec::new();
    for policy in policies {
        match strongest(policy, inbounds) {
            Some(selector) => matched.push((*policy, selector)),
            None => near.extend(near_miss(policy, inbounds)),
        }
    }
    // By name they are already.
    matched.sort_by_key(|(policy, selector)| std::cmp::Reverse((selector.rank(), policy.created)));
    let best = matched
        .iter()
        .find(|(policy, _)| Some(&*policy.name) == winner)
        .map(|(policy, selector)| (Arc::clone(policy), selector.rank()));
    let matched = matched
        .into_iter()
        .map(|(policy, selector)| {
            let rank = selector.rank();
            let fate = match &best {
                Some((winner, _)) if winner.name == policy.name => Fate::Won,
                Some((_, best)) if best.total() > rank.total() => Fate::FewerTags,
                Some((_, best)) if *best > rank => Fate::FewerExact,
                Some((winner, _)) if winner.created > policy.created => Fate::Older,
                Some(_) => Fate::LaterName,
                None => Fate::NoMesh,
            };
            Candidate {
                policy: policy.name.to_string(),
                selector: strings(selector),
                rank,
                fate,
            }
        })
        .collect();
    near.sort_by_key(|miss: &NearMiss| miss.unmet.len());
    near.truncate(NEAR);
    (matched, near)
}

/// The strongest selector that matches; of equals the first.
fn strongest<'p>(policy: &'p TrafficTrace, inbounds: &[Inbound]) -> Option<&'p Selector> {
    let matches = |selector: &&Selector| inbounds.iter().any(|i| selector.matches(&i.tags));
    let matching = policy.selectors.iter().filter(matches);
    matching.rev().max_by_key(|selector| selector.rank())
}

/// What the nearest selector of a policy asks for in vain; nothing if there
/// are no tags that could be compared.
fn near_miss(policy: &TrafficTrace, inbounds: &[Inbound]) -> Option<NearMiss> {
    let unmet = policy
        .selectors
        .iter()
        .flat_map(|selector| inbounds.iter().map(move |inbound| unmet(selector, inbound)))
        .min_by_key(Vec::len)?;
    Some(NearMiss {
        policy: policy.name.to_string(),
        unmet,
    })
}

fn unmet(selector: &Selector, inbound: &Inbound) -> Vec<Unmet> {
    let tags = selector.tags().iter();
    tags.filter_map(|(tag, wanted)| {
        let found = inbound.tags.get(tag);
        let met = found.is_some_and(|found| &**wanted == ANY || found == wanted);
        (!met).then(|| Unmet {
            tag: tag.to_string(),
            wanted: wanted.to_string(),
            found: found.map(ToString::to_string),
        })
    })
    .collect()
}

fn strings(selector: &Selector) -> BTreeMap<String, String> {
    let tags = selector.tags().iter();
    tags.map(|(name, value)| (name.to_string(), value.to_string()))
        .collect()
}

impl From<&Inbound> for ExplainedInbound {
    fn from(inbound: &Inbound) -> Self {
        let tags = inbound.tags.iter();
        let named = inbound.tags.get(super::PROTOCOL_TAG);
        let protocol = match (inbound.protocol, named) {
            (super::Protocol::Unknown, Some(unknown)) => unknown.to_string(),
            (super::Protocol::Unknown, None) => super::Protocol::Tcp.to_string(),
            (known, _) => known.to_string(),
        };
        Self {
            tags: tags
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
            protocol,
        }
    }
}

impl From<&TracingBackend> for ExplainedBackend {
    fn from(backend: &TracingBackend) -> Self {
        Self {
            name: backend.name.to_string(),
            kind: backend.type_name().to_owned(),
            url: without_query(backend.address()),
            sampling: backend.sampling,
        }
    }
}

/// Some backends take a key in the query of their URL.
fn without_query(mut url: String) -> String {
    if let Some(at) = url.find('?') {
        url.truncate(at);
        url.push_str("?...");
    }
    url
}
