//! Endpoints of Services that are no pods.
//!
//! An EndpointSlice that somebody has written, or a controller for machines
//! outside of the cluster, names addresses without a pod. Whoever calls one, be
//! it by the Service's address behind which it stands or by the DNS name of a
//! headless one, calls that Service. Several slices may name one address; then
//! the youngest Service has it, as with [`Cluster::settle_service`].

use std::net::SocketAddr;
use std::sync::Arc;

use super::Cluster;
use super::services::named;
use crate::kubernetes::derive;
use crate::kubernetes::facts::SliceFacts;

/// A slice that names an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    namespace: Arc<str>,
    service: Arc<str>,
    slice: Arc<str>,
}

impl Claim {
    fn of(slice: &SliceFacts) -> Self {
        Self {
            namespace: Arc::clone(&slice.namespace),
            service: Arc::clone(&slice.service),
            slice: Arc::clone(&slice.name),
        }
    }
}

impl Cluster {
    /// A slice names these addresses in place of those.
    pub(super) fn claim_endpoints(&mut self, old: Option<&SliceFacts>, new: Option<&SliceFacts>) {
        if let Some(slice) = old {
            let claim = Claim::of(slice);
            for at in slice.addresses() {
                let Some(claims) = self.endpoints.get_mut(&at) else {
                    continue;
                };
                claims.retain(|other| *other != claim);
                if claims.is_empty() {
                    self.endpoints.remove(&at);
                }
            }
        }
        if let Some(slice) = new {
            let claim = Claim::of(slice);
            for at in slice.addresses() {
                let claims = self.endpoints.entry(at).or_default();
                if !claims.contains(&claim) {
                    claims.push(claim.clone());
                }
            }
        }
        for at in old.into_iter().chain(new).flat_map(SliceFacts::addresses) {
            self.settle_endpoint(at);
        }
    }

    /// A Service of a namespace, or what all of them have in common, is another
    /// than it was.
    pub(super) fn settle_endpoints(&mut self, namespace: &str, service: Option<&str>) {
        let Some(space) = self.spaces.get(namespace) else {
            return;
        };
        let addresses = SliceFacts::addresses;
        let all: Vec<_> = match service {
            Some(service) => space.slices_of(service).flat_map(addresses).collect(),
            None => space.all_slices().flat_map(addresses).collect(),
        };
        for at in all {
            self.settle_endpoint(at);
        }
    }

    /// Looks for all slices that name this address.
    fn settle_endpoint(&mut self, at: SocketAddr) {
        let spaces = &self.spaces;
        let claims = self.endpoints.get(&at).into_iter().flatten();
        let found = claims.filter_map(|claim| {
            let space = spaces.get(&claim.namespace)?;
            let (service, slice) = space.slice_of(&claim.service, &claim.slice)?;
            derive::is_meshed(service).then_some((space, service, slice))
        });
        let best = found.max_by_key(|(_, service, slice)| {
            let (namespace, name) = (&service.namespace, &service.name);
            (service.created, namespace, name, &slice.name)
        });
        let port = best.and_then(|(space, service, slice)| {
            let mut ports = slice.ports.iter();
            let end = derive::end(service, ports.find(|port| port.port == at.port())?);
            let said = (&*end.protocol, end.is_said);
            let namespace = space.namespace();
            Some(named(service, end.port, said, namespace, &mut self.intern))
        });
        // What stays as it was need not be copied.
        if self.directory.endpoint(at).map(|known| &**known) != port.as_ref() {
            Arc::make_mut(&mut self.directory).set_endpoint(at, port.map(Arc::new));
        }
    }
}
