//! What is traced, and to where: one generation of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use crate::export::NameLimit;
use crate::identify::Directory;
use crate::link::{Backend, TraceWidth};
use crate::policy::{Dataplane, Decision, Engine, Selection, TracingBackend};
use crate::sample::{Percentage, SamplerConfig};

/// What a configuration and its resources come to.
#[derive(Debug, Default)]
pub struct Plan {
    /// What is traced on a plain host, whatever policies say.
    pub selection: Selection,
    /// Where spans go.
    pub destinations: Destinations,
    /// Decides where neither a request nor a policy does.
    pub sampler: SamplerConfig,
    /// How long the names are that the sampler is told.
    pub name_limit: Option<NameLimit>,
    /// What a cluster's API says; none where there is no cluster.
    pub directory: Option<Arc<Directory>>,
    /// `[kubernetes] assumeHttp`: what pods serve and call is HTTP, although
    /// nothing says so. What is said to be something else is that.
    pub assume_http: bool,
}

impl Plan {
    /// Whether policies choose.
    #[must_use]
    pub const fn has_policies(&self) -> bool {
        matches!(self.destinations, Destinations::Policies(_))
    }

    /// Whether another plan has the same selectors, meshes and policies: what
    /// is different then are workloads.
    #[must_use]
    pub fn has_rules_of(&self, other: &Self) -> bool {
        let same = match (&self.destinations, &other.destinations) {
            (Destinations::One(one), Destinations::One(other)) => one == other,
            (Destinations::Policies(one), Destinations::Policies(other)) => {
                let (one, other) = (one.engine.resources(), other.engine.resources());
                one.meshes().eq(other.meshes())
                    && one.all_traffic_traces().eq(other.all_traffic_traces())
            }
            _ => false,
        };
        same && self.selection == other.selection && self.assume_http == other.assume_http
    }
}

/// Where spans go.
#[derive(Debug)]
pub enum Destinations {
    /// All to one place: there is no `Mesh`.
    One(Route),
    /// Policies choose for each workload.
    Policies(Policies),
}

impl Default for Destinations {
    fn default() -> Self {
        Self::One(Route::default())
    }
}

/// A way for spans, and what is different on it.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// Where they go.
    pub backend: Backend,
    /// Decides where a request does not.
    pub sampling: Sampling,
    /// Both halves of a hop share one id.
    pub shared_spans: bool,
    /// Width of new trace ids.
    pub width: TraceWidth,
    /// All spans say `debug`.
    pub debug: bool,
}

/// Who decides where a request does not.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub enum Sampling {
    /// [`Plan::sampler`].
    #[default]
    Configured,
    /// The backend of a `Mesh`: this share of the traces.
    Percentage(Percentage),
}

impl Default for Route {
    /// Everything, to [`Backend`] 0, with wide ids that are not shared.
    fn default() -> Self {
        Self {
            backend: Backend::default(),
            sampling: Sampling::Configured,
            shared_spans: false,
            width: TraceWidth::Bits128,
            debug: false,
        }
    }
}

/// Policies with the routes to their backends.
#[derive(Debug)]
pub struct Policies {
    pub(super) engine: Arc<Engine>,
    /// What the policies say about each Dataplane, by its address in memory,
    /// which the engine keeps. They are asked when somebody wants to know: a
    /// node meets few of a cluster's.
    selected: HashMap<usize, Asked, FxBuildHasher>,
    /// The way to each backend, likewise.
    routes: HashMap<usize, Option<Route>, FxBuildHasher>,
    /// This host's addresses, which tell its Dataplanes from those of others
    /// that say `serviceAddress: 127.0.0.1`.
    own: HashSet<IpAddr>,
}

/// A Dataplane, and what policies say about it once they were asked.
type Asked = (Arc<Dataplane>, OnceLock<Arc<Selected>>);

/// What policies say about a workload that a Dataplane names.
#[derive(Debug)]
pub struct Selected {
    /// Its name and its inbounds.
    pub dataplane: Arc<Dataplane>,
    /// The policy's word.
    pub decision: Arc<Decision>,
    /// The way to the policy's backend; none if there is no such backend, or
    /// none that this agent can send to.
    pub route: Option<Route>,
}

impl Policies {
    /// The policies of these resources. `route` gives the way to a backend, if
    /// it is one that can be sent to; `own` are this host's addresses.
    pub fn new(
        engine: Arc<Engine>,
        own: HashSet<IpAddr>,
        mut route: impl FnMut(&Arc<TracingBackend>) -> Option<Route>,
    ) -> Self {
        let dataplanes = engine.resources().all_dataplanes();
        let selected = dataplanes
            .map(|dataplane| {
                let place = address_of(dataplane);
                (place, (Arc::clone(dataplane), OnceLock::new()))
            })
            .collect();
        let meshes = engine.resources().meshes();
        let routes = meshes
            .flat_map(|mesh| &mesh.backends)
            .map(|backend| (address_of(backend), route(backend)))
            .collect();
        Self {
            engine,
            selected,
            routes,
            own,
        }
    }

    /// The policies themselves.
    #[must_use]
    pub const fn engine(&self) -> &Arc<Engine> {
        &self.engine
    }

    /// What they say about a Dataplane of theirs.
    #[must_use]
    pub fn of(&self, dataplane: &Arc<Dataplane>) -> Option<&Arc<Selected>> {
        let (dataplane, selected) = self.selected.get(&address_of(dataplane))?;
        Some(selected.get_or_init(|| self.ask(dataplane)))
    }

    /// What they say about any Dataplane: one of a pod that is gone is not
    /// among theirs.
    #[must_use]
    pub fn select(&self, dataplane: &Arc<Dataplane>) -> Arc<Selected> {
        let of = self.of(dataplane).map(Arc::clone);
        of.unwrap_or_else(|| self.ask(dataplane))
    }

    fn ask(&self, dataplane: &Arc<Dataplane>) -> Arc<Selected> {
        let decision = self.engine.decide(&dataplane.mesh, &dataplane.inbounds);
        let backend = decision.backend.as_ref();
        let route = backend.and_then(|backend| self.routes.get(&address_of(backend))?.clone());
        Arc::new(Selected {
            dataplane: Arc::clone(dataplane),
            decision,
            route,
        })
    }

    /// The Dataplane whose process listens here, and which of its inbounds
    /// that is.
    #[must_use]
    pub fn listening_at(&self, address: SocketAddr) -> Option<(&Arc<Selected>, Option<usize>)> {
        let found = self
            .engine
            .dataplane_at(address, |ip| self.own.contains(&ip))?;
        Some((self.of(&found.dataplane)?, found.inbound))
    }

    /// The Dataplane with this address, if there is only one.
    #[must_use]
    pub fn at(&self, ip: IpAddr) -> Option<&Arc<Selected>> {
        let all = self.engine.dataplanes_of(ip);
        let first = all.first()?;
        let same = |other: &Arc<Dataplane>| Arc::ptr_eq(other, &first.dataplane);
        all.iter()
            .all(|found| same(&found.dataplane))
            .then(|| self.of(&first.dataplane))?
    }
}

fn address_of<T>(shared: &Arc<T>) -> usize {
    Arc::as_ptr(shared) as usize
}
