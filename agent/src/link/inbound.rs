//! The exchanges that the linker holds, and where to find a parent among them.

use hashbrown::{HashMap, HashSet, hash_map::Entry};
use rustc_hash::FxBuildHasher;

use super::{Backend, Decided, Identity};
use crate::identify::WorkloadKey;
use crate::units::{MonoNanos, Side, SpanId};

/// Number of a slot.
pub(super) type Slot = u32;

const NONE: Slot = Slot::MAX;

/// Exchanges of one (workload, T, S) that are remembered at most. Beyond it,
/// the one that started first is forgotten: so many at once have the same
/// ids only because a load generator repeats them, and then any choice of a
/// parent is a guess, which is counted as such.
const GROUP: u16 = 64;

/// Calling workloads that are remembered at most; beyond it they are found
/// anew.
const CALLERS: usize = 65_536;

/// One exchange.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) identity: Identity,
    pub(super) decided: Decided,
    pub(super) side: Side,
    pub(super) start: MonoNanos,
    /// Not known while it is in flight.
    pub(super) end: Option<MonoNanos>,
    /// At a server: the client half is observed (rule 4).
    pub(super) observed: bool,
    /// At a server: its ids are settled, because a span has used them.
    pub(super) resolved: Option<SpanIds>,
    /// Its span is out.
    pub(super) emitted: bool,
    /// At a client: the parent that was known when it began.
    pub(super) pinned: Option<Slot>,
    /// At a client: there was another parent to choose from.
    pub(super) ambiguous: bool,
    /// It shall not be reported after all, and so is no parent.
    pub(super) abandoned: bool,
    /// It is over for too long to be found as a parent.
    past: bool,
    /// How many still need this slot.
    holders: u32,
    /// Whether it is in its group's list.
    linked: bool,
    newer: Slot,
    older: Slot,
}

/// Ids of a span (rules 3 and 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SpanIds {
    pub(super) id: SpanId,
    pub(super) parent: Option<SpanId>,
    pub(super) shared: bool,
}

impl Node {
    #[inline(always)]
    pub(super) fn new(identity: Identity, decided: Decided, side: Side, start: MonoNanos) -> Self {
        Self {
            identity,
            decided,
            side,
            start,
            end: None,
            observed: false,
            resolved: None,
            emitted: false,
            pinned: None,
            ambiguous: false,
            abandoned: false,
            past: false,
            holders: 1,
            linked: false,
            newer: NONE,
            older: NONE,
        }
    }

    /// The server span's ids; from the first call on they stay what they are,
    /// because children refer to them.
    #[inline(always)]
    pub(super) fn server_ids(&mut self) -> SpanIds {
        let ids = || server_ids(&self.identity, &self.decided, self.observed);
        *self.resolved.get_or_insert_with(ids)
    }

    /// One more needs its slot.
    #[inline(always)]
    pub(super) const fn hold(&mut self) {
        self.holders += 1;
    }

    fn key(&self) -> GroupKey {
        GroupKey {
            workload: self.decided.key.0,
            trace: self.identity.trace.low(),
            span: self.identity.carried.map_or(0, SpanId::get),
            backend: self.decided.backend,
        }
    }

    /// Order of the list, the same however the records arrived.
    fn order(&self) -> (MonoNanos, SpanId) {
        (self.start, self.identity.hop)
    }

    /// Whether this server exchange can have caused that client exchange
    /// (rule 3).
    pub(super) fn can_cause(&self, client: &Self, grace: u64) -> bool {
        // Over loopback both halves of a hop can be one workload's; the server
        // half of a call is its effect, not its cause.
        !self.abandoned
            && self.identity.hop != client.identity.hop
            && self.start <= client.start
            && self
                .end
                .is_none_or(|end| MonoNanos(end.0.saturating_add(grace)) >= client.start)
            && self.identity.trace.same_trace(client.identity.trace)
    }
}

/// The ids of a server's span (rule 4), `observed` if its client half is.
#[inline(always)]
pub(super) fn server_ids(identity: &Identity, decided: &Decided, observed: bool) -> SpanIds {
    let Identity {
        carried,
        hop,
        second,
        ..
    } = *identity;
    if !observed {
        SpanIds {
            id: second,
            parent: carried,
            shared: false,
        }
    } else if decided.shared_spans {
        SpanIds {
            id: hop,
            parent: carried,
            shared: true,
        }
    } else {
        SpanIds {
            id: second,
            parent: Some(hop),
            shared: false,
        }
    }
}

/// What exchanges of one application have in common if it only forwarded
/// headers. Of T only the half that every tracer keeps.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct GroupKey {
    workload: u64,
    trace: u64,
    span: u64,
    backend: Backend,
}

#[derive(Clone, Copy, Debug)]
struct Group {
    newest: Slot,
    oldest: Slot,
    len: u16,
}

/// What a search for a parent found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The most recently started.
    pub(super) best: Option<Slot>,
    /// There were several.
    pub(super) ambiguous: bool,
}

/// All held exchanges, with the servers' ones indexed by what their
/// applications forward.
///
/// The hasher is hashbrown's own, which has a seed of its own in each process:
/// the keys are chosen by whoever sends requests.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    nodes: Vec<Option<Node>>,
    free: Vec<Slot>,
    groups: HashMap<GroupKey, Group>,
    /// Workloads that make calls. What only serves needs no index, which is
    /// a third of the linker's work; the first call brings it about.
    callers: HashSet<WorkloadKey, FxBuildHasher>,
    /// Exchanges pushed out of a full group.
    pub(super) crowded_out: u64,
}

impl Exchanges {
    /// How many are held.
    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.nodes.len() - self.free.len()
    }

    /// Takes an exchange with one holder, its flight; `None` if there are no
    /// more numbers.
    #[inline(always)]
    pub(super) fn insert(&mut self, node: Node) -> Option<Slot> {
        if let Some(slot) = self.free.pop() {
            self.nodes[slot as usize] = Some(node);
            return Some(slot);
        }
        let slot = Slot::try_from(self.nodes.len())
            .ok()
            .filter(|slot| *slot != NONE)?;
        self.nodes.push(Some(node));
        Some(slot)
    }

    #[inline(always)]
    pub(super) fn get(&self, slot: Slot) -> Option<&Node> {
        self.nodes.get(slot as usize)?.as_ref()
    }

    #[inline(always)]
    pub(super) fn get_mut(&mut self, slot: Slot) -> Option<&mut Node> {
        self.nodes.get_mut(slot as usize)?.as_mut()
    }

    /// One more needs this slot.
    pub(super) fn hold(&mut self, slot: Slot) {
        if let Some(node) = self.get_mut(slot) {
            node.hold();
        }
    }

    /// One less needs this slot; the last one frees it.
    #[inline(always)]
    pub(super) fn release(&mut self, slot: Slot) {
        let Some(node) = self.get_mut(slot) else {
            return;
        };
        node.holders -= 1;
        if node.holders == 0 {
            if node.linked {
                self.unlink(slot);
            }
            self.nodes[slot as usize] = None;
            self.free.push(slot);
        }
    }

    /// Makes a server's exchange findable, now or as soon as its workload
    /// makes a call.
    #[inline(always)]
    pub(super) fn served(&mut self, slot: Slot) {
        if self.callers.is_empty() {
            return;
        }
        let key = self.get(slot).map(|node| node.decided.key);
        if key.is_some_and(|key| self.callers.contains(&key)) {
            self.link(slot);
        }
    }

    /// Notes that a workload makes calls.
    pub(super) fn calls(&mut self, key: WorkloadKey) {
        if self.callers.contains(&key) {
            return;
        }
        if self.callers.len() >= CALLERS {
            self.callers.clear();
        }
        self.callers.insert(key);
        for slot in 0..self.nodes.len() as Slot {
            let servers = |node: &&Node| {
                node.decided.key == key
                    && node.side == Side::Server
                    && node.identity.forwardable
                    && !node.past
                    && !node.linked
            };
            if self.get(slot).filter(servers).is_some() {
                self.link(slot);
            }
        }
    }

    /// The server exchanges that are in the slots.
    pub(super) fn servers(&self) -> impl Iterator<Item = (Slot, &Node)> {
        let slots = (0..).zip(&self.nodes);
        slots.filter_map(|(slot, node)| {
            let node = node.as_ref()?;
            (node.side == Side::Server).then_some((slot, node))
        })
    }

    fn link(&mut self, slot: Slot) {
        let Some(node) = self.get(slot) else {
            return;
        };
        let order = node.order();
        match self.groups.entry(node.key()) {
            Entry::Vacant(entry) => {
                entry.insert(Group {
                    newest: slot,
                    oldest: slot,
                    len: 1,
                });
                self.place(slot, NONE, NONE);
            }
            Entry::Occupied(mut entry) => {
                let group = entry.get_mut();
                group.len += 1;
                let full = group.len > GROUP;
                let mut newer = NONE;
                let mut older = group.newest;
                while let Some(other) = node_at(&self.nodes, older) {
                    if other.order() <= order {
                        break;
                    }
                    newer = older;
                    older = other.older;
                }
                if newer == NONE {
                    group.newest = slot;
                }
                if older == NONE {
                    group.oldest = slot;
                }
                let oldest = group.oldest;
                self.place(slot, newer, older);
                if full {
                    self.crowded_out += 1;
                    self.unlink(oldest);
                }
            }
        }
    }

    fn place(&mut self, slot: Slot, newer: Slot, older: Slot) {
        if let Some(node) = self.get_mut(newer) {
            node.older = slot;
        }
        if let Some(node) = self.get_mut(older) {
            node.newer = slot;
        }
        if let Some(node) = self.get_mut(slot) {
            node.newer = newer;
            node.older = older;
            node.linked = true;
        }
    }

    /// Makes it unfindable for good.
    pub(super) fn forget(&mut self, slot: Slot) {
        if let Some(node) = self.get_mut(slot) {
            node.past = true;
        }
        self.unlink(slot);
    }

    fn unlink(&mut self, slot: Slot) {
        let Some(node) = self.get_mut(slot).filter(|node| node.linked) else {
            return;
        };
        node.linked = false;
        let (key, newer, older) = (node.key(), node.newer, node.older);
        if let Some(node) = self.get_mut(newer) {
            node.older = older;
        }
        if let Some(node) = self.get_mut(older) {
            node.newer = newer;
        }
        if let Entry::Occupied(mut entry) = self.groups.entry(key) {
            let group = entry.get_mut();
            group.len -= 1;
            if group.newest == slot {
                group.newest = older;
            }
            if group.oldest == slot {
                group.oldest = newer;
            }
            if group.len == 0 {
                entry.remove();
            }
        }
    }

    /// The server exchanges that can have caused this client's (rule 3).
    pub(super) fn parent_of(&self, client: &Node, grace: u64) -> Found {
        let mut found = Found::default();
        let mut slot = self
            .groups
            .get(&client.key())
            .map_or(NONE, |group| group.newest);
        while let Some(node) = self.get(slot) {
            if node.can_cause(client, grace) {
                if found.best.is_some() {
                    found.ambiguous = true;
                    break;
                }
                found.best = Some(slot);
            }
            slot = node.older;
        }
        found
    }

    /// The more recently started of both; ambiguous if they differ.
    pub(super) fn better(&self, one: Found, other: Found) -> Found {
        let best = match (one.best, other.best) {
            (Some(a), Some(b)) if a != b => {
                let order = |slot| self.get(slot).map(Node::order);
                return Found {
                    best: Some(if order(a) >= order(b) { a } else { b }),
                    ambiguous: true,
                };
            }
            (a, b) => a.or(b),
        };
        Found {
            best,
            ambiguous: one.ambiguous || other.ambiguous,
        }
    }

    /// Nothing is held, and nothing can be found.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.len() == 0 && self.groups.is_empty()
    }
}

fn node_at(nodes: &[Option<Node>], slot: Slot) -> Option<&Node> {
    nodes.get(slot as usize)?.as_ref()
}
