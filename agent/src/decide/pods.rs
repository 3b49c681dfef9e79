//! Exchanges of pods.
//!
//! A pod is found by its cgroup, so nothing depends on where it listens: its
//! address may be its node's (`hostNetwork`) or, by the time of its last
//! records, another pod's.

use std::sync::Arc;

use super::decider::{NotTraced, destination, route};
use super::members::Members;
use super::plan::{Plan, Policies, Selected};
use crate::assemble::Began;
use crate::identify::{Directory, Known, Origin, Peer, Pod, ServicePort};
use crate::ledger::NotSelected;
use crate::policy::{Dataplane, Protocol};
use crate::units::Side;

/// What policies say about an exchange of a pod, and whether its peer's half
/// is reported to the same backend.
pub(super) fn of_pod(
    members: &mut Members,
    plan: &Plan,
    policies: &Policies,
    (known, pod): (&Known, &Pod),
    began: &Began,
) -> Result<(Arc<Selected>, bool), NotTraced> {
    let selected = selected(members, policies, known, pod)?;
    let route = route(&selected)?;
    let (protocol, otherwise) = match began.side {
        Side::Server => (inbound(&selected, began), NotSelected::NoInbound),
        Side::Client => (
            called(plan, policies, &selected, began),
            NotSelected::UnknownDestination,
        ),
    };
    // Nobody has tagged anything where Kuma is not; what somebody has tagged
    // as something else is that, be it tcp.
    let assumes = |spoken: Spoken| plan.assume_http && !spoken.is_said;
    match protocol {
        None if plan.assume_http => {}
        Some(spoken) if spoken.is_traced() || assumes(spoken) => {}
        Some(_) => return Err(NotTraced::once(NotSelected::NotHttp)),
        None => return Err(NotTraced::once(otherwise)),
    }
    // Which Service was called the other end knows, and by that whether its half
    // is reported; where one of those that lead here is not HTTP, it may not be.
    let is_certain = || {
        let port = began.local.map(|local| local.port);
        let mut all = protocols_at(&selected.dataplane, port.unwrap_or_default());
        all.all(|spoken| spoken.is_traced() || assumes(spoken))
    };
    let observed = began.side == Side::Server
        && is_certain()
        && match is_over_loopback(began) {
            // What calls within a pod is the pod, unless the network is its
            // node's. (Or `kubectl port-forward`, which cannot be told from it.)
            true => !pod.host_network,
            false => caller(members, plan, policies, began).is_some_and(|caller| {
                caller.dataplane.mesh == selected.dataplane.mesh
                    && caller
                        .route
                        .as_ref()
                        .is_some_and(|of| of.backend == route.backend)
            }),
        };
    Ok((selected, observed))
}

/// What policies say about a pod.
pub(super) fn selected(
    members: &mut Members,
    policies: &Policies,
    known: &Known,
    pod: &Pod,
) -> Result<Arc<Selected>, NotTraced> {
    Ok(members.of_pod(policies, known.key, member(pod)?))
}

/// What Kuma would make of a pod, if that is anything: with `kuma.io/ignore`, or
/// where injection is refused, it is in no mesh, and not traced whether there
/// are meshes or not.
pub(super) fn member(pod: &Pod) -> Result<&Arc<Dataplane>, NotTraced> {
    let dataplane = pod.dataplane.as_ref();
    dataplane.ok_or(NotTraced::forever(NotSelected::NoDataplane))
}

/// What is spoken at a port.
#[derive(Clone, Copy, Debug)]
struct Spoken {
    protocol: Protocol,
    /// Somebody has said so.
    is_said: bool,
}

impl Spoken {
    const fn is_traced(self) -> bool {
        self.protocol.is_traced()
    }
}

/// The protocol of the inbound at the port that was called, which is the
/// container's own.
fn inbound(selected: &Selected, began: &Began) -> Option<Spoken> {
    protocol_at(&selected.dataplane, began.local?.port)
}

/// Where several Services lead to a port, one that says HTTP is enough, and else
/// one that says anything: a headless one beside it, of which nobody has said
/// anything, takes nothing away. (Of Kuma 2.14's proxies the last one configures the listener, or the
/// first, depending on the mesh.)
fn protocol_at(dataplane: &Dataplane, port: u16) -> Option<Spoken> {
    let all = || protocols_at(dataplane, port);
    let said = || all().find(|spoken| spoken.is_said);
    let traced = all().find(|spoken| spoken.is_traced());
    traced.or_else(said).or_else(|| all().next())
}

/// What each of the Services says that lead to a port.
fn protocols_at(dataplane: &Dataplane, port: u16) -> impl Iterator<Item = Spoken> {
    let inbounds = dataplane.listeners.iter().zip(dataplane.inbounds.iter());
    inbounds
        .filter(move |(listener, _)| listener.service_port == port)
        .map(|(listener, inbound)| Spoken {
            protocol: inbound.protocol,
            is_said: listener.says_protocol,
        })
}

/// Whether it does not leave the network of its pod, or node.
fn is_over_loopback(began: &Began) -> bool {
    let ip = began.peer.map(|peer| peer.ip.to_canonical());
    ip.is_some_and(|ip| ip.is_loopback())
}

/// The protocol of what was called: over loopback the pod itself, a Service by
/// its cluster IP, else a pod, else what Dataplanes that are no pods' say, else
/// an endpoint of a Service that is no pod.
fn called(plan: &Plan, policies: &Policies, caller: &Selected, began: &Began) -> Option<Spoken> {
    let peer = began.peer?;
    let mesh = &caller.dataplane.mesh;
    if is_over_loopback(began)
        && let Some(protocol) = protocol_at(&caller.dataplane, peer.port)
    {
        return Some(protocol);
    }
    if let Some(directory) = &plan.directory {
        if let Some(service) = directory.service((peer.ip, peer.port).into()) {
            return spoken_at(service, mesh);
        }
        let pods = directory.pods_at(peer.ip).iter();
        let dataplanes = pods.filter_map(|pod| pod.dataplane.as_ref());
        let mut found = dataplanes
            .filter(|dataplane| dataplane.mesh == *mesh)
            .filter_map(|dataplane| protocol_at(dataplane, peer.port));
        if let Some(protocol) = found.next() {
            return Some(protocol);
        }
    }
    if let Some(protocol) = destination(policies, caller, began) {
        // Unknown is what Dataplanes say nothing of, or nothing that they share.
        let is_said = protocol != Protocol::Unknown;
        return Some(Spoken { protocol, is_said });
    }
    let directory = plan.directory.as_ref()?;
    let endpoint = directory.endpoint((peer.ip, peer.port).into())?;
    spoken_at(endpoint, mesh)
}

/// A mesh ends at its border.
fn spoken_at(service: &ServicePort, mesh: &Arc<str>) -> Option<Spoken> {
    (service.mesh == *mesh).then_some(Spoken {
        protocol: service.protocol,
        is_said: service.says_protocol,
    })
}

/// What policies say about the caller: a pod by its own address. An address
/// of a node is nobody's: its processes and any pod on its network share it.
fn caller<'a>(
    members: &'a mut Members,
    plan: &Plan,
    policies: &'a Policies,
    began: &Began,
) -> Option<&'a Arc<Selected>> {
    let peer = began.peer?;
    match plan.directory.as_ref().and_then(|all| all.peer(peer.ip)) {
        Some(Peer::Pod(pod)) => Some(members.of_peer(policies, pod.dataplane.as_ref()?)),
        Some(Peer::Node(_)) => None,
        None => policies.at(peer.ip),
    }
}

/// Where there are no policies: whether a caller's half is reported, which it
/// is if it is a pod with an address of its own that is not ignored, this one
/// or another.
pub(super) fn is_pod(directory: &Directory, known: &Known, began: &Began) -> bool {
    if is_over_loopback(began) {
        return matches!(&known.origin, Origin::Pod { pod, .. } if !pod.host_network);
    }
    let peer = began.peer.and_then(|peer| directory.peer(peer.ip));
    matches!(peer, Some(Peer::Pod(pod)) if pod.dataplane.is_some())
}
