//! Kuma's resources, as far as they decide about tracing.
//!
//! These are validated values: what is wrong is refused where a file or a body
//! is read (`config::resources`).

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::backend::TracingBackend;
use super::protocol::Protocol;
use super::tags::{Rank, Selector, Tags};

/// The kinds that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// A mesh and its tracing backends; global.
    Mesh,
    /// Who is traced to which backend; of one mesh.
    TrafficTrace,
    /// A workload of a plain host; of one mesh.
    Dataplane,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Mesh, Self::TrafficTrace, Self::Dataplane];

    /// The name in `kind` and `type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mesh => "Mesh",
            Self::TrafficTrace => "TrafficTrace",
            Self::Dataplane => "Dataplane",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Identity of a resource.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ResourceKey {
    /// What it is.
    pub kind: Kind,
    /// Its mesh; a [`Kind::Mesh`]'s own name.
    pub mesh: Arc<str>,
    /// Its name. A Kubernetes Dataplane's is `NAME.NAMESPACE`, as in Kuma.
    pub name: Arc<str>,
}

/// `TrafficTrace "eu" of mesh "default"`
impl fmt::Display for ResourceKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Mesh => write!(f, "Mesh \"{}\"", self.name),
            kind => write!(f, "{kind} \"{}\" of mesh \"{}\"", self.name, self.mesh),
        }
    }
}

/// When a resource was created: nanoseconds since the epoch, negative before.
///
/// The default, for resources that do not say, is the epoch, so that ties go
/// to the name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Created(pub i128);

/// A resource of any kind; a clone shares it.
#[derive(Clone, Debug, PartialEq)]
pub enum Resource {
    /// `Mesh`
    Mesh(Arc<Mesh>),
    /// `TrafficTrace`
    TrafficTrace(Arc<TrafficTrace>),
    /// `Dataplane`
    Dataplane(Arc<Dataplane>),
}

impl Resource {
    /// Its identity.
    #[must_use]
    pub fn key(&self) -> ResourceKey {
        let (kind, mesh, name) = match self {
            Self::Mesh(mesh) => (Kind::Mesh, &mesh.name, &mesh.name),
            Self::TrafficTrace(trace) => (Kind::TrafficTrace, &trace.mesh, &trace.name),
            Self::Dataplane(dataplane) => (Kind::Dataplane, &dataplane.mesh, &dataplane.name),
        };
        ResourceKey {
            kind,
            mesh: Arc::clone(mesh),
            name: Arc::clone(name),
        }
    }
}

/// `Mesh` (`api/mesh/v1alpha1/mesh.proto`); of it, `tracing` alone matters.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Its name.
    pub name: Arc<str>,
    /// When it was created.
    pub created: Created,
    /// `tracing.defaultBackend`: the backend of policies that name none. By
    /// itself it traces nothing. It names one of `backends`.
    pub default_backend: Option<Arc<str>>,
    /// `tracing.backends`, with unique names.
    pub backends: Vec<Arc<TracingBackend>>,
}

impl Mesh {
    /// The backend that a policy means: the named one, or the default one if
    /// it names none. An unknown name is nothing, never the default
    /// (`GetTracingBackend`, `mesh_helpers.go`).
    #[must_use]
    pub fn backend(&self, named: Option<&str>) -> Option<&Arc<TracingBackend>> {
        let name = named.or(self.default_backend.as_deref())?;
        self.backends.iter().find(|backend| &*backend.name == name)
    }
}

/// `TrafficTrace` (`api/mesh/v1alpha1/traffic_trace.proto`).
#[derive(Clone, Debug, PartialEq)]
pub struct TrafficTrace {
    /// The mesh whose workloads it selects.
    pub mesh: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// When it was created.
    pub created: Created,
    /// `selectors[].match`: any of them must match. One at least, each with a
    /// tag at least.
    pub selectors: Vec<Selector>,
    /// `conf.backend`, if it says something.
    pub backend: Option<Arc<str>>,
}

impl TrafficTrace {
    /// The best rank of the selectors that match any of these inbounds.
    #[must_use]
    pub fn rank(&self, inbounds: &[Inbound]) -> Option<Rank> {
        self.selectors
            .iter()
            .filter(|selector| {
                inbounds
                    .iter()
                    .any(|inbound| selector.matches(&inbound.tags))
            })
            .map(Selector::rank)
            .max()
    }
}

/// What selectors are asked about: the tags of one inbound, or of a gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Inbound {
    /// Its tags.
    pub tags: Tags,
    /// Its protocol: the field `protocol` if there is one, else the tag's
    /// (`GetProtocolFallback`, `dataplane_helpers.go`).
    pub protocol: Protocol,
}

impl From<Tags> for Inbound {
    fn from(tags: Tags) -> Self {
        let protocol = tags.protocol();
        Self { tags, protocol }
    }
}

/// `Dataplane` (`api/mesh/v1alpha1/dataplane.proto`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dataplane {
    /// Its mesh.
    pub mesh: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// When it was created.
    pub created: Created,
    /// `networking.address`.
    pub address: Host,
    /// `networking.advertisedAddress`: by which others know it.
    pub advertised: Option<Host>,
    /// `networking.inbound`.
    pub listeners: Vec<Listener>,
    /// What selectors are asked about: one for each listener, in their order,
    /// or one for the gateway.
    pub inbounds: Arc<[Inbound]>,
    /// `networking.outbound`.
    pub outbounds: Vec<Outbound>,
}

impl Dataplane {
    /// The service that Kuma's proxy reports: the alphabetically first
    /// `kuma.io/service` (`IdentifyingName`, `dataplane_helpers.go`).
    #[must_use]
    pub fn service(&self) -> Option<&Arc<str>> {
        let services = self.inbounds.iter().filter_map(|i| i.tags.service());
        services.min()
    }
}

/// `networking.inbound[]`: where a workload listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// `address`, else `networking.address`: where others reach its proxy.
    pub address: Host,
    /// `port`
    pub port: u16,
    /// `serviceAddress`, else [`Self::address`]: where the process listens.
    pub service_address: Host,
    /// `servicePort`, else [`Self::port`].
    pub service_port: u16,
    /// `state: Ignored`: it is no endpoint of its service.
    pub ignored: bool,
    /// Somebody has said what the inbound speaks, be it `tcp`; else its protocol
    /// is a default.
    pub says_protocol: bool,
}

/// `networking.outbound[]`: an address by which a workload calls a service
/// through its proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outbound {
    /// `address`, by default 127.0.0.1.
    pub address: IpAddr,
    /// `port`
    pub port: u16,
    /// `tags["kuma.io/service"]`, or the legacy `service`; none with a
    /// `backendRef`.
    pub service: Option<Arc<str>>,
}

/// An IP address or a name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Host {
    /// An address.
    Ip(IpAddr),
    /// A DNS name. nodespan does not resolve it.
    Name(Arc<str>),
}

impl Host {
    /// The address, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Ip(ip) => Some(*ip),
            Self::Name(_) => None,
        }
    }
}
