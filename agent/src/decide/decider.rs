//! One exchange after the other.

use std::net::SocketAddr;
use std::sync::Arc;

use super::members::Members;
use super::plan::{Destinations, Plan, Policies, Route, Selected};
use super::pods;
use crate::assemble::Began;
use crate::identify::{Known, Origin, Workload, WorkloadKey, WorkloadKind};
use crate::ledger::NotSelected;
use crate::policy::{self, Dataplane, Outcome, OwnerVerdict, Protocol};
use crate::units::{MonoNanos, Side};

/// Decides by a plan.
#[derive(Debug, Default)]
pub struct Decider {
    plan: Arc<Plan>,
    /// Everything goes one way, whatever it is.
    everything: bool,
    members: Members,
}

/// An exchange that is traced, if its sampler agrees.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Whose it is.
    pub workload: Arc<Workload>,
    /// The way its span goes.
    pub route: Route,
    /// At a server: the peer is a workload whose outgoing calls go to the same
    /// backend (ARCHITECTURE.md, Identity, rule 4).
    pub peer_observed: bool,
    /// What the peer is called, if a cluster says it.
    pub remote: Option<Arc<str>>,
}

impl Chosen {
    /// An exchange where all go one way.
    #[inline(always)]
    fn one(known: &Known, route: &Route) -> Self {
        Self {
            workload: Arc::clone(&known.workload),
            route: route.clone(),
            peer_observed: false,
            remote: None,
        }
    }
}

/// Why an exchange is not traced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotTraced {
    /// The reason in the ledger.
    pub reason: NotSelected,
    /// No exchange of this workload will be traced under this plan, so the
    /// kernel side can leave it alone.
    pub forever: bool,
}

impl NotTraced {
    pub(super) const fn once(reason: NotSelected) -> Self {
        Self {
            reason,
            forever: false,
        }
    }

    pub(super) const fn forever(reason: NotSelected) -> Self {
        Self {
            reason,
            forever: true,
        }
    }
}

/// What policies say about a workload of this node, for `status` and
/// `explain`.
#[derive(Clone, Debug)]
pub struct Standing {
    /// Its service.
    pub service: Arc<str>,
    /// What a Dataplane and its policies say; none if no Dataplane names it.
    pub selected: Option<Arc<Selected>>,
    /// It is a pod that wants to be ignored.
    pub ignored: bool,
}

impl Standing {
    /// Whether the same is true of a workload as before.
    #[must_use]
    pub fn is(&self, before: &Self) -> bool {
        let same = match (&self.selected, &before.selected) {
            (Some(now), Some(before)) => {
                now.dataplane == before.dataplane
                    && now.decision == before.decision
                    && now.route == before.route
            }
            (None, None) => true,
            _ => false,
        };
        same && self.service == before.service && self.ignored == before.ignored
    }
}

impl Decider {
    /// A decider by this plan.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let everything =
            !plan.has_policies() && plan.selection.is_everything() && plan.directory.is_none();
        Self {
            plan,
            everything,
            members: Members::default(),
        }
    }

    /// Decides by another plan from now on.
    pub fn replace(&mut self, plan: Arc<Plan>) {
        let members = std::mem::take(&mut self.members);
        let policies = match &plan.destinations {
            Destinations::Policies(policies) => Some(policies),
            Destinations::One(_) => None,
        };
        let members = members.under(policies);
        *self = Self {
            members,
            ..Self::new(plan)
        };
    }

    /// Whether no exchange of this workload is traced under the plan, as far as
    /// that can be said without looking at one.
    pub fn ignores(&mut self, known: &Known) -> bool {
        let Self { plan, members, .. } = self;
        if let OwnerVerdict::Ignore(_) = plan.selection.owner(known) {
            return known.origin != Origin::Gone;
        }
        let Origin::Pod { pod, .. } = &known.origin else {
            return false;
        };
        let found = match &plan.destinations {
            Destinations::One(_) => pods::member(pod).map(drop),
            Destinations::Policies(policies) => pods::selected(members, policies, known, pod)
                .and_then(|selected| route(&selected).map(drop)),
        };
        found.is_err_and(|not| not.forever)
    }

    /// The plan it decides by.
    #[must_use]
    pub const fn plan(&self) -> &Arc<Plan> {
        &self.plan
    }

    /// Whether somebody should look where this workload listens and
    /// [tell](Self::learn) before it is decided about.
    #[must_use]
    pub fn asks(&self, known: &Known, now: MonoNanos) -> bool {
        self.plan.has_policies() && self.members.asks(known, now)
    }

    /// Takes where a workload listens.
    pub fn learn(&mut self, key: WorkloadKey, listens: &[SocketAddr], now: MonoNanos) {
        if let Destinations::Policies(policies) = &self.plan.destinations {
            self.members.learn(policies, key, listens, now);
        }
    }

    /// What is known of a workload.
    pub fn standing(&mut self, known: &Known, now: MonoNanos) -> Standing {
        let selected = match &self.plan.destinations {
            Destinations::One(_) => None,
            Destinations::Policies(policies) => match &known.origin {
                Origin::Pod { pod, .. } => {
                    pods::selected(&mut self.members, policies, known, pod).ok()
                }
                _ => self.members.any(policies, known, now),
            },
        };
        let workload = match &selected {
            Some(selected) => name(&mut self.members, known, selected),
            None => Arc::clone(&known.workload),
        };
        Standing {
            service: Arc::clone(&workload.service),
            selected,
            ignored: match &known.origin {
                Origin::Pod { pod, .. } => pods::member(pod).is_err(),
                _ => false,
            },
        }
    }

    /// Decides about an exchange that began; `target` is the request's, if
    /// paths decide anything.
    ///
    /// # Errors
    /// It is not traced, and why.
    #[inline(always)]
    pub fn choose(
        &mut self,
        known: &Known,
        began: &Began,
        target: &[u8],
    ) -> Result<Chosen, NotTraced> {
        if self.everything
            && let Destinations::One(route) = &self.plan.destinations
        {
            return Ok(Chosen::one(known, route));
        }
        self.choose_some(known, began, target)
    }

    /// The same where not everything is traced.
    #[inline(never)]
    fn choose_some(
        &mut self,
        known: &Known,
        began: &Began,
        target: &[u8],
    ) -> Result<Chosen, NotTraced> {
        let Self { plan, members, .. } = self;
        let selection = &plan.selection;
        if let OwnerVerdict::Ignore(reason) = selection.owner(known) {
            let reason = in_ledger(reason);
            return Err(match known.origin {
                // Who is named too late once may be named the next time.
                Origin::Gone => NotTraced::once(reason),
                _ => NotTraced::forever(reason),
            });
        }
        if let Origin::Pod { pod, .. } = &known.origin {
            pods::member(pod)?;
        }
        let mut chosen = match &plan.destinations {
            Destinations::One(route) => Chosen {
                // Other nodes' agents have the same selectors, but not these
                // pods: of a pod by its name it is not known whether they do.
                peer_observed: began.side == Side::Server
                    && selection.names_nothing()
                    && plan
                        .directory
                        .as_ref()
                        .is_some_and(|all| pods::is_pod(all, known, began)),
                ..Chosen::one(known, route)
            },
            Destinations::Policies(policies) => match &known.origin {
                Origin::Pod { pod, .. } => {
                    let (selected, peer_observed) =
                        pods::of_pod(members, plan, policies, (known, pod), began)?;
                    Chosen {
                        workload: name(members, known, &selected),
                        route: route(&selected)?.clone(),
                        peer_observed,
                        remote: None,
                    }
                }
                _ => by_policy(members, policies, known, began)?,
            },
        };
        let narrowed = selection
            .began(known, began)
            .and_then(|()| selection.target(target));
        if let (Some(directory), Some(peer)) = (&plan.directory, began.peer) {
            chosen.remote = directory.name((peer.ip, peer.port).into());
        }
        match narrowed {
            Ok(()) => Ok(chosen),
            Err(reason) => Err(NotTraced::once(in_ledger(reason))),
        }
    }
}

fn by_policy(
    members: &mut Members,
    policies: &Policies,
    known: &Known,
    began: &Began,
) -> Result<Chosen, NotTraced> {
    let found = match began.side {
        Side::Server => members.server(policies, known, began.local, began.start),
        Side::Client => {
            let found = members.any(policies, known, began.start);
            found.map(|selected| (selected, None))
        }
    };
    // It may begin to listen where a Dataplane says.
    let (selected, inbound) = found.ok_or(NotTraced::once(NotSelected::NoDataplane))?;
    let route = route(&selected).map_err(|not| NotTraced {
        forever: not.forever && !members.has_several(known.key),
        ..not
    })?;
    let protocol = match began.side {
        Side::Server => inbound
            .or_else(|| listener(&selected.dataplane, began.local?.port))
            .and_then(|n| selected.dataplane.inbounds.get(n))
            .map(|inbound| inbound.protocol)
            .ok_or(NotTraced::once(NotSelected::NoInbound))?,
        Side::Client => destination(policies, &selected, began)
            .ok_or(NotTraced::once(NotSelected::UnknownDestination))?,
    };
    if !protocol.is_traced() {
        return Err(NotTraced::once(NotSelected::NotHttp));
    }
    let peer_observed =
        began.side == Side::Server && peer_is_observed(policies, &selected, route, began);
    Ok(Chosen {
        workload: name(members, known, &selected),
        route: route.clone(),
        peer_observed,
        remote: None,
    })
}

/// The way that a workload's spans go.
pub(super) fn route(selected: &Selected) -> Result<&Route, NotTraced> {
    selected.route.as_ref().ok_or_else(|| {
        NotTraced::forever(match selected.decision.outcome {
            Outcome::NoMesh | Outcome::NoPolicy => NotSelected::NoPolicy,
            Outcome::UnknownBackend { .. } | Outcome::NoBackend => NotSelected::UnknownBackend,
            Outcome::Selected | Outcome::OutgoingOnly => NotSelected::UnsupportedBackend,
        })
    })
}

/// What a Dataplane calls a workload, unless the configuration names all.
fn name(members: &mut Members, known: &Known, selected: &Selected) -> Arc<Workload> {
    if known.workload.kind == WorkloadKind::Configured {
        return Arc::clone(&known.workload);
    }
    members.named(known, selected)
}

/// The inbound whose process listens at this port, whatever the address: one
/// that listens on all of them is reached by others than the Dataplane says.
fn listener(dataplane: &Dataplane, port: u16) -> Option<usize> {
    let mut listeners = dataplane.listeners.iter();
    listeners.position(|listener| listener.service_port == port)
}

/// The protocol of the service that a request goes to
/// (`outbound_proxy_generator.go`: of an outgoing call the destination's
/// decides).
pub(super) fn destination(
    policies: &Policies,
    caller: &Selected,
    began: &Began,
) -> Option<Protocol> {
    let peer = began.peer?;
    let engine = policies.engine();
    let mesh = &caller.dataplane.mesh;
    let outbound = caller
        .dataplane
        .outbounds
        .iter()
        .find(|outbound| (outbound.address, outbound.port) == (peer.ip, peer.port));
    if let Some(service) = outbound.and_then(|outbound| outbound.service.as_ref()) {
        return Some(engine.service_protocol(mesh, service));
    }
    let endpoints = engine.endpoints_at((peer.ip, peer.port).into());
    endpoints
        .iter()
        .filter(|endpoint| endpoint.dataplane.mesh == *mesh)
        .find_map(|endpoint| {
            let service = endpoint.inbound()?.tags.service()?;
            Some(engine.service_protocol(mesh, service))
        })
}

/// Whether the caller's half of a request is reported to the same backend.
fn peer_is_observed(policies: &Policies, server: &Selected, route: &Route, began: &Began) -> bool {
    let Some(caller) = began.peer.and_then(|peer| policies.at(peer.ip)) else {
        return false;
    };
    caller.dataplane.mesh == server.dataplane.mesh
        && caller
            .route
            .as_ref()
            .is_some_and(|of| of.backend == route.backend)
}

/// The ledger's name for a reason.
fn in_ledger(reason: policy::NotSelected) -> NotSelected {
    match reason {
        policy::NotSelected::NotIncluded | policy::NotSelected::Excluded => {
            NotSelected::ExcludedWorkload
        }
        policy::NotSelected::Port => NotSelected::ExcludedPort,
        policy::NotSelected::Path => NotSelected::ExcludedPath,
        policy::NotSelected::Headerless => NotSelected::Headerless,
    }
}
