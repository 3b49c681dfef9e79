//! Which workload made a call.
//!
//! Live, [`Identifier`] asks the host; for captures [`AddressIdentifier`]
//! takes the address. Both give a [`Known`]. Where there is a cluster, a
//! [`Directory`] says which pod a container belongs to; until it does
//! [`Identify::known`] answers "not yet".

mod address;
mod cgroup;
mod cgroups;
mod command;
mod directory;
mod host;
mod kubepods;
mod listening;
mod pods;
mod process;
mod tree;

pub use address::AddressIdentifier;
pub use cgroup::{CgroupOwner, Granularity, granularity};
pub use directory::{Directory, Peer, Pod, PodUid, ServicePort};
pub use host::{Counters, Identifier, Options};
pub use listening::own_addresses;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::units::{Comm, MonoNanos, OwnerId};

/// Identity of a workload in this agent: equal for all exchanges of one
/// workload and for no other's, whatever their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadKey(pub u64);

/// A program as an operator would name it: a container, a unit, a command.
///
/// One value is shared by all spans of a workload. Nothing behind this room may
/// ask the system anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Service name of its spans.
    pub service: Arc<str>,
    /// How the name was found.
    pub kind: WorkloadKind,
    /// Host name of the node, tag `node_id`.
    pub node: Arc<str>,
    /// The workload's own address where it has one of its own; otherwise the
    /// local address of each connection is used.
    pub address: Option<IpAddr>,
    /// If it is a container of a pod.
    pub pod: Option<PodTags>,
}

/// What the spans of a pod say of it, each under the name that OpenTelemetry's
/// conventions have for it (`docs/resource/k8s.md`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodTags {
    /// `k8s.pod.name`
    pub name: Arc<str>,
    /// `k8s.namespace.name`
    pub namespace: Arc<str>,
    /// `k8s.pod.uid`
    pub uid: Arc<str>,
    /// `k8s.node.name`
    pub node: Option<Arc<str>>,
    /// `k8s.container.name`, once the cluster has said it: the kubelet reports
    /// a container some time after it was started.
    pub container: Option<Arc<str>>,
    /// `container.id`
    pub container_id: Arc<str>,
}

impl PodTags {
    fn of(pod: &Pod, id: &Arc<str>, container: Option<&Arc<str>>) -> Self {
        Self {
            name: Arc::clone(&pod.name),
            namespace: Arc::clone(&pod.namespace),
            uid: Arc::clone(&pod.uid.0),
            node: pod.node.clone(),
            container: container.cloned(),
            container_id: Arc::clone(id),
        }
    }
}

/// How a workload's name was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// `--service`.
    Configured,
    /// A container, with its id.
    Container(Arc<str>),
    /// A pod: by what the cluster says of it.
    Pod,
    /// A systemd unit, with its full name.
    Unit(Arc<str>),
    /// A command name (`/proc/PID/comm`).
    Command,
    /// An address in a capture.
    Address,
}

/// A workload, and what the system says it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Tells it from every other.
    pub key: WorkloadKey,
    /// What its spans say.
    pub workload: Arc<Workload>,
    /// What it is, whatever its service is called.
    pub origin: Origin,
}

/// What a workload is on its host; selectors ask for it, because `--service`
/// gives all workloads one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A container.
    Container {
        /// The runtime's id.
        id: Arc<str>,
        /// The runtime's name, if it could be found.
        name: Option<Arc<str>>,
    },
    /// A container of a pod. Each is a workload of its own, by the name of
    /// its pod.
    Pod {
        /// The pod, as the cluster knows it or knew it last.
        pod: Arc<Pod>,
        /// The runtime's id of the container.
        id: Arc<str>,
        /// The container's name in the pod, once the cluster has said it.
        container: Option<Arc<str>>,
    },
    /// A systemd service with its full name, `nginx.service`.
    Unit(Arc<str>),
    /// A process that is neither, with its command name.
    Command(Arc<str>),
    /// An address in a capture.
    Address(IpAddr),
    /// It was over before anybody could ask.
    Gone,
}

/// What a configuration calls workloads and their node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Naming {
    /// The service of every workload; its own name if absent.
    pub service: Option<Arc<str>>,
    /// Name of the node; the host's name if absent.
    pub node: Option<Arc<str>>,
}

impl Naming {
    /// What spans say of a workload with this name of its own.
    fn workload(
        &self,
        (name, kind): (Arc<str>, WorkloadKind),
        node: &Arc<str>,
        address: Option<IpAddr>,
        pod: Option<PodTags>,
    ) -> Arc<Workload> {
        let (service, kind) = match &self.service {
            Some(service) => (Arc::clone(service), WorkloadKind::Configured),
            None => (name, kind),
        };
        Arc::new(Workload {
            service,
            kind,
            // The cluster's name of it, which a configuration may not know.
            node: Arc::clone(
                pod.as_ref()
                    .and_then(|pod| pod.node.as_ref())
                    .unwrap_or(node),
            ),
            address,
            pod,
        })
    }
}

/// Names the workload of a record.
pub trait Identify {
    /// The workload of this owner and process; `local` is this end's address.
    /// `None` if it cannot be known yet: ask again with the owner's next
    /// record or a little later.
    fn known(
        &mut self,
        owner: OwnerId,
        pid: u32,
        local: Option<IpAddr>,
        now: MonoNanos,
    ) -> Option<&Known>;

    /// Takes what the kernel called a process of this owner when it made a call
    /// on a socket that was new: all that is known of one that is over before
    /// anybody can ask. To be told before anything else about that socket.
    fn introduce(&mut self, owner: OwnerId, pid: u32, comm: Comm) {
        let _nobody = (owner, pid, comm);
    }

    /// Calls workloads so from now on.
    fn rename(&mut self, naming: Naming);

    /// The addresses that the workload of this owner and process listens on,
    /// as far as the host says. Costs a look into its processes: ask once in a
    /// while. In a capture there is nobody to ask.
    fn listening(&mut self, owner: OwnerId, pid: u32) -> Vec<SocketAddr> {
        let _nobody = (owner, pid);
        Vec::new()
    }

    /// Whether an owner that is not [known](Self::known) may be so when more
    /// is [learnt](Self::learn) of a cluster.
    fn awaits(&self, owner: OwnerId, pid: u32) -> bool {
        let _never = (owner, pid);
        false
    }

    /// What was last said of an owner, without asking anybody.
    fn recall(&self, owner: OwnerId) -> Option<&Known> {
        let _nothing = owner;
        None
    }

    /// Takes what a cluster's API says now.
    fn learn(&mut self, directory: &Arc<Directory>, now: MonoNanos) {
        let _nobody = (directory, now);
    }

    /// Takes what has happened on the host. To be called before the records of
    /// what happened after it; costs a look whether there is something to read.
    fn look(&mut self, now: MonoNanos) {
        let _nothing = now;
    }
}

/// A key from what a workload is called where names are unique.
fn key_of(space: &str, name: &str) -> WorkloadKey {
    use std::hash::Hasher;
    let mut hasher = siphasher::sip::SipHasher24::new();
    hasher.write(space.as_bytes());
    hasher.write_u8(0);
    hasher.write(name.as_bytes());
    WorkloadKey(hasher.finish())
}
