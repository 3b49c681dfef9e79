//! JSON that is the same on every span of a workload, rendered once.

use std::net::IpAddr;

use super::super::content::{Tag, of_pod};
use super::super::known::Render;
use super::super::number::IpText;
use super::super::text::{MAX_NAME, MAX_VALUE};
use super::ip_key;
use super::json::Value;
use crate::identify::Workload;

/// What the spans of one workload have in common.
#[derive(Debug)]
pub(super) struct Fragment {
    /// `,"localEndpoint":{…}`, without the brace if the address is missing.
    local: Vec<u8>,
    /// Each span's own local address is to be written.
    address_missing: bool,
    /// A service name stands in `local`.
    named: bool,
    /// The node's tag and those of a pod, up to the last one's closing quote.
    node: Vec<u8>,
}

impl Render for Fragment {
    fn render(workload: &Workload) -> Self {
        let mut local = b",\"localEndpoint\":{".to_vec();
        let named = !workload.service.is_empty();
        if named {
            local.extend_from_slice(b"\"serviceName\":\"");
            push_text(&mut local, &workload.service, MAX_NAME);
            local.push(b'"');
        }
        if let Some(ip) = workload.address {
            push_address(&mut local, named, ip);
            local.push(b'}');
        }
        let mut node = Tag::NodeId.between().as_bytes().to_vec();
        push_text(&mut node, &workload.node, MAX_VALUE);
        for (tag, value) in of_pod(workload) {
            node.extend_from_slice(tag.between().as_bytes());
            push_text(&mut node, value, MAX_VALUE);
        }
        Self {
            local,
            address_missing: workload.address.is_none(),
            named,
            node,
        }
    }
}

impl Fragment {
    /// Appends the local endpoint: equal on every span of a workload, without
    /// a port, because Zipkin joins a shared span's children by it (ARCHITECTURE.md,
    /// Identity, rule 5). A workload without an address of its own has
    /// that of the connection.
    #[inline]
    pub(super) fn push_local(&self, out: &mut Vec<u8>, connection: Option<IpAddr>) {
        if !self.address_missing {
            out.extend_from_slice(&self.local);
        } else if let Some(ip) = connection {
            out.extend_from_slice(&self.local);
            push_address(out, self.named, ip);
            out.push(b'}');
        } else if self.named {
            out.extend_from_slice(&self.local);
            out.push(b'}');
        }
    }

    /// The node's tag and those of a pod, up to the last one's closing quote.
    pub(super) fn node(&self) -> &[u8] {
        &self.node
    }
}

#[inline]
fn push_address(out: &mut Vec<u8>, named: bool, ip: IpAddr) {
    if named {
        out.push(b',');
    }
    out.extend_from_slice(ip_key(ip));
    IpText::new(ip).push(out);
    out.push(b'"');
}

fn push_text(out: &mut Vec<u8>, text: &str, limit: usize) {
    let mut value = Value::new(out, limit);
    value.put(text.as_bytes());
    value.end();
}
