//! The cluster as the API tells it, and what follows for this node. Pure.
//!
//! [`Cluster::apply`] takes what watches bring, in the order of each kind;
//! kinds come in any order to each other. [`Cluster::generation`] makes what
//! the agent works with. It derives anew what has changed and what depends on
//! that, and is the same as if everything were derived from scratch.
//!
//! While a kind is listed again, what was known stays; what the list did not
//! have goes when it is complete. Nothing flaps in between.

mod bound;
mod endpoints;
mod peers;
mod pods;
mod policies;
mod services;
mod space;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

pub use bound::MOST_OBJECTS;
pub use policies::{Notice, Refusal};

use self::bound::LeftOut;
use self::pods::PodEntry;
use self::policies::Policies;
use self::space::Space;
use super::facts::{self, NamespaceFacts, NodeFacts, PodFacts, ServiceFacts, SliceFacts};
use super::intern::Interner;
use super::kind::Kind;
use super::objects::{self, Watched};
use crate::identify::Directory;
use crate::policy::Resources;

/// What a watch of a kind brings.
#[derive(Clone, Debug)]
pub enum Event<K> {
    /// A list begins. What is known stays until it is complete.
    Init,
    /// An object of the list.
    InitApply(K),
    /// The list is complete: what was not in it is gone.
    InitDone,
    /// An object is new, or another than it was.
    Apply(K),
    /// An object is gone.
    Delete(K),
}

/// What does not come from the API.
#[derive(Clone, Debug)]
pub struct Options {
    /// The node of this agent: its pods' containers are kept.
    pub node: Option<Arc<str>>,
    /// The value of `kuma.io/zone`.
    pub zone: Option<Arc<str>>,
    /// Objects of each kind that are kept at most. As many again are kept
    /// beyond it if this node's pods need them.
    pub most: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            node: None,
            zone: None,
            most: MOST_OBJECTS,
        }
    }
}

/// The state of a cluster, as far as this agent needs it.
#[derive(Debug, Default)]
pub struct Cluster {
    options: Options,
    intern: Interner,
    kinds: [KindState; Kind::ALL.len()],
    left_out: [LeftOut; Kind::ALL.len()],
    /// By `metadata.uid`.
    pods: HashMap<Arc<str>, PodEntry>,
    /// By name; also those of which only what is in them is known.
    spaces: HashMap<Arc<str>, Space>,
    /// How much is in them.
    in_spaces: InSpaces,
    nodes: HashMap<Arc<str>, (Round, NodeFacts)>,
    policies: Policies,
    /// Pods to derive anew, by UID.
    dirty: HashSet<Arc<str>>,
    /// Pods of this node that went before any generation had them, by UID.
    leaving: HashSet<Arc<str>>,
    /// Addresses that several pods or nodes have, or had at one time.
    contested: HashSet<IpAddr>,
    /// The same for Services.
    contested_services: HashSet<SocketAddr>,
    /// Addresses that slices name without a pod.
    endpoints: HashMap<SocketAddr, Vec<endpoints::Claim>>,
    directory: Arc<Directory>,
}

/// Which complete list a thing was in last.
type Round = u32;

#[derive(Clone, Copy, Debug, Default)]
struct InSpaces {
    namespaces: usize,
    services: usize,
    slices: usize,
}

#[derive(Clone, Copy, Debug, Default)]
struct KindState {
    round: Round,
    /// A complete list has come.
    is_synced: bool,
    /// Why there is no list of it.
    missing: Option<Missing>,
}

/// Why the API lists nothing of a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// There is no such kind.
    Absent,
    /// It will not tell: there may be objects of it.
    Forbidden,
}

/// What is known at one time.
#[derive(Clone, Debug, Default)]
pub struct Generation {
    /// Pods, nodes and Services. Empty and not `synced` until all kinds have
    /// been listed or refused: a pod whose Services are not known would have
    /// the wrong tags.
    pub directory: Arc<Directory>,
    /// Meshes and policies; None if the cluster has neither kind.
    pub resources: Option<Arc<Resources>>,
    /// There may be meshes or policies that the API does not tell of. Then what
    /// they want is not known, least of all that everything be traced.
    pub withheld: bool,
}

impl Cluster {
    /// Of which nothing is known yet.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// Takes what a watch of a kind has brought.
    pub fn apply<K: Kept>(&mut self, event: Event<K>) {
        match event {
            Event::Init => {
                let state = self.kind_mut(K::KIND);
                state.round = state.round.wrapping_add(1);
            }
            Event::InitApply(object) | Event::Apply(object) => {
                let round = self.kind(K::KIND).round;
                if self.admit(&object, round) {
                    object.keep(self, round);
                } else {
                    object.forget(self);
                }
            }
            Event::Delete(object) => {
                self.release_place(&object);
                object.forget(self);
            }
            Event::InitDone => {
                let state = self.kind_mut(K::KIND);
                state.is_synced = true;
                state.missing = None;
                let round = state.round;
                K::forget_others(self, round);
                self.release_places(K::KIND, round);
                self.intern.sweep();
            }
        }
    }

    /// The API will not list a kind, or does not have it. What was known of it
    /// stays.
    pub fn refuse(&mut self, kind: Kind, why: Missing) {
        self.kind_mut(kind).missing = Some(why);
    }

    /// The API no longer has a kind, and so none of its objects.
    pub fn withdraw<K: Kept>(&mut self) {
        self.apply(Event::<K>::Init);
        self.apply(Event::<K>::InitDone);
        let state = self.kind_mut(K::KIND);
        state.is_synced = false;
        state.missing = Some(Missing::Absent);
    }

    /// Whether a complete list of a kind has come.
    #[must_use]
    pub fn is_synced(&self, kind: Kind) -> bool {
        self.kind(kind).is_synced
    }

    /// Whether every kind has been listed or refused, and pods have been
    /// listed.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let settled = |state: &KindState| state.is_synced || state.missing.is_some();
        self.kinds.iter().all(settled) && self.kind(Kind::Pod).is_synced
    }

    /// What this node is called, if everything is known and no node has that
    /// name. Then none of its pods' containers are known either.
    #[must_use]
    pub fn unknown_node(&self) -> Option<Arc<str>> {
        let name = self.options.node.as_ref()?;
        let is_known = !self.is_settled() || self.nodes.contains_key(name);
        (!is_known && self.is_synced(Kind::Node)).then(|| Arc::clone(name))
    }

    /// What is known now.
    pub fn generation(&mut self) -> Generation {
        if !self.is_settled() {
            return Generation::default();
        }
        self.derive();
        if !self.directory.synced {
            Arc::make_mut(&mut self.directory).synced = true;
        }
        let of_kuma = [Kind::Mesh, Kind::TrafficTrace].map(|kind| self.kind(kind));
        // What has been listed stays known when it is forbidden later.
        let is_withheld =
            |kind: &KindState| !kind.is_synced && kind.missing == Some(Missing::Forbidden);
        let withheld = of_kuma.iter().any(is_withheld);
        let has_policies = withheld || of_kuma.iter().any(|kind| kind.is_synced);
        let generation = Generation {
            directory: Arc::clone(&self.directory),
            resources: has_policies.then(|| self.policies.resources()),
            withheld,
        };
        for uid in std::mem::take(&mut self.leaving) {
            self.forget_pod(&uid);
        }
        generation
    }

    /// Pods that are gone and have yet to be in a generation: the next one has
    /// them, the one after it has not.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.leaving.len()
    }

    /// How many objects of a kind are known.
    #[must_use]
    pub fn count(&self, kind: Kind) -> usize {
        match kind {
            Kind::Pod => self.pods.len(),
            Kind::Service => self.in_spaces.services,
            Kind::EndpointSlice => self.in_spaces.slices,
            Kind::Namespace => self.in_spaces.namespaces,
            Kind::Node => self.nodes.len(),
            Kind::Mesh | Kind::TrafficTrace => self.policies.count(kind),
        }
    }

    /// Meshes and policies of the API that are invalid, and why.
    pub fn refusals(&self) -> impl Iterator<Item = Refusal<'_>> {
        self.policies.refusals()
    }

    /// The meshes and policies that are in force, each as JSON.
    #[must_use]
    pub fn said(&self) -> Vec<Arc<str>> {
        self.policies.said()
    }

    /// What a person should hear about policies. `all` are those of the
    /// cluster and whatever else the agent has.
    #[must_use]
    pub fn notices(&self, all: &Resources) -> Vec<Notice> {
        self.policies.notices(all)
    }

    fn kind(&self, kind: Kind) -> KindState {
        self.kinds.get(kind.index()).copied().unwrap_or_default()
    }

    #[expect(clippy::indexing_slicing, reason = "there is one for each kind")]
    fn kind_mut(&mut self, kind: Kind) -> &mut KindState {
        &mut self.kinds[kind.index()]
    }

    fn space(&mut self, name: &Arc<str>) -> &mut Space {
        self.spaces.entry(Arc::clone(name)).or_default()
    }

    fn space_of(&self, metadata: &ObjectMeta) -> Option<&Space> {
        self.spaces.get(metadata.namespace.as_deref()?)
    }

    /// Whether this node is called so.
    fn is_here(&self, node: Option<&str>) -> bool {
        node.is_some() && node == self.options.node.as_deref()
    }
}

/// A kind that a cluster keeps.
pub trait Kept: Watched {
    /// Whether the cluster has one of its name, or of its UID if that is what
    /// it is known by.
    fn is_known(&self, cluster: &Cluster) -> bool;
    /// Whether it is of this node, or of a namespace that has pods of it.
    fn is_near(&self, cluster: &Cluster) -> bool;
    /// Adds it, or what has changed of it.
    fn keep(self, cluster: &mut Cluster, round: Round);
    /// It is gone.
    fn forget(self, cluster: &mut Cluster);
    /// Whatever has not come in this round is gone.
    fn forget_others(cluster: &mut Cluster, round: Round);
}

impl Kept for objects::Pod {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let uid = self.metadata.uid.as_deref();
        uid.is_some_and(|uid| cluster.pods.contains_key(uid))
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        cluster.is_here(self.spec.node_name.as_deref())
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        let node = cluster.options.node.clone();
        if let Some(facts) = PodFacts::new(&self, node.as_deref(), &mut cluster.intern) {
            cluster.keep_pod(facts, round);
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let Some(uid) = self.metadata.uid {
            cluster.let_go(&uid);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let gone = cluster.pods.iter().filter(|(_, pod)| pod.round != round);
        let gone: Vec<_> = gone.map(|(uid, _)| Arc::clone(uid)).collect();
        for uid in gone {
            cluster.let_go(&uid);
        }
    }
}

impl Kept for objects::Service {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(|space| space.services().contains_key(name))
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(Space::is_near)
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        if let Some(facts) = ServiceFacts::new(&self, &mut cluster.intern) {
            cluster.keep_service(facts, round);
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let (Some(namespace), Some(name)) = (self.metadata.namespace, self.metadata.name) {
            cluster.forget_service(&namespace, &name);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let mut gone = Vec::new();
        for (namespace, space) in &cluster.spaces {
            let others = space.services().iter().filter(|(_, (at, _))| *at != round);
            gone.extend(others.map(|(name, _)| (Arc::clone(namespace), Arc::clone(name))));
        }
        for (namespace, name) in gone {
            cluster.forget_service(&namespace, &name);
        }
    }
}

impl Kept for objects::EndpointSlice {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let Some(service) = facts::service_of(self) else {
            // There is nothing to keep.
            return true;
        };
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(|space| space.has_slice(service, name))
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(Space::is_near)
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        match SliceFacts::new(&self, &mut cluster.intern) {
            Some(mut facts) => {
                if !cluster.admit_addresses(&facts) {
                    cluster.leave_out(&self, None, round);
                    facts.forget_addresses();
                }
                cluster.keep_slice(facts, round);
            }
            // It is no longer of a Service.
            None => self.forget(cluster),
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let (Some(namespace), Some(name)) = (self.metadata.namespace, self.metadata.name) {
            cluster.forget_slice(&namespace, &name);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let mut gone = Vec::new();
        for (namespace, space) in &cluster.spaces {
            gone.extend(
                space
                    .slices_not_of(round)
                    .map(|name| (Arc::clone(namespace), name)),
            );
        }
        for (namespace, name) in gone {
            cluster.forget_slice(&namespace, &name);
        }
    }
}

impl Kept for objects::Namespace {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let space = cluster.spaces.get(name);
        space.is_some_and(|space| space.facts.is_some())
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        cluster.spaces.get(name).is_some_and(Space::is_near)
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        let facts = NamespaceFacts::new(&self, &mut cluster.intern);
        if let Some(name) = self.metadata.name {
            let name = cluster.intern.text(&name);
            cluster.set_namespace(&name, Some((round, facts)));
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let Some(name) = self.metadata.name {
            cluster.set_namespace(&Arc::from(name), None);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let other = |space: &Space| space.facts.as_ref().is_some_and(|(at, _)| *at != round);
        let gone = cluster.spaces.iter().filter(|(_, space)| other(space));
        let gone: Vec<_> = gone.map(|(name, _)| Arc::clone(name)).collect();
        for name in gone {
            cluster.set_namespace(&name, None);
        }
    }
}

impl Kept for objects::Node {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        cluster.nodes.contains_key(name)
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        cluster.is_here(self.metadata.name.as_deref())
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        if let Some(facts) = NodeFacts::new(&self, &mut cluster.intern) {
            cluster.keep_node(facts, round);
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let Some(name) = self.metadata.name {
            cluster.forget_node(&name);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let gone = cluster.nodes.iter().filter(|(_, (at, _))| *at != round);
        let gone: Vec<_> = gone.map(|(name, _)| Arc::clone(name)).collect();
        for name in gone {
            cluster.forget_node(&name);
        }
    }
}

macro_rules! policy {
    ($($kind:ident)*) => {$(
        impl Kept for objects::$kind {
            fn is_known(&self, cluster: &Cluster) -> bool {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                cluster.policies.has(Kind::$kind, name)
            }

            fn is_near(&self, _: &Cluster) -> bool {
                false
            }

            fn keep(self, cluster: &mut Cluster, round: Round) {
                cluster.policies.keep(Kind::$kind, &self.metadata, &self.object, round);
            }

            fn forget(self, cluster: &mut Cluster) {
                if let Some(name) = self.metadata.name {
                    cluster.policies.forget(Kind::$kind, &name);
                }
            }

            fn forget_others(cluster: &mut Cluster, round: Round) {
                cluster.policies.forget_others(Kind::$kind, round);
            }
        }
    )*};
}

policy! { Mesh TrafficTrace }
