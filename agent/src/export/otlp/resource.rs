//! Who the spans of a workload come from.

use super::super::known::Render;
use super::super::number::IpText;
use super::super::proto::{push_bytes, push_message};
use super::super::text::{MAX_NAME, MAX_VALUE, push_text};
use super::attributes::push_key_value;
use crate::identify::{Workload, WorkloadKind};

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
        let container: &[u8] = match &workload.kind {
            WorkloadKind::Container(id) => id.as_bytes(),
            _ => b"",
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
