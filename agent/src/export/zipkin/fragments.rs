//! JSON that is the same on every span of a workload, rendered once.

use std::net::IpAddr;
use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::content::Tag;
use super::ip_key;
use super::json::{MAX_NAME, MAX_VALUE, Value};
use super::number::IpText;
use crate::identify::Workload;

/// Workloads remembered; with more than these at work everything is forgotten
/// and rendered anew.
const MAX_WORKLOADS: usize = 1024;

/// The workloads seen so far.
#[derive(Debug, Default)]
pub(super) struct Fragments {
    known: Vec<Fragment>,
    /// Places in `known` by the address of the workload, which each fragment
    /// keeps alive.
    places: FxHashMap<usize, usize>,
    /// Address and place that were asked for last.
    last: (usize, usize),
}

impl Fragments {
    /// What this workload's spans have in common.
    #[inline]
    pub(super) fn of(&mut self, workload: &Arc<Workload>) -> &Fragment {
        let address = Arc::as_ptr(workload).addr();
        let (last, place) = self.last;
        let place = if last == address && place < self.known.len() {
            place
        } else {
            self.find(address, workload)
        };
        &self.known[place]
    }

    fn find(&mut self, address: usize, workload: &Arc<Workload>) -> usize {
        if self.known.len() >= MAX_WORKLOADS {
            *self = Self::default();
        }
        let place = *self.places.entry(address).or_insert_with(|| {
            self.known.push(Fragment::new(workload));
            self.known.len() - 1
        });
        self.last = (address, place);
        place
    }
}

/// What the spans of one workload have in common.
#[derive(Debug)]
pub(super) struct Fragment {
    /// Keeps the address, the map's key, from being used again.
    _workload: Arc<Workload>,
    /// `,"localEndpoint":{…}`, without the brace if the address is missing.
    local: Vec<u8>,
    /// Each span's own local address is to be written.
    address_missing: bool,
    /// A service name stands in `local`.
    named: bool,
    /// The node's tag, up to its closing quote.
    node: Vec<u8>,
}

impl Fragment {
    fn new(workload: &Arc<Workload>) -> Self {
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
        Self {
            _workload: Arc::clone(workload),
            local,
            address_missing: workload.address.is_none(),
            named,
            node,
        }
    }

    /// Appends the local endpoint: equal on every span of a workload, without
    /// a port, because Zipkin joins a shared span's children by it (DESIGN.md,
    /// Wire identity, rule 5). A workload without an address of its own has
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

    /// The node's tag, up to its closing quote.
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
