//! Workloads of a capture: addresses.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;

use super::{Identify, Known, Naming, Origin, WorkloadKind, key_of};
use crate::units::{MonoNanos, OwnerId};

/// Takes each local address for a workload (ARCHITECTURE.md, Identity, rule 9).
#[derive(Debug)]
pub struct AddressIdentifier {
    naming: Naming,
    node: Arc<str>,
    known: HashMap<IpAddr, Known>,
    /// The one that was asked for last: mostly it is asked for again.
    last: Option<(IpAddr, Known)>,
}

impl AddressIdentifier {
    /// Addresses remembered at most; beyond it they are all named anew.
    const MAX: usize = 65_536;

    /// An identifier that calls every workload so, or by its address. A node
    /// without a name is this host.
    #[must_use]
    pub fn new(naming: Naming) -> Self {
        Self {
            node: node(&naming),
            naming,
            known: HashMap::new(),
            last: None,
        }
    }

    fn look_up(&mut self, address: IpAddr) -> Known {
        if let Some(known) = self.known.get(&address) {
            return known.clone();
        }
        if self.known.len() >= Self::MAX {
            self.known.clear();
        }
        let named = self.name(address);
        self.known.insert(address, named.clone());
        named
    }

    fn name(&self, address: IpAddr) -> Known {
        let text = address.to_string();
        let own = (text.as_str().into(), WorkloadKind::Address);
        Known {
            key: key_of("address", &text),
            workload: self.naming.workload(own, &self.node, Some(address), None),
            origin: Origin::Address(address),
        }
    }
}

impl Identify for AddressIdentifier {
    #[inline]
    fn known(&mut self, _: OwnerId, _: u32, local: Option<IpAddr>, _: MonoNanos) -> Option<&Known> {
        let local = local?;
        if self.last.as_ref().is_none_or(|(last, _)| *last != local) {
            let known = self.look_up(local);
            self.last = Some((local, known));
        }
        self.last.as_ref().map(|(_, known)| known)
    }

    fn rename(&mut self, naming: Naming) {
        *self = Self::new(naming);
    }
}

fn node(naming: &Naming) -> Arc<str> {
    naming.node.clone().unwrap_or_else(|| {
        let names = rustix::system::uname();
        names.nodename().to_string_lossy().into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_workload() {
        let ask = |service: Option<&str>, address: &str| {
            let mut identifier = AddressIdentifier::new(Naming {
                service: service.map(Into::into),
                node: Some("node".into()),
            });
            identifier
                .known(OwnerId(7), 9, Some(address.parse().unwrap()), MonoNanos(0))
                .unwrap()
                .clone()
        };
        let one = ask(None, "10.0.0.1");
        assert_eq!(&*one.workload.service, "10.0.0.1");
        assert_eq!(one.workload.kind, WorkloadKind::Address);
        assert_eq!(one, ask(None, "10.0.0.1"));
        assert_ne!(one.key, ask(None, "10.0.0.2").key);
        assert_eq!(&*ask(None, "2001:db8::1").workload.service, "2001:db8::1");
        let named = ask(Some("shop"), "10.0.0.1");
        assert_eq!(&*named.workload.service, "shop");
        assert_eq!(named.key, one.key);
        assert_eq!(&*named.workload.node, "node");
        let mut identifier = AddressIdentifier::new(Naming::default());
        assert!(
            identifier
                .known(OwnerId(7), 9, None, MonoNanos(0))
                .is_none()
        );
    }
}
