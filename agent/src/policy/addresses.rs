//! Which Dataplane an address belongs to.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashMap;

use super::resource::{Dataplane, Host, Inbound};
use super::resources::Resources;

/// A Dataplane that was found by an address.
#[derive(Clone, Debug, PartialEq)]
pub struct DataplaneRef {
    /// It.
    pub dataplane: Arc<Dataplane>,
    /// Which of its inbounds has the address; none if the port did not count.
    pub inbound: Option<usize>,
}

impl DataplaneRef {
    /// The inbound that has the address.
    #[must_use]
    pub fn inbound(&self) -> Option<&Inbound> {
        self.dataplane.inbounds.get(self.inbound?)
    }
}

#[derive(Debug, Default)]
pub(super) struct Addresses {
    processes: HashMap<SocketAddr, Vec<DataplaneRef>>,
    endpoints: HashMap<SocketAddr, Vec<DataplaneRef>>,
    hosts: HashMap<IpAddr, Vec<DataplaneRef>>,
}

impl Addresses {
    pub(super) fn new(resources: &Resources) -> Self {
        let mut addresses = Self::default();
        for dataplane in resources.all_dataplanes() {
            addresses.add(dataplane);
        }
        addresses
    }

    fn add(&mut self, dataplane: &Arc<Dataplane>) {
        let found = |inbound| DataplaneRef {
            dataplane: Arc::clone(dataplane),
            inbound,
        };
        let of_host = [Some(&dataplane.address), dataplane.advertised.as_ref()];
        for ip in of_host.into_iter().flatten().filter_map(Host::ip) {
            add_host(&mut self.hosts, ip, found(None));
        }
        for (n, listener) in dataplane.listeners.iter().enumerate() {
            let process = (&listener.service_address, listener.service_port);
            let proxies = [
                Some(&listener.address),
                // Others know all listeners of the proxy by it.
                dataplane.advertised.as_ref(),
            ];
            if let Some(ip) = process.0.ip() {
                add_port(&mut self.processes, (ip, process.1), found(Some(n)));
                add_port(&mut self.endpoints, (ip, process.1), found(Some(n)));
                add_host(&mut self.hosts, ip, found(None));
            }
            for ip in proxies.into_iter().flatten().filter_map(Host::ip) {
                add_port(&mut self.endpoints, (ip, listener.port), found(Some(n)));
                add_host(&mut self.hosts, ip, found(None));
            }
        }
    }

    pub(super) fn processes_at(&self, address: SocketAddr) -> &[DataplaneRef] {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.processes.get(&address).map_or(&[], Vec::as_slice)
    }

    pub(super) fn endpoints_at(&self, address: SocketAddr) -> &[DataplaneRef] {
        let address = SocketAddr::new(address.ip().to_canonical(), address.port());
        self.endpoints.get(&address).map_or(&[], Vec::as_slice)
    }

    pub(super) fn of(&self, ip: IpAddr) -> &[DataplaneRef] {
        self.hosts
            .get(&ip.to_canonical())
            .map_or(&[], Vec::as_slice)
    }
}

fn add_port(
    map: &mut HashMap<SocketAddr, Vec<DataplaneRef>>,
    (ip, port): (IpAddr, u16),
    found: DataplaneRef,
) {
    let address = SocketAddr::new(ip.to_canonical(), port);
    let known = map.entry(address).or_default();
    // The same listener by another of its names.
    if !known.contains(&found) {
        known.push(found);
    }
}

fn add_host(map: &mut HashMap<IpAddr, Vec<DataplaneRef>>, ip: IpAddr, found: DataplaneRef) {
    let ip = ip.to_canonical();
    if ip.is_loopback() {
        return;
    }
    let known = map.entry(ip).or_default();
    if !known.contains(&found) {
        known.push(found);
    }
}
