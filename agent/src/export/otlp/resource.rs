//! Who the spans of a workload come from.

use std::sync::Arc;

use super::super::known::Render;
use super::super::number::IpText;
use super::super::proto::{push_bytes, push_message};
use super::super::text::{MAX_NAME, MAX_VALUE, push_text};
use super::attributes::push_key_value;
use crate::identify::{PodTags, Workload, WorkloadKind};

/// The instrumentation scope's name.
pub(super) const SCOPE: &str = "nodespan";

/// What OpenTelemetry's SDKs call a service without a name.
pub(super) const NO_NAME: &str = "unknown_service";

/// A workload as `ResourceSpans` and `ScopeSpans` have it.
#[derive(Debug)]
pub(super) struct Resource {
    /// `ResourceSpans.resource`.
    pub(super) resource: Vec<u8>,
    /// `ScopeSpans.scope`.
    pub(super) scope: Vec<u8>,
}

impl Render for Resource {
    fn render(workload: &Workload) -> Self {
        let mut address = Vec::new();
        if let Some(ip) = workload.address {
            IpText::new(ip).push(&mut address);
        }
        let service = match &*workload.service {
            "" => NO_NAME,
            service => service,
        };
        let pod = workload.pod.as_ref();
        let container: &[u8] = match (pod, &workload.kind) {
            (Some(pod), _) => pod.container_id.as_bytes(),
            (None, WorkloadKind::Container(id)) => id.as_bytes(),
            (None, _) => b"",
        };
        let of_pod = |what: fn(&PodTags) -> Option<&Arc<str>>| {
            pod.and_then(what).map_or(&b""[..], |text| text.as_bytes())
        };
        // One address may have several services, so a container's id is the
        // better instance.
        let instance = if container.is_empty() {
            &address
        } else {
            container
        };
        let mut resource = Vec::new();
        push_message::<1>(&mut resource, 1, |out| {
            for (key, value, limit) in [
                ("service.name", service.as_bytes(), MAX_NAME),
                ("service.instance.id", instance, MAX_VALUE),
                ("container.id", container, MAX_VALUE),
                ("host.name", workload.node.as_bytes(), MAX_VALUE),
                (
                    "k8s.namespace.name",
                    of_pod(|pod| Some(&pod.namespace)),
                    MAX_VALUE,
                ),
                ("k8s.pod.name", of_pod(|pod| Some(&pod.name)), MAX_VALUE),
                ("k8s.pod.uid", of_pod(|pod| Some(&pod.uid)), MAX_VALUE),
                (
                    "k8s.container.name",
                    of_pod(|pod| pod.container.as_ref()),
                    MAX_VALUE,
                ),
                ("k8s.node.name", of_pod(|pod| pod.node.as_ref()), MAX_VALUE),
            ] {
                if !value.is_empty() {
                    push_key_value(out, 1, key, |out| {
                        push_message::<1>(out, 1, |out| push_text(out, value, limit));
                    });
                }
            }
        });
        let mut scope = Vec::new();
        push_message::<1>(&mut scope, 1, |out| {
            push_bytes(out, 1, SCOPE.as_bytes());
            push_bytes(out, 2, env!("CARGO_PKG_VERSION").as_bytes());
        });
        Self { resource, scope }
    }
}
