//! What a cluster's API says about pods, Services and nodes.
//!
//! A [`Directory`] is one generation of that: it never changes, the next one
//! shares with it whatever stayed as it was. `kubernetes` makes them; this
//! room asks which pod a cgroup belongs to, `decide` who a peer is.
//! What is asked for by an address has it in canonical form: IPv4 as such.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::policy::{Dataplane, Protocol};

/// All that is known of a cluster at one time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Directory {
    pods: HashMap<PodUid, Arc<Pod>>,
    by_ip: HashMap<IpAddr, Peer, FxBuildHasher>,
    services: HashMap<SocketAddr, Arc<ServicePort>, FxBuildHasher>,
    /// Endpoints of Services that are no pods.
    endpoints: HashMap<SocketAddr, Arc<ServicePort>, FxBuildHasher>,
    /// Pods on the network of their node, by its addresses.
    on_network: HashMap<IpAddr, Vec<Arc<Pod>>, FxBuildHasher>,
    /// Containers of this node, by the runtime's id.
    containers: HashMap<Arc<str>, Arc<Pod>>,
    /// Pods of this node.
    own: HashMap<PodUid, Arc<Pod>>,
    /// Whether the first list of pods is complete, so that what is not here
    /// does not exist (yet).
    pub synced: bool,
}

/// `metadata.uid` of a pod, in the API's form: lower case, with dashes. A
/// static pod's is the hash in `kubernetes.io/config.hash`, which is what its
/// cgroup is called by.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PodUid(pub Arc<str>);

/// A pod, trimmed to what spans and policies need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// By this its cgroup is found.
    pub uid: PodUid,
    /// `metadata.name`
    pub name: Arc<str>,
    /// `metadata.namespace`
    pub namespace: Arc<str>,
    /// `spec.nodeName`, once it is scheduled.
    pub node: Option<Arc<str>>,
    /// Whether that is this node.
    pub own: bool,
    /// `status.podIPs`; none once the pod is over (`Succeeded`, `Failed`),
    /// because its addresses may be another's by then.
    pub ips: Vec<IpAddr>,
    /// `spec.hostNetwork`: its addresses are its node's.
    pub host_network: bool,
    /// The containers of a pod of this node: the runtime's id without its
    /// scheme, and the name. Empty for pods of other nodes.
    pub containers: Vec<(Arc<str>, Arc<str>)>,
    /// The name of the one container of a pod of this node that has no other:
    /// its id may be known before the kubelet has told of it.
    pub sole: Option<Arc<str>>,
    /// What Kuma would make of it: its mesh, and tags and protocol of each
    /// inbound. None with `kuma.io/ignore` or where injection is disabled.
    pub dataplane: Option<Arc<Dataplane>>,
}

/// Whose address it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peer {
    /// A pod with an address of its own.
    Pod(Arc<Pod>),
    /// A node, and so any pod on its network.
    Node(Arc<str>),
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServicePort {
    /// `kuma.io/service`, `web_shop_svc_80`.
    pub service: Arc<str>,
    /// `kuma.io/mesh` of its namespace.
    pub mesh: Arc<str>,
    /// `appProtocol`, the annotation, or `tcp`.
    pub protocol: Protocol,
    /// It is one of the former.
    pub says_protocol: bool,
}

impl Directory {
    /// Adds a pod, and its addresses if they are its own.
    pub fn insert_pod(&mut self, pod: Arc<Pod>) {
        if !pod.host_network {
            for ip in &pod.ips {
                self.by_ip.insert(*ip, Peer::Pod(Arc::clone(&pod)));
            }
        }
        self.set_pod(pod);
    }

    /// Adds an address of a node.
    pub fn insert_node(&mut self, ip: IpAddr, name: Arc<str>) {
        self.by_ip.insert(ip, Peer::Node(name));
    }

    /// Adds an address of a Service: a cluster IP and a port.
    pub fn insert_service(&mut self, at: SocketAddr, port: Arc<ServicePort>) {
        self.services.insert(at, port);
    }

    /// Adds or replaces a pod, without its addresses.
    pub fn set_pod(&mut self, pod: Arc<Pod>) {
        self.remove_pod(&pod.uid);
        for (id, _) in &pod.containers {
            self.containers.insert(Arc::clone(id), Arc::clone(&pod));
        }
        for ip in pod.ips.iter().filter(|_| pod.host_network) {
            let pods = self.on_network.entry(*ip).or_default();
            // In an order of their own: that in which they came says nothing.
            let place = pods.partition_point(|other| other.uid < pod.uid);
            pods.insert(place, Arc::clone(&pod));
        }
        if pod.own {
            self.own.insert(pod.uid.clone(), Arc::clone(&pod));
        }
        self.pods.insert(pod.uid.clone(), pod);
    }

    /// Takes a pod out, but not its addresses.
    pub fn remove_pod(&mut self, uid: &PodUid) -> Option<Arc<Pod>> {
        let pod = self.pods.remove(uid)?;
        self.own.remove(uid);
        for (id, _) in &pod.containers {
            let is_its = |of: &Arc<Pod>| of.uid == *uid;
            if self.containers.get(id).is_some_and(is_its) {
                self.containers.remove(id);
            }
        }
        for ip in pod.ips.iter().filter(|_| pod.host_network) {
            if let Some(pods) = self.on_network.get_mut(ip) {
                pods.retain(|of| of.uid != *uid);
                if pods.is_empty() {
                    self.on_network.remove(ip);
                }
            }
        }
        Some(pod)
    }

    /// Says whose an address is; nobody's with None.
    pub fn set_peer(&mut self, ip: IpAddr, peer: Option<Peer>) {
        match peer {
            Some(peer) => self.by_ip.insert(ip, peer),
            None => self.by_ip.remove(&ip),
        };
    }

    /// Says which Service is at an address; none with None.
    pub fn set_service(&mut self, at: SocketAddr, port: Option<Arc<ServicePort>>) {
        match port {
            Some(port) => self.services.insert(at, port),
            None => self.services.remove(&at),
        };
    }

    /// Says which Service an endpoint is of that is no pod; of none with None.
    pub fn set_endpoint(&mut self, at: SocketAddr, port: Option<Arc<ServicePort>>) {
        match port {
            Some(port) => self.endpoints.insert(at, port),
            None => self.endpoints.remove(&at),
        };
    }

    /// How many pods, addresses of pods and nodes, and addresses of Services
    /// there are.
    #[must_use]
    pub fn sizes(&self) -> (usize, usize, usize) {
        (self.pods.len(), self.by_ip.len(), self.services.len())
    }

    /// The pod with this UID.
    #[must_use]
    pub fn pod(&self, uid: &PodUid) -> Option<&Arc<Pod>> {
        self.pods.get(uid)
    }

    /// The pod of a container of this node.
    #[must_use]
    pub fn pod_of(&self, container: &str) -> Option<&Arc<Pod>> {
        self.containers.get(container)
    }

    /// The pods of this node, whether or not the kubelet has told of their
    /// containers.
    pub fn own_pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.own.values()
    }

    /// All pods.
    pub fn pods(&self) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods.values()
    }

    /// Whose address this is.
    #[must_use]
    pub fn peer(&self, ip: IpAddr) -> Option<&Peer> {
        self.by_ip.get(&ip.to_canonical())
    }

    /// What is at this address is called: a Service, else a pod, else the
    /// Service of an endpoint that is no pod, else a node.
    #[must_use]
    pub fn name(&self, at: SocketAddr) -> Option<Arc<str>> {
        let peer = self.peer(at.ip());
        let service = match peer {
            Some(Peer::Pod(_)) => self.service(at),
            _ => self.service(at).or_else(|| self.endpoint(at)),
        };
        let name = match (service, peer) {
            (Some(port), _) => Arc::clone(&port.service),
            (None, Some(Peer::Pod(pod))) => pod.service(),
            (None, Some(Peer::Node(name))) => Arc::clone(name),
            (None, None) => return None,
        };
        (!name.is_empty()).then_some(name)
    }

    /// The pods that may be called at this address: the one that has it, or
    /// those on the network of the node that has it.
    #[must_use]
    pub fn pods_at(&self, ip: IpAddr) -> &[Arc<Pod>] {
        match self.peer(ip) {
            Some(Peer::Pod(pod)) => std::slice::from_ref(pod),
            _ => self
                .on_network
                .get(&ip.to_canonical())
                .map_or(&[], Vec::as_slice),
        }
    }

    /// The Service at this address.
    #[must_use]
    pub fn service(&self, at: SocketAddr) -> Option<&Arc<ServicePort>> {
        self.services.get(&canonical(at))
    }

    /// The port of a Service that leads to this address, if that is said to be
    /// an endpoint and no pod: a machine outside of the cluster, or a node.
    #[must_use]
    pub fn endpoint(&self, at: SocketAddr) -> Option<&Arc<ServicePort>> {
        self.endpoints.get(&canonical(at))
    }
}

const fn canonical(at: SocketAddr) -> SocketAddr {
    SocketAddr::new(at.ip().to_canonical(), at.port())
}

impl Pod {
    /// The name of the container with this id, which is one of this pod's.
    #[must_use]
    pub fn container(&self, id: &str) -> Option<&Arc<str>> {
        self.told_of(id).or(self.sole.as_ref())
    }

    /// The name of the container of which the kubelet has told this id.
    pub(super) fn told_of(&self, id: &str) -> Option<&Arc<str>> {
        let mut containers = self.containers.iter();
        containers.find_map(|(of, name)| (**of == *id).then_some(name))
    }

    /// What its spans are called: its Dataplane's `kuma.io/service`, as Kuma's
    /// proxy would say; without one its name and namespace, as the cluster's
    /// DNS has them.
    #[must_use]
    pub fn service(&self) -> Arc<str> {
        let of_dataplane = self.dataplane.as_deref().and_then(Dataplane::service);
        match of_dataplane {
            Some(service) => Arc::clone(service),
            None => format!("{}.{}", self.name, self.namespace).into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pod(uid: u8, (host_network, ip, container): (bool, u8, u8)) -> Arc<Pod> {
        Arc::new(Pod {
            uid: PodUid(format!("uid-{uid}").into()),
            name: "web-1".into(),
            namespace: "shop".into(),
            node: None,
            own: container % 2 == 0,
            ips: vec![[10, 0, 0, ip].into()],
            host_network,
            containers: vec![(format!("id-{container}").into(), "app".into())],
            sole: None,
            dataplane: None,
        })
    }

    proptest! {
        /// Pods that are set, changed and taken out leave what there would be
        /// if those that are left alone had ever been there.
        #[test]
        fn what_is_found_is_of_the_pods_that_are_there(
            steps in prop::collection::vec((0_u8..5, prop::option::of(any::<(bool, u8, u8)>())), 0..40),
        ) {
            let mut directory = Directory::default();
            let mut there = std::collections::BTreeMap::new();
            for (uid, change) in steps {
                match change {
                    // No two containers have one id.
                    Some((host_network, ip, container)) => {
                        let pod = pod(uid, (host_network, ip % 4, uid * 50 + container % 2));
                        directory.set_pod(Arc::clone(&pod));
                        there.insert(uid, pod);
                    }
                    None => {
                        let uid_of = PodUid(format!("uid-{uid}").into());
                        prop_assert_eq!(directory.remove_pod(&uid_of), there.remove(&uid));
                    }
                }
            }
            prop_assert_eq!(directory.pods().count(), there.len());
            prop_assert_eq!(directory.containers.len(), there.len());
            let own = there.values().filter(|pod| pod.own);
            prop_assert_eq!(directory.own_pods().count(), own.clone().count());
            for pod in own {
                prop_assert_eq!(directory.own.get(&pod.uid), Some(pod));
            }
            for pod in there.values() {
                prop_assert_eq!(directory.pod(&pod.uid), Some(pod));
                prop_assert_eq!(directory.pod_of(&pod.containers[0].0), Some(pod));
            }
            for ip in 0..4 {
                let ip = IpAddr::from([10, 0, 0, ip]);
                let found: std::collections::BTreeSet<_> =
                    directory.pods_at(ip).iter().map(|pod| &pod.uid).collect();
                let on_it = there.values().filter(|pod| pod.host_network && pod.ips[0] == ip);
                prop_assert_eq!(found, on_it.map(|pod| &pod.uid).collect());
            }
            prop_assert!(directory.on_network.values().all(|pods| !pods.is_empty()));
        }
    }
}
