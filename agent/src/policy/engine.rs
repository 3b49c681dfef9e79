//! Who is traced, and to where.
//!
//! Matching (which policy selects a workload) is one step, what follows from
//! it is another: `MeshTrace`, which merges its policies instead of choosing
//! one, can join with a second step of its own.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::addresses::Addresses;
use super::backend::TracingBackend;
use super::index::MeshIndex;
use super::protocol::Protocol;
use super::resource::{Inbound, Mesh, TrafficTrace};
use super::resources::Resources;
use super::tags::Tags;
use hashbrown::HashMap;

pub use super::addresses::DataplaneRef;

/// Answers questions about a set of resources. Immutable; share it.
#[derive(Debug)]
pub struct Engine {
    pub(super) resources: Arc<Resources>,
    pub(super) meshes: HashMap<Arc<str>, MeshPolicies>,
    addresses: Addresses,
    /// By mesh, then service.
    protocols: HashMap<Arc<str>, HashMap<Arc<str>, Protocol>>,
}

/// The policies of a mesh, and what follows from each if it wins.
#[derive(Debug)]
pub(super) struct MeshPolicies {
    index: MeshIndex,
    /// By the policies' numbers.
    decisions: Vec<PolicyDecisions>,
    no_policy: Arc<Decision>,
}

#[derive(Debug)]
struct PolicyDecisions {
    /// If an inbound is HTTP.
    serving: Arc<Decision>,
    /// If none is.
    calling: Arc<Decision>,
}

/// What policies say about a workload.
///
/// One decision holds for all that the workload does, whichever inbound
/// matched (`SelectDataplanePolicy`, `pkg/core/policy/dataplane_matcher.go`).
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The mesh that was asked.
    pub mesh: Arc<str>,
    /// The winner's name, also if its backend does not exist.
    pub policy: Option<Arc<str>>,
    /// Where spans go.
    pub backend: Option<Arc<TracingBackend>>,
    /// Percent of the traces that begin here: the backend's.
    pub sampling: f64,
    /// More tags for each span. A `TrafficTrace` has none.
    pub tags: Tags,
    /// What became of it.
    pub outcome: Outcome,
}

/// What policies come to for a workload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is a backend for what the workload serves and calls.
    Selected,
    /// There is a backend, but no inbound of the workload is `http`, `http2`
    /// or `grpc`: its outgoing calls alone are traced.
    OutgoingOnly,
    /// No resource `Mesh` has the workload's mesh.
    NoMesh,
    /// No policy of the mesh matches.
    NoPolicy,
    /// The winner names a backend that the mesh does not have.
    UnknownBackend {
        /// That name.
        wanted: Arc<str>,
        /// The backend that was most likely meant.
        nearest: Option<Arc<str>>,
    },
    /// The winner names no backend, and the mesh has no `defaultBackend`.
    NoBackend,
}

/// Why an exchange of a workload is not traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refused {
    /// [`Outcome::NoMesh`] or [`Outcome::NoPolicy`].
    NoPolicy,
    /// [`Outcome::UnknownBackend`] or [`Outcome::NoBackend`].
    UnknownBackend,
    /// The server's side is not tagged as `http`, `http2` or `grpc`.
    NotHttp,
}

impl Decision {
    fn none(mesh: Arc<str>, outcome: Outcome) -> Self {
        Self {
            mesh,
            policy: None,
            backend: None,
            sampling: 0.0,
            tags: Tags::default(),
            outcome,
        }
    }

    /// Where the spans of an exchange go whose server has this protocol: of an
    /// incoming one the inbound's own, of an outgoing one the destination's
    /// ([`Engine::service_protocol`]).
    ///
    /// # Errors
    /// The reason why nowhere.
    pub fn backend_for(&self, server: Protocol) -> Result<&Arc<TracingBackend>, Refused> {
        match (&self.backend, &self.policy) {
            (Some(backend), _) if server.is_traced() => Ok(backend),
            (Some(_), _) => Err(Refused::NotHttp),
            (None, Some(_)) => Err(Refused::UnknownBackend),
            (None, None) => Err(Refused::NoPolicy),
        }
    }

    /// Whether policies trace what the workload serves.
    #[must_use]
    pub fn is_traced(&self) -> bool {
        self.outcome == Outcome::Selected
    }
}

impl Engine {
    /// Indexes the resources.
    #[must_use]
    pub fn new(resources: Arc<Resources>) -> Self {
        let meshes = resources
            .meshes()
            .map(|mesh| {
                let policies = MeshPolicies::new(mesh, &resources);
                (Arc::clone(&mesh.name), policies)
            })
            .collect();
        let addresses = Addresses::new(&resources);
        let protocols = protocols(&resources);
        Self {
            resources,
            meshes,
            addresses,
            protocols,
        }
    }

    /// What it was made from.
    #[must_use]
    pub const fn resources(&self) -> &Arc<Resources> {
        &self.resources
    }

    /// What policies say about a workload of this mesh. Workloads with the same
    /// winner share the decision.
    #[must_use]
    pub fn decide(&self, mesh: &str, inbounds: &[Inbound]) -> Arc<Decision> {
        match self.meshes.get(mesh) {
            Some(policies) => Arc::clone(policies.decide(inbounds)),
            None => Arc::new(Decision::none(mesh.into(), Outcome::NoMesh)),
        }
    }

    /// The protocol of a service: what is common to all its endpoints among
    /// the Dataplanes, [`Protocol::Unknown`] without any.
    #[must_use]
    pub fn service_protocol(&self, mesh: &str, service: &str) -> Protocol {
        let of_mesh = self.protocols.get(mesh);
        of_mesh
            .and_then(|services| services.get(service))
            .copied()
            .unwrap_or_default()
    }

    /// The Dataplanes one of whose processes listens here. Several, if they
    /// are of different hosts and say `serviceAddress: 127.0.0.1`.
    #[must_use]
    pub fn dataplanes_at(&self, address: SocketAddr) -> &[DataplaneRef] {
        self.addresses.processes_at(address)
    }

    /// The Dataplane one of whose processes listens here, if that is only one;
    /// among several it is the one whose `networking.address` is `local`, this
    /// host's own.
    #[must_use]
    pub fn dataplane_at(
        &self,
        address: SocketAddr,
        local: impl Fn(IpAddr) -> bool,
    ) -> Option<&DataplaneRef> {
        let all = self.dataplanes_at(address);
        if let [one] = all {
            return Some(one);
        }
        let is_here = |found: &&DataplaneRef| found.dataplane.address.ip().is_some_and(&local);
        let mut here = all.iter().filter(is_here);
        match (here.next(), here.next()) {
            (Some(one), None) => Some(one),
            _ => None,
        }
    }

    /// The endpoints that are reached by calling this address: of the process
    /// itself, or of its proxy by `networking.address` or
    /// `advertisedAddress`. For the destination of an outgoing call.
    #[must_use]
    pub fn endpoints_at(&self, address: SocketAddr) -> &[DataplaneRef] {
        self.addresses.endpoints_at(address)
    }

    /// The Dataplanes with this address, whatever the port; a loopback address
    /// is nobody's. For the other end of a connection.
    #[must_use]
    pub fn dataplanes_of(&self, ip: IpAddr) -> &[DataplaneRef] {
        self.addresses.of(ip)
    }
}

impl MeshPolicies {
    fn new(mesh: &Mesh, resources: &Resources) -> Self {
        let policies: Vec<_> = resources.traffic_traces(&mesh.name).cloned().collect();
        let decisions = policies
            .iter()
            .map(|policy| PolicyDecisions::new(mesh, policy));
        let none = Decision::none(Arc::clone(&mesh.name), Outcome::NoPolicy);
        Self {
            index: MeshIndex::new(&policies),
            decisions: decisions.collect(),
            no_policy: Arc::new(none),
        }
    }

    pub(super) fn decide(&self, inbounds: &[Inbound]) -> &Arc<Decision> {
        let winner = self.index.winner(inbounds);
        let Some(decisions) = winner.and_then(|number| self.decisions.get(number)) else {
            return &self.no_policy;
        };
        match inbounds.iter().any(|inbound| inbound.protocol.is_traced()) {
            true => &decisions.serving,
            false => &decisions.calling,
        }
    }
}

impl PolicyDecisions {
    /// What follows if this policy wins.
    fn new(mesh: &Mesh, policy: &TrafficTrace) -> Self {
        let backend = mesh.backend(policy.backend.as_deref());
        let decision = |with_backend| Decision {
            policy: Some(Arc::clone(&policy.name)),
            backend: backend.cloned(),
            sampling: backend.map_or(0.0, |backend| backend.sampling),
            ..Decision::none(
                Arc::clone(&mesh.name),
                match (backend, &policy.backend) {
                    (Some(_), _) => with_backend,
                    (None, Some(wanted)) => Outcome::UnknownBackend {
                        wanted: Arc::clone(wanted),
                        nearest: nearest_backend(mesh, wanted),
                    },
                    (None, None) => Outcome::NoBackend,
                },
            )
        };
        Self {
            serving: Arc::new(decision(Outcome::Selected)),
            calling: Arc::new(decision(Outcome::OutgoingOnly)),
        }
    }
}

/// The backend that was most likely meant by a name that none has.
pub(crate) fn nearest_backend(mesh: &Mesh, wanted: &str) -> Option<Arc<str>> {
    let names = || mesh.backends.iter().map(|backend| &backend.name);
    let nearest = crate::nearest::nearest(wanted, names().map(|name| &**name))?;
    names().find(|name| &***name == nearest).cloned()
}

fn protocols(resources: &Resources) -> HashMap<Arc<str>, HashMap<Arc<str>, Protocol>> {
    let mut meshes: HashMap<Arc<str>, HashMap<Arc<str>, Protocol>> = HashMap::new();
    for dataplane in resources.all_dataplanes() {
        let services = meshes.entry(Arc::clone(&dataplane.mesh)).or_default();
        for (listener, inbound) in dataplane.listeners.iter().zip(&*dataplane.inbounds) {
            let Some(service) = inbound.tags.service().filter(|_| !listener.ignored) else {
                continue;
            };
            services
                .entry(Arc::clone(service))
                .and_modify(|protocol| *protocol = protocol.common(inbound.protocol))
                .or_insert(inbound.protocol);
        }
    }
    meshes
}
