//! What the tests of this room share: short forms of resources, and Kuma's
//! choice of a policy written down as it is.

mod addresses;
mod decisions;
mod matching;
mod outcomes;
mod properties;

use super::*;
use std::sync::Arc;

/// `a=1,b=*`
pub(super) fn tags(text: &str) -> Tags {
    let tags = text.split(',').map(str::trim).filter(|tag| !tag.is_empty());
    tags.map(|tag| tag.split_once('=').unwrap_or_else(|| panic!("{tag}")))
        .collect()
}

/// Inbounds between `/`.
pub(super) fn inbounds(text: &str) -> Vec<Inbound> {
    let inbounds = text.split(" / ").filter(|text| !text.trim().is_empty());
    inbounds.map(|text| tags(text).into()).collect()
}

/// `NAME[@CREATED]: SELECTOR | SELECTOR [-> BACKEND]`
pub(super) fn policy(text: &str) -> TrafficTrace {
    let (head, rest) = text.split_once(':').unwrap_or_else(|| panic!("{text}"));
    let (name, created) = head.trim().split_once('@').unwrap_or((head.trim(), "0"));
    let (selectors, backend) = match rest.split_once("->") {
        Some((selectors, backend)) => (selectors, Some(backend.trim())),
        None => (rest, None),
    };
    TrafficTrace {
        mesh: "default".into(),
        name: name.into(),
        created: Created(created.parse().unwrap()),
        selectors: selectors
            .split('|')
            .map(|text| Selector::new(tags(text)))
            .collect(),
        backend: backend.map(Arc::from),
    }
}

/// Policies between `;`.
pub(super) fn policies(text: &str) -> Vec<TrafficTrace> {
    let policies = text.split(';').filter(|text| !text.trim().is_empty());
    policies.map(policy).collect()
}

pub(super) fn zipkin(mesh: &str, name: &str, sampling: f64) -> Arc<TracingBackend> {
    Arc::new(TracingBackend {
        mesh: mesh.into(),
        name: name.into(),
        sampling,
        kind: BackendKind::Zipkin {
            url: "http://zipkin:9411/api/v2/spans".into(),
            trace_id_128: false,
            api_version: ZipkinApi::Json,
            shared_span_context: true,
        },
    })
}

/// A mesh with backends of these names, the first of which is the default.
pub(super) fn mesh(name: &str, backends: &[&str]) -> Resource {
    Resource::Mesh(Arc::new(Mesh {
        name: name.into(),
        created: Created::default(),
        default_backend: backends.first().map(|name| Arc::from(*name)),
        backends: backends
            .iter()
            .map(|backend| zipkin(name, backend, 100.0))
            .collect(),
    }))
}

/// An engine for these policies and one mesh with the backend `zipkin`.
pub(super) fn engine(policies: impl IntoIterator<Item = TrafficTrace>) -> Engine {
    let mut resources: Resources = policies
        .into_iter()
        .map(|policy| Resource::TrafficTrace(Arc::new(policy)))
        .collect();
    resources.insert(mesh("default", &["zipkin"]));
    Engine::new(Arc::new(resources))
}

/// `SelectDataplanePolicy` (`pkg/core/policy/dataplane_matcher.go`) and what it
/// calls, step by step: the policies in any order, the winner's name.
pub(super) fn by_the_book(policies: &[TrafficTrace], inbounds: &[Inbound]) -> Option<Arc<str>> {
    let matches = |selector: &Selector, inbound: &Inbound| {
        selector.tags().iter().all(|(name, wanted)| {
            let value = inbound.tags.iter().find(|(tag, _)| *tag == name);
            value.is_some_and(|(_, value)| &**wanted == "*" || value == wanted)
        })
    };
    let mut policies: Vec<&TrafficTrace> = policies.iter().collect();
    policies.sort_by(|a, b| a.name.cmp(&b.name));
    let mut best: Option<&TrafficTrace> = None;
    let mut best_rank = (0, 0);
    for policy in policies {
        for selector in &policy.selectors {
            if !inbounds.iter().any(|inbound| matches(selector, inbound)) {
                continue;
            }
            let any = selector.tags().iter().filter(|(_, value)| &***value == "*");
            let any = any.count();
            let rank = (selector.tags().len() - any, any);
            let by_total = (rank.0 + rank.1).cmp(&(best_rank.0 + best_rank.1));
            let order = by_total.then(rank.0.cmp(&best_rank.0));
            let later = best.is_some_and(|best| policy.created > best.created);
            if order.is_gt() || (order.is_eq() && later) {
                best = Some(policy);
                best_rank = rank;
            }
        }
    }
    best.map(|policy| Arc::clone(&policy.name))
}
