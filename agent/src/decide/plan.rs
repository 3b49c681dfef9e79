//! What is traced, and to where: one generation of it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use crate::export::NameLimit;
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
}

impl Plan {
    /// Whether policies choose.
    #[must_use]
    pub const fn has_policies(&self) -> bool {
        matches!(self.destinations, Destinations::Policies(_))
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
    /// which the engine keeps.
    selected: HashMap<usize, Arc<Selected>, FxBuildHasher>,
    /// This host's addresses, which tell its Dataplanes from those of others
    /// that say `serviceAddress: 127.0.0.1`.
    own: HashSet<IpAddr>,
}

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
    /// Asks the policies about every Dataplane. `route` gives the way to a
    /// backend, if it is one that can be sent to; `own` are this host's
    /// addresses.
    pub fn new(
        engine: Arc<Engine>,
        own: HashSet<IpAddr>,
        mut route: impl FnMut(&Arc<TracingBackend>) -> Option<Route>,
    ) -> Self {
        let dataplanes = engine.resources().all_dataplanes();
        let selected = dataplanes
            .map(|dataplane| {
                let decision = engine.decide(&dataplane.mesh, &dataplane.inbounds);
                let route = decision.backend.as_ref().and_then(&mut route);
                let selected = Selected {
                    dataplane: Arc::clone(dataplane),
                    decision,
                    route,
                };
                (address_of(dataplane), Arc::new(selected))
            })
            .collect();
        Self {
            engine,
            selected,
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
        self.selected.get(&address_of(dataplane))
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

fn address_of(dataplane: &Arc<Dataplane>) -> usize {
    Arc::as_ptr(dataplane) as usize
}
