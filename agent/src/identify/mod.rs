//! Which workload made a call.

use std::net::IpAddr;
use std::sync::Arc;

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
