//! Services, their slices, and namespaces.

use std::net::SocketAddr;
use std::sync::Arc;

use super::{Cluster, Round};
use crate::identify::ServicePort;
use crate::kubernetes::derive;
use crate::kubernetes::facts::{NamespaceFacts, ServiceFacts, ServiceKind, SliceFacts};
use crate::kubernetes::intern::Interner;
use crate::policy::Protocol;

impl Cluster {
    pub(super) fn keep_service(&mut self, facts: ServiceFacts, round: Round) {
        let namespace = Arc::clone(&facts.namespace);
        let space = self.spaces.entry(Arc::clone(&namespace)).or_default();
        let new = facts.clone();
        let old = space.insert_service(facts, round);
        self.in_spaces.services += usize::from(old.is_none());
        if old.as_ref() == Some(&new) {
            return;
        }
        self.publish(old.as_ref(), Some(&new));
        self.settle_endpoints(&new.namespace, Some(&new.name));
        for service in old.iter().chain([&new]) {
            self.touch_pods(service);
        }
    }

    pub(super) fn forget_service(&mut self, namespace: &str, name: &str) {
        let space = self.spaces.get_mut(namespace);
        if let Some(old) = space.and_then(|space| space.remove_service(name)) {
            self.in_spaces.services -= 1;
            self.publish(Some(&old), None);
            self.settle_endpoints(namespace, Some(name));
            self.touch_pods(&old);
            self.drop_space(namespace);
        }
    }

    pub(super) fn keep_slice(&mut self, facts: SliceFacts, round: Round) {
        let namespace = Arc::clone(&facts.namespace);
        let new = facts.clone();
        let space = self.spaces.entry(namespace).or_default();
        let old = space.insert_slice(facts, round);
        self.in_spaces.slices += usize::from(old.is_none());
        if old.as_ref() != Some(&new) {
            self.touch_slices(old.as_ref(), Some(&new));
            self.claim_endpoints(old.as_ref(), Some(&new));
        }
    }

    pub(super) fn forget_slice(&mut self, namespace: &str, name: &str) {
        let space = self.spaces.get_mut(namespace);
        if let Some(old) = space.and_then(|space| space.remove_slice(name)) {
            self.in_spaces.slices -= 1;
            self.touch_slices(Some(&old), None);
            self.claim_endpoints(Some(&old), None);
            self.drop_space(namespace);
        }
    }

    pub(super) fn set_namespace(&mut self, name: &Arc<str>, new: Option<(Round, NamespaceFacts)>) {
        let space = self.space(name);
        let of = |facts: &Option<(Round, NamespaceFacts)>| {
            facts.as_ref().map(|(_, facts)| facts.clone())
        };
        let same = of(&space.facts) == of(&new);
        let (before, now) = (space.facts.is_some(), new.is_some());
        space.facts = new;
        if !same {
            let pods: Vec<_> = space.pods.iter().cloned().collect();
            let services = space.services().values();
            let services: Vec<_> = services.map(|(_, service)| service.clone()).collect();
            self.dirty.extend(pods);
            // Their mesh may be another.
            for service in services {
                self.publish(Some(&service), Some(&service));
            }
            self.settle_endpoints(name, None);
        }
        let count = &mut self.in_spaces.namespaces;
        *count = *count + usize::from(now) - usize::from(before);
        self.drop_space(name);
    }

    /// Forgets a namespace of which nothing is left.
    pub(super) fn drop_space(&mut self, name: &str) {
        if self.spaces.get(name).is_some_and(super::Space::is_empty) {
            self.spaces.remove(name);
        }
    }

    /// The pods of a Service may have other tags now.
    fn touch_pods(&mut self, service: &ServiceFacts) {
        let Some(space) = self.spaces.get(&service.namespace) else {
            return;
        };
        if service.selector.is_empty() {
            let pods = space.slices_of(&service.name).flat_map(|slice| &slice.pods);
            self.dirty.extend(pods.cloned());
            return;
        }
        for uid in &space.pods {
            if let Some(pod) = self.pods.get(uid)
                && derive::selects(service, &pod.facts.labels)
            {
                self.dirty.insert(Arc::clone(uid));
            }
        }
    }

    /// The pods of these slices may have other tags now.
    fn touch_slices(&mut self, old: Option<&SliceFacts>, new: Option<&SliceFacts>) {
        for slice in old.into_iter().chain(new) {
            let space = self.spaces.get(&slice.namespace);
            if space.is_some_and(|space| space.is_bare(&slice.service)) {
                self.dirty.extend(slice.pods.iter().cloned());
            }
        }
    }

    /// Makes a Service known by its addresses in place of what it was.
    fn publish(&mut self, old: Option<&ServiceFacts>, new: Option<&ServiceFacts>) {
        let new_ones = new.map(addresses).unwrap_or_default();
        for at in old.map(addresses).unwrap_or_default() {
            if new_ones.contains(&at) {
                continue;
            }
            if self.contested_services.contains(&at) {
                self.settle_service(at);
            } else {
                Arc::make_mut(&mut self.directory).set_service(at, None);
            }
        }
        let Some(new) = new else { return };
        for at in new_ones {
            let port = self.service_port(new, at.port());
            let is_free = self.directory.service(at).is_none_or(|holder| {
                port.as_ref()
                    .is_some_and(|port| holder.service == port.service)
            });
            if is_free && !self.contested_services.contains(&at) {
                Arc::make_mut(&mut self.directory).set_service(at, port.map(Arc::new));
            } else {
                self.settle_service(at);
            }
        }
    }

    /// Looks for all Services that have this address: one may have been made
    /// before the API says that another is gone. The youngest has it.
    fn settle_service(&mut self, at: SocketAddr) {
        let all = self
            .spaces
            .values()
            .flat_map(|space| space.services().values());
        let mut claims: Vec<_> = all
            .map(|(_, service)| service)
            .filter(|service| addresses(service).contains(&at))
            .collect();
        claims.sort_by(|one, other| {
            let key = |service: &ServiceFacts| {
                let (namespace, name) = (&service.namespace, &service.name);
                (service.created, Arc::clone(namespace), Arc::clone(name))
            };
            key(one).cmp(&key(other))
        });
        let many = claims.len() > 1;
        let best = claims.last().map(|service| (*service).clone());
        let port = best.and_then(|service| self.service_port(&service, at.port()));
        Arc::make_mut(&mut self.directory).set_service(at, port.map(Arc::new));
        if many {
            self.contested_services.insert(at);
        } else {
            self.contested_services.remove(&at);
        }
    }

    fn service_port(&mut self, service: &ServiceFacts, number: u16) -> Option<ServicePort> {
        let mut ports = service.ports.iter();
        let port = ports.find(|port| port.is_tcp && port.port == number)?;
        let space = self.spaces.get(&service.namespace);
        let namespace = space.and_then(super::Space::namespace);
        let protocol = derive::protocol(service, port);
        let is_said = derive::says_protocol(service, port);
        let said = (&*protocol, is_said);
        Some(named(service, number, said, namespace, &mut self.intern))
    }
}

/// What a port of a Service is called, and what is spoken there.
pub(super) fn named(
    service: &ServiceFacts,
    port: u16,
    (protocol, says_protocol): (&str, bool),
    namespace: Option<&NamespaceFacts>,
    intern: &mut Interner,
) -> ServicePort {
    let mesh = derive::mesh(&service.labels, &service.annotations, namespace);
    ServicePort {
        service: intern.text(&derive::service_tag(service, port)),
        mesh: intern.text(mesh),
        protocol: Protocol::parse(protocol),
        says_protocol,
    }
}

/// Where a Service answers: its addresses with each of its TCP ports.
fn addresses(service: &ServiceFacts) -> Vec<SocketAddr> {
    if service.kind != ServiceKind::Addressed || !derive::is_meshed(service) {
        return Vec::new();
    }
    let ports = || service.ports.iter().filter(|port| port.is_tcp);
    let ips = service.ips.iter();
    ips.flat_map(|ip| ports().map(|port| SocketAddr::new(*ip, port.port)))
        .collect()
}
