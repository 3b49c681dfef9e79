//! Owners: in a capture a workload is an IP address.

use std::net::IpAddr;

use rustc_hash::FxHashMap;

use crate::units::OwnerId;

/// Addresses by the order in which they were first observed.
#[derive(Debug, Default)]
pub(super) struct Owners {
    ids: FxHashMap<IpAddr, OwnerId>,
    addresses: Vec<IpAddr>,
}

impl Owners {
    /// The owner at this address.
    pub(super) fn id(&mut self, address: IpAddr) -> OwnerId {
        *self.ids.entry(address).or_insert_with(|| {
            let id = OwnerId(self.addresses.len() as u64);
            self.addresses.push(address);
            id
        })
    }

    /// The address of this owner.
    pub(super) fn address(&self, owner: OwnerId) -> Option<IpAddr> {
        let index = usize::try_from(owner.0).ok()?;
        self.addresses.get(index).copied()
    }
}
