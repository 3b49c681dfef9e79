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
mod kept;
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
pub use kept::Kept;
pub use policies::{Notice, Refusal};

use self::bound::LeftOut;
use self::pods::PodEntry;
use self::policies::Policies;
use self::space::Space;
use super::facts::NodeFacts;
use super::intern::Interner;
use super::kind::Kind;
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
