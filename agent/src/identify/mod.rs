//! Which workload made a call.
//!
//! Live, [`Identifier`] asks the host; for captures [`AddressIdentifier`]
//! takes the address. Both give a [`Known`]. Pods and tags will join here:
//! a `Known` will carry them to `policy`, and [`Identify::known`] may answer
//! "not yet".

mod address;
mod cgroup;
mod command;
mod directory;
mod host;
mod listening;
mod tree;

pub use address::AddressIdentifier;
pub use cgroup::{CgroupOwner, Granularity, granularity};
pub use directory::{Directory, Peer, Pod, PodUid, ServicePort};
pub use host::{Counters, Identifier, Options};
pub use listening::own_addresses;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use crate::units::{MonoNanos, OwnerId};

/// Identity of a workload in this agent: equal for all exchanges of one
/// workload and for no other's, whatever their names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkloadKey(pub u64);

/// A program as an operator would name it: a container, a unit, a command.
///
/// One value is shared by all spans of a workload. Pods and tags will join
/// here; nothing behind this room may ask the system anything.
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
}

/// How a workload's name was found.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum WorkloadKind {
    /// `--service`.
    Configured,
    /// A container, with its id.
    Container(Arc<str>),
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
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// A container.
    Container {
        /// The runtime's id.
        id: Arc<str>,
        /// The runtime's name, if it could be found.
        name: Option<Arc<str>>,
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
    ) -> Arc<Workload> {
        let (service, kind) = match &self.service {
            Some(service) => (Arc::clone(service), WorkloadKind::Configured),
            None => (name, kind),
        };
        Arc::new(Workload {
            service,
            kind,
            node: Arc::clone(node),
            address,
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

    /// Calls workloads so from now on.
    fn rename(&mut self, naming: Naming);

    /// The addresses that the workload of this owner and process listens on,
    /// as far as the host says. Costs a look into its processes: ask once in a
    /// while. In a capture there is nobody to ask.
    fn listening(&mut self, owner: OwnerId, pid: u32) -> Vec<SocketAddr> {
        let _nobody = (owner, pid);
        Vec::new()
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
