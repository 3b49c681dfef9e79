//! What is kept of the API's objects: texts are shared, and nothing is there
//! that is not asked about.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

use super::intern::{Interner, Pairs};
use super::objects::{self, HASH, MIRROR, Target};
use crate::policy::Created;

/// A pod.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct PodFacts {
    /// `metadata.uid`
    pub(crate) uid: Arc<str>,
    /// What its cgroup is called by: `uid`, or the hash of a static pod of this
    /// node.
    pub(crate) cgroup: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) node: Option<Arc<str>>,
    pub(crate) created: Seconds,
    /// `status.podIPs`; none once it is over, for then they are free for
    /// others.
    pub(crate) ips: Box<[IpAddr]>,
    pub(crate) host_network: bool,
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
    /// Kind and name of the controller.
    pub(crate) owner: Option<(Arc<str>, Arc<str>)>,
    /// TCP ports that containers name.
    pub(crate) ports: Box<[(Arc<str>, u16)]>,
    /// Id and name of each container of a pod of this node, and of the one
    /// that was before it if it was started again.
    pub(crate) containers: Box<[(Arc<str>, Arc<str>)]>,
    /// The one container of a pod of this node that has no other.
    pub(crate) sole: Option<Arc<str>>,
}

/// `metadata.creationTimestamp`, which has whole seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Seconds(i64);

impl Seconds {
    /// Seconds since 1970.
    pub(crate) const fn get(self) -> i64 {
        self.0
    }
}

impl From<Seconds> for Created {
    fn from(seconds: Seconds) -> Self {
        Self(i128::from(seconds.0) * 1_000_000_000)
    }
}

/// A Service.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct ServiceFacts {
    pub(crate) name: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) created: Seconds,
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
    pub(crate) kind: ServiceKind,
    pub(crate) ips: Box<[IpAddr]>,
    pub(crate) selector: Pairs,
    pub(crate) ports: Box<[PortFacts]>,
}

/// Which kind of Service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ServiceKind {
    /// With an address of its own, or several.
    Addressed,
    /// `clusterIP: None`
    Headless,
    /// `type: ExternalName`
    External,
}

/// A port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PortFacts {
    /// Empty if it has none.
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
    pub(crate) target: TargetPort,
    pub(crate) is_tcp: bool,
    pub(crate) app_protocol: Option<Arc<str>>,
}

/// The port of a pod behind a port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum TargetPort {
    /// This one, which no container need declare.
    Number(u16),
    /// The one that a container calls so.
    Name(Arc<str>),
}

/// An EndpointSlice.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SliceFacts {
    pub(crate) name: Arc<str>,
    pub(crate) namespace: Arc<str>,
    pub(crate) service: Arc<str>,
    /// UIDs of its pods, sorted.
    pub(crate) pods: Box<[Arc<str>]>,
    /// Addresses of those of its endpoints that are no pods, in canonical form.
    pub(crate) ips: Box<[IpAddr]>,
    /// The TCP ports of these.
    pub(crate) ports: Box<[EndFacts]>,
}

/// A port of endpoints that are no pods.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct EndFacts {
    /// That of the Service's port; empty if that has none.
    pub(crate) name: Arc<str>,
    pub(crate) port: u16,
    pub(crate) app_protocol: Option<Arc<str>>,
}

/// A namespace: what Kuma says of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NamespaceFacts {
    pub(crate) labels: Pairs,
    pub(crate) annotations: Pairs,
}

/// A node.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct NodeFacts {
    pub(crate) name: Arc<str>,
    pub(crate) ips: Box<[IpAddr]>,
}

/// A value of pairs, which are sorted by name.
pub(crate) fn get<'p>(pairs: &'p Pairs, name: &str) -> Option<&'p Arc<str>> {
    let at = pairs.binary_search_by(|(known, _)| (**known).cmp(name));
    pairs.get(at.ok()?).map(|(_, value)| value)
}

impl PodFacts {
    /// Of a pod; its containers if it is on `this_node`.
    pub(crate) fn new(
        pod: &objects::Pod,
        this_node: Option<&str>,
        intern: &mut Interner,
    ) -> Option<Self> {
        let objects::Pod {
            metadata,
            spec,
            status,
        } = pod;
        let uid = metadata.uid.as_deref().filter(|uid| !uid.is_empty())?;
        let uid = intern.text(uid);
        let annotations = pairs(metadata.annotations.as_ref(), |_| true, intern);
        let is_here = this_node.is_some() && spec.node_name.as_deref() == this_node;
        // The hash is of the manifest, and another node's pod may be made from the
        // same (from a URL, or with a `uid` of its own).
        let cgroup = match (get(&annotations, MIRROR), get(&annotations, HASH)) {
            (Some(_), Some(hash)) if is_here => Arc::clone(hash),
            _ => Arc::clone(&uid),
        };
        let sidecars = spec.init_containers.iter().filter(|container| {
            let policy = container.restart_policy.as_deref();
            policy == Some("Always")
        });
        let ports = spec
            .containers
            .iter()
            .chain(sidecars)
            .flat_map(|container| &container.ports)
            .filter(|port| is_tcp(port.protocol.as_deref()))
            .filter_map(|port| Some((intern.text(port.name.as_deref()?), port.container_port)))
            .collect();
        let others = spec.init_containers.len() + spec.ephemeral_containers.len();
        let sole = match &*spec.containers {
            [one] if others == 0 && is_here => one.name.as_deref().map(|name| intern.text(name)),
            _ => None,
        };
        let over = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
        let ips = status.pod_ips.iter().map(|ip| &*ip.ip);
        let statuses = status
            .container_statuses
            .iter()
            .chain(&status.init_container_statuses)
            .chain(&status.ephemeral_container_statuses);
        let containers = statuses
            .filter(|_| is_here)
            .flat_map(|container| {
                // The one before it may have sent its last requests only now.
                let before = container.last_state.terminated.as_ref();
                let before = before.and_then(|before| before.container_id.as_deref());
                let now = container.container_id.as_deref();
                let before = before.filter(|before| Some(*before) != now);
                let ids = now.into_iter().chain(before);
                ids.map(|id| (id, &container.name))
            })
            .filter_map(|(id, name)| {
                let id = id.split_once("://").map_or(id, |(_, id)| id);
                (!id.is_empty()).then(|| (Arc::from(id), intern.text(name)))
            })
            .collect();
        Some(Self {
            uid,
            cgroup,
            name: Arc::from(metadata.name.as_deref()?),
            namespace: intern.text(metadata.namespace.as_deref()?),
            node: spec.node_name.as_deref().map(|node| intern.text(node)),
            created: created(metadata),
            ips: if over { Box::default() } else { addresses(ips) },
            host_network: spec.host_network,
            labels: pairs(metadata.labels.as_ref(), |_| true, intern),
            annotations,
            owner: owner(metadata, intern),
            ports,
            containers,
            sole,
        })
    }
}

impl ServiceFacts {
    pub(crate) fn new(service: &objects::Service, intern: &mut Interner) -> Option<Self> {
        let objects::Service { metadata, spec } = service;
        let headless = spec.cluster_ip.as_deref() == Some("None");
        let kind = match spec.type_.as_deref() {
            Some("ExternalName") => ServiceKind::External,
            _ if headless => ServiceKind::Headless,
            _ => ServiceKind::Addressed,
        };
        // An older server has no `clusterIPs`.
        let ips: Vec<&str> = match &*spec.cluster_ips {
            [] => spec.cluster_ip.as_deref().into_iter().collect(),
            ips => ips.iter().map(|ip| &**ip).collect(),
        };
        let ports = spec.ports.iter().map(|port| PortFacts {
            name: intern.text(port.name.as_deref().unwrap_or_default()),
            port: port.port,
            target: match &port.target_port {
                None | Some(Target::Number(0)) => TargetPort::Number(port.port),
                Some(Target::Number(number)) => TargetPort::Number(*number),
                Some(Target::Name(name)) => TargetPort::Name(intern.text(name)),
            },
            is_tcp: is_tcp(port.protocol.as_deref()),
            app_protocol: port.app_protocol.as_deref().map(|name| intern.text(name)),
        });
        let ports = ports.collect();
        Some(Self {
            name: intern.text(metadata.name.as_deref()?),
            namespace: intern.text(metadata.namespace.as_deref()?),
            created: created(metadata),
            labels: pairs(metadata.labels.as_ref(), is_kumas, intern),
            annotations: pairs(metadata.annotations.as_ref(), is_kumas, intern),
            kind,
            ips: addresses(ips.into_iter()),
            selector: pairs(Some(&spec.selector), |_| true, intern),
            ports,
        })
    }
}

/// `kubernetes.io/service-name`: the Service of an EndpointSlice.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// The Service that a slice is of.
pub(crate) fn service_of(slice: &objects::EndpointSlice) -> Option<&str> {
    let labels = slice.metadata.labels.as_ref()?;
    labels.get(SERVICE_NAME).map(|name| &**name)
}

impl SliceFacts {
    /// Of a slice that is of a Service.
    pub(crate) fn new(slice: &objects::EndpointSlice, intern: &mut Interner) -> Option<Self> {
        let metadata = &slice.metadata;
        let service = service_of(slice)?;
        let (mut pods, mut ips) = (Vec::new(), Vec::new());
        for end in &slice.endpoints {
            let target = end.target_ref.as_ref();
            match target.filter(|target| target.kind.as_deref() == Some("Pod")) {
                // The pod says itself where it is.
                Some(pod) => pods.extend(pod.uid.as_deref().map(|uid| intern.text(uid))),
                None => ips.extend(end.addresses.iter().filter_map(|ip| canonical(ip))),
            }
        }
        pods.sort();
        pods.dedup();
        ips.sort_unstable();
        ips.dedup();
        let ports = slice.ports.iter();
        let ports = ports.filter(|port| !ips.is_empty() && is_tcp(port.protocol.as_deref()));
        let ports = ports.filter_map(|port| {
            Some(EndFacts {
                name: intern.text(port.name.as_deref().unwrap_or_default()),
                port: port.port?,
                app_protocol: port.app_protocol.as_deref().map(|name| intern.text(name)),
            })
        });
        let ports = ports.collect();
        Some(Self {
            name: intern.text(metadata.name.as_deref()?),
            namespace: intern.text(metadata.namespace.as_deref()?),
            service: intern.text(service),
            pods: pods.into(),
            ips: ips.into(),
            ports,
        })
    }

    /// Keeps its pods alone.
    pub(crate) fn forget_addresses(&mut self) {
        self.ips = Box::default();
        self.ports = Box::default();
    }

    /// Where its endpoints are that are no pods.
    pub(crate) fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let ports = self.ports.iter();
        ports.flat_map(|port| self.ips.iter().map(|ip| SocketAddr::new(*ip, port.port)))
    }
}

fn canonical(ip: &str) -> Option<IpAddr> {
    ip.parse().ok().map(|ip: IpAddr| ip.to_canonical())
}

impl NamespaceFacts {
    pub(crate) fn new(namespace: &objects::Namespace, intern: &mut Interner) -> Self {
        let metadata = &namespace.metadata;
        Self {
            labels: pairs(metadata.labels.as_ref(), is_kumas, intern),
            annotations: pairs(metadata.annotations.as_ref(), is_kumas, intern),
        }
    }
}

impl NodeFacts {
    pub(crate) fn new(node: &objects::Node, intern: &mut Interner) -> Option<Self> {
        let ips = node.status.addresses.iter().map(|at| &*at.address);
        Some(Self {
            name: intern.text(node.metadata.name.as_deref()?),
            ips: addresses(ips),
        })
    }
}

fn is_kumas(name: &str) -> bool {
    name.contains("kuma.io/")
}

fn is_tcp(protocol: Option<&str>) -> bool {
    protocol.is_none_or(|protocol| protocol.is_empty() || protocol == "TCP")
}

/// Those that are addresses, each once.
fn addresses<'a>(texts: impl Iterator<Item = &'a str>) -> Box<[IpAddr]> {
    let mut ips: Vec<IpAddr> = Vec::new();
    for ip in texts.filter_map(|text| text.parse().ok()) {
        if !ips.contains(&ip) {
            ips.push(ip);
        }
    }
    ips.into()
}

fn created(metadata: &ObjectMeta) -> Seconds {
    let time = metadata.creation_timestamp.as_ref();
    Seconds(time.map_or(0, |time| time.0.as_second()))
}

/// The controller, or the first owner.
fn owner(metadata: &ObjectMeta, intern: &mut Interner) -> Option<(Arc<str>, Arc<str>)> {
    let owners = metadata.owner_references.as_ref()?;
    let owner = owners
        .iter()
        .find(|owner| owner.controller == Some(true))
        .or(owners.first())?;
    Some((intern.text(&owner.kind), intern.text(&owner.name)))
}

fn pairs(
    map: Option<&BTreeMap<String, String>>,
    wanted: fn(&str) -> bool,
    intern: &mut Interner,
) -> Pairs {
    let all = map.into_iter().flatten();
    let wanted = all.filter(|(name, _)| wanted(name));
    intern.pairs(wanted.map(|(name, value)| (&**name, &**value)))
}
