//! How much of a cluster is kept.
//!
//! Of each kind at most so many objects, so that a cluster that is larger than
//! anybody expected, or an API that has gone mad, does not take the node's
//! memory. What is known stays; of what comes then, only what the pods of this
//! node need is taken in: themselves, their node, and Services, slices and
//! namespace of where they are; that at most as often again. The rest is left
//! out, and counted. It is there again when the kind is listed anew and there is
//! room; a watch alone does not tell of what it has told before.

use std::hash::BuildHasher as _;

use hashbrown::HashMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use rustc_hash::FxBuildHasher;

use super::{Cluster, Kept, Round};
use crate::kubernetes::facts::SliceFacts;
use crate::kubernetes::kind::Kind;

/// Objects of a kind that are kept, unless the configuration says otherwise.
/// Kubernetes itself is made for up to 150,000 pods, and few clusters have a
/// tenth of that.
pub const MOST_OBJECTS: usize = 100_000;

/// Kinds of which pods need those of their namespace.
const NEEDED: [Kind; 3] = [Kind::Service, Kind::EndpointSlice, Kind::Namespace];

/// Objects of a kind that the API has and the cluster has not.
#[derive(Debug, Default)]
pub(super) struct LeftOut {
    /// A hash of each, so that none is counted twice, and of the namespace whose
    /// pods may need it. At most as many as are kept.
    known: HashMap<u64, (Option<u64>, Round), FxBuildHasher>,
    /// This node's pods would need some of them.
    is_needed: bool,
    /// The last list was short of room for what had yet to go then, and the one
    /// before it was not.
    has_room: bool,
}

impl Cluster {
    /// How many objects of a kind the API has told of that are not kept, for
    /// there are too many; as far as can be counted, which is up to
    /// [`Options::most`](super::Options::most).
    #[must_use]
    pub fn left_out(&self, kind: Kind) -> usize {
        self.left(kind).map_or(0, |left| left.known.len())
    }

    /// Objects of a kind that are kept at most.
    #[must_use]
    pub const fn most(&self) -> usize {
        self.options.most
    }

    /// Whether a kind should be listed anew, because there is something to gain:
    /// this node's pods need what was left out, or, if it `is_due`, there is
    /// room for it again.
    #[must_use]
    pub fn should_list(&self, kind: Kind, is_due: bool) -> bool {
        self.left_out(kind) > 0
            && (self.left_out_is_needed(kind) || is_due && self.has_room_for_left_out(kind))
    }

    /// Whether a kind should be listed anew at once: in the list that has just
    /// come there was no room for objects because of those that were known and
    /// turned out to be gone. Never after two lists in a row.
    #[must_use]
    pub fn should_list_at_once(&self, kind: Kind) -> bool {
        self.left(kind).is_some_and(|left| left.has_room)
    }

    /// Whether there is room for all that was left out of a kind, or for enough of
    /// it to be worth a list.
    fn has_room_for_left_out(&self, kind: Kind) -> bool {
        let used = match kind {
            Kind::EndpointSlice => self.count(kind).max(self.endpoints.len()),
            _ => self.count(kind),
        };
        let room = self.options.most.saturating_sub(used);
        let wanted = self.left_out(kind).min(self.options.most / 10).max(1);
        room >= wanted
    }

    /// Whether an object may be kept; it is noted if not.
    pub(super) fn admit<K: Kept>(&mut self, object: &K, round: Round) -> bool {
        let (count, most) = (self.count(K::KIND), self.options.most);
        let has_room = count < most
            || object.is_known(self)
            || count < most.saturating_mul(2) && object.is_near(self);
        if has_room {
            self.release_place(object);
        } else {
            let (_, namespace) = identity(object.meta());
            let is_needed = NEEDED.contains(&K::KIND);
            self.leave_out(object, is_needed.then_some(namespace), round);
        }
        has_room
    }

    /// Whether there is room for the addresses of a slice that are no pods'.
    pub(super) fn admit_addresses(&self, slice: &SliceFacts) -> bool {
        let new = slice.addresses();
        let new = new.filter(|at| !self.endpoints.contains_key(at)).count();
        let space = self.spaces.get(&slice.namespace);
        let more = usize::from(space.is_some_and(super::Space::is_near)) + 1;
        let most = self.options.most.saturating_mul(more);
        new == 0 || self.endpoints.len().saturating_add(new) <= most
    }

    /// Notes that an object is not kept, or not all of it; and whose pods would
    /// have it kept if they were of this node.
    pub(super) fn leave_out<K: Kept>(&mut self, object: &K, namespace: Option<u64>, round: Round) {
        let (id, _) = identity(object.meta());
        let most = self.options.most;
        if let Some(left) = self.left_out.get_mut(K::KIND.index())
            && (left.known.len() < most || left.known.contains_key(&id))
        {
            left.known.insert(id, (namespace, round));
        }
    }

    /// Notes that an object is gone, or kept.
    pub(super) fn release_place<K: Kept>(&mut self, object: &K) {
        if let Some(left) = self.left_out.get_mut(K::KIND.index())
            && !left.known.is_empty()
        {
            left.known.remove(&identity(object.meta()).0);
        }
    }

    /// A list is complete: what was not left out of it is not left out.
    pub(super) fn release_places(&mut self, kind: Kind, round: Round) {
        if let Some(left) = self.left_out.get_mut(kind.index()) {
            left.known.retain(|_, (_, at)| *at == round);
            left.known.shrink_to_fit();
        }
        let has_room = self.left_out(kind) > 0 && self.has_room_for_left_out(kind);
        if let Some(left) = self.left_out.get_mut(kind.index()) {
            left.has_room = has_room && !left.has_room;
        }
        if self.left_out(kind) > 0 {
            let spaces = self.spaces.iter().filter(|(_, space)| space.is_near());
            let near: Vec<_> = spaces.map(|(name, _)| hash(name)).collect();
            self.note_needed(kind, &near);
        } else if let Some(left) = self.left_out.get_mut(kind.index()) {
            left.is_needed = false;
        }
    }

    /// A namespace has its first pod of this node.
    pub(super) fn draw_near(&mut self, namespace: &str) {
        for kind in NEEDED {
            if self.left_out(kind) > 0 && !self.left_out_is_needed(kind) {
                self.note_needed(kind, &[hash(namespace)]);
            }
        }
    }

    /// Notes whether of what was left out something is needed that would be kept.
    fn note_needed(&mut self, kind: Kind, near: &[u64]) {
        let has_room = self.count(kind) < self.options.most.saturating_mul(2);
        if let Some(left) = self.left_out.get_mut(kind.index()) {
            let mut namespaces = left.known.values().filter_map(|(namespace, _)| *namespace);
            left.is_needed = has_room && namespaces.any(|of| near.contains(&of));
        }
    }

    fn left_out_is_needed(&self, kind: Kind) -> bool {
        self.left(kind).is_some_and(|left| left.is_needed)
    }

    fn left(&self, kind: Kind) -> Option<&LeftOut> {
        self.left_out.get(kind.index())
    }
}

/// Of an object, and of the namespace that it is in or that it is.
fn identity(metadata: &ObjectMeta) -> (u64, u64) {
    let name = metadata.name.as_deref().unwrap_or_default();
    let namespace = metadata.namespace.as_deref();
    // A pod that is made anew under its name is another.
    let id = FxBuildHasher.hash_one((namespace, name, metadata.uid.as_deref()));
    (id, hash(namespace.unwrap_or(name)))
}

fn hash(namespace: &str) -> u64 {
    FxBuildHasher.hash_one(namespace)
}
