//! What Kuma would make of a pod: its mesh, and tags and protocol of each
//! inbound. Pure.
//!
//! The rules are Kuma 2.14's (`pkg/plugins/runtime/k8s/controllers`), with
//! these of our own, because nodespan puts no sidecar into a pod:
//!
//! - A pod is a member of its mesh without being injected. Where injection is
//!   refused in so many words (`kuma.io/sidecar-injection: disabled`, of the
//!   pod, else of its namespace), or the pod says `kuma.io/ignore: true`, it is
//!   not. In a cluster without Kuma nobody has labelled anything for injection.
//! - A pod whose Services have no TCP port that it could have is like one
//!   without a Service; Kuma makes nothing of it.
//! - A ReplicaSet's Deployment is told by the pod's `pod-template-hash` (its
//!   Rollout, of Argo, by `rollouts-pod-template-hash`), and a Job's CronJob by
//!   the time at the end of its name, if the pod was made about then, instead
//!   of by reading them.

mod inbound;
mod owner;
mod protocol;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub(crate) use protocol::{end, protocol, says_protocol};

use super::facts::{EndFacts, NamespaceFacts, PodFacts, PortFacts, ServiceFacts, ServiceKind, get};
use super::intern::{Interner, Pairs};
use crate::policy::Dataplane;
use crate::policy::Host;
use inbound::Built;

/// The mesh of whatever says none.
const DEFAULT_MESH: &str = "default";
const MESH: &str = "kuma.io/mesh";
const INJECTION: &str = "kuma.io/sidecar-injection";
const IGNORE: &str = "kuma.io/ignore";
const GATEWAY: &str = "kuma.io/gateway";

/// The mesh of a pod or a Service: its label, its annotation, its namespace's
/// label, its namespace's annotation, `default` (`MeshOfByLabelOrAnnotation`,
/// `pkg/plugins/runtime/k8s/util/util.go`).
pub(crate) fn mesh<'a>(
    labels: &'a Pairs,
    annotations: &'a Pairs,
    namespace: Option<&'a NamespaceFacts>,
) -> &'a str {
    said(MESH, labels, annotations, namespace).map_or(DEFAULT_MESH, |mesh| &**mesh)
}

/// `<svc>_<ns>_svc_<port>`
pub(crate) fn service_tag(service: &ServiceFacts, port: u16) -> String {
    format!("{}_{}_svc_{port}", service.name, service.namespace)
}

/// Whether Kuma does anything with a Service.
pub(crate) fn is_meshed(service: &ServiceFacts) -> bool {
    service.kind != ServiceKind::External && !is_true(get(&service.annotations, IGNORE))
}

/// Whether a Service with a selector selects a pod.
pub(crate) fn selects(service: &ServiceFacts, labels: &Pairs) -> bool {
    let mut selector = service.selector.iter();
    !service.selector.is_empty() && selector.all(|(name, value)| get(labels, name) == Some(value))
}

/// What Kuma would make of a pod. `services` are those of its namespace that
/// are its, sorted by name.
pub(crate) fn dataplane(
    pod: &PodFacts,
    services: &[&ServiceFacts],
    namespace: Option<&NamespaceFacts>,
    zone: Option<&str>,
    intern: &mut Interner,
) -> Option<Dataplane> {
    if is_ignored(pod) || is_refused(pod, namespace) {
        return None;
    }
    let address = Host::Ip(*pod.ips.first().unwrap_or(&UNKNOWN));
    let Built {
        listeners,
        inbounds,
    } = inbound::build(pod, services, zone, &address, intern);
    let mesh = mesh(&pod.labels, &pod.annotations, namespace);
    Some(Dataplane {
        mesh: intern.text(mesh),
        name: Arc::from(format!("{}.{}", pod.name, pod.namespace)),
        created: pod.created.into(),
        address,
        advertised: None,
        listeners,
        inbounds: intern.inbounds(&inbounds),
        outbounds: Vec::new(),
    })
}

/// Of a pod without an address.
const UNKNOWN: std::net::IpAddr = std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED);

fn is_ignored(pod: &PodFacts) -> bool {
    is_true(get(&pod.labels, IGNORE)) || is_true(get(&pod.annotations, IGNORE))
}

fn is_refused(pod: &PodFacts, namespace: Option<&NamespaceFacts>) -> bool {
    let said = said(INJECTION, &pod.labels, &pod.annotations, namespace);
    said.is_some_and(|said| matches!(&*said.to_ascii_lowercase(), "disabled" | "false" | "no"))
}

/// `kuma.io/gateway: enabled` or `builtin`: it has no inbounds.
fn is_gateway(pod: &PodFacts) -> bool {
    get(&pod.annotations, GATEWAY)
        .is_some_and(|said| is_true(Some(said)) || said.eq_ignore_ascii_case("builtin"))
}

/// `enabled`, `true` and `yes` (`pkg/plugins/runtime/k8s/metadata`).
fn is_true(said: Option<&Arc<str>>) -> bool {
    said.is_some_and(|said| matches!(&*said.to_ascii_lowercase(), "enabled" | "true" | "yes"))
}

fn said<'a>(
    name: &str,
    labels: &'a Pairs,
    annotations: &'a Pairs,
    namespace: Option<&'a NamespaceFacts>,
) -> Option<&'a Arc<str>> {
    // What is empty says nothing, and does not keep others from saying it.
    let of_namespace = namespace.map(|of| [&of.labels, &of.annotations]);
    [labels, annotations]
        .into_iter()
        .chain(of_namespace.into_iter().flatten())
        .filter_map(|pairs| get(pairs, name))
        .find(|said| !said.is_empty())
}
