//! Finds the other half and the parent of every exchange.

use std::collections::VecDeque;

use hashbrown::{HashMap, hash_map::Entry};

use super::alone::linked;
use super::flights::Flights;
use super::inbound::{Exchanges, Found, Node, Slot, SpanIds};
use super::{Backend, ClockOffset, Decided, Identity, Linked};
use crate::assemble::{Began, Exchange};
use crate::units::{MonoNanos, Side, SpanId};

/// How long things are waited for, in nanoseconds of record time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// A finished exchange waits this long for records that are on their way,
    /// at least: longer, up to [`Self::grace`], while they are long on their way.
    /// A send is reported when it returns; a task that is preempted inside it
    /// may be late by more than the whole answer takes.
    pub settle: u64,
    /// A server exchange stays a parent this long after its end (rule 3).
    pub grace: u64,
    /// A client exchange waits this long after its end for a server that has
    /// not read the request yet.
    pub unclaimed: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            settle: 100_000_000,
            grace: 1_000_000_000,
            unclaimed: 10_000_000_000,
        }
    }
}

/// Records are waited for so many times as long as the latest was late.
const LATER: u64 = 4;
/// In this time the lateness that is reckoned with becomes half of itself.
const LATE_FOR: u64 = 5_000_000_000;

/// How much is held at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Exchanges: in flight, settling, or a possible parent.
    pub exchanges: usize,
    /// Client exchanges that are over and whose server was not seen. Most are
    /// calls to other nodes.
    pub unclaimed: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            exchanges: 65_536,
            unclaimed: 65_536,
        }
    }
}

/// Counts of what was not ideal. None of them loses a span but `refused`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Client spans with several possible parents.
    pub ambiguous: u64,
    /// Client halves that came when their server span's ids were settled.
    pub late_halves: u64,
    /// Exchanges that found no room, see [`Full`].
    pub refused: u64,
    /// Possible parents forgotten early, for room.
    pub forgotten: u64,
    /// Unclaimed client exchanges forgotten early, for room.
    pub unclaimed_forgotten: u64,
    /// Possible parents forgotten because too many had the same ids.
    pub crowded_out: u64,
}

/// There is no room: the exchange yields no span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the linker holds {held} exchanges, its limit")]
pub struct Full {
    /// How many it holds.
    pub held: usize,
}

/// Finished exchanges in, spans out.
#[derive(Debug)]
pub struct Linker {
    timing: Timing,
    limits: Limits,
    offset: ClockOffset,
    clock: MonoNanos,
    exchanges: Exchanges,
    /// Exchanges that are not over, by serial number.
    flights: Flights,
    /// Halves whose other half was not seen yet, by hop. Servers are noted
    /// from the first client on: a capture of servers has none.
    halves: HashMap<SpanId, Half>,
    clients: bool,
    settling: VecDeque<Settling>,
    /// Servers' exchanges that are over, until they are no parents any more.
    departed: VecDeque<(MonoNanos, Slot)>,
    unclaimed: VecDeque<(MonoNanos, SpanId)>,
    counters: Counters,
    /// How late the latest record of a client half came, and when. It counts
    /// less with time.
    late: u64,
    late_at: MonoNanos,
}

/// The half of a hop that was seen first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Half {
    Client(Backend),
    Server(Slot),
}

#[derive(Debug)]
struct Settling {
    finished: MonoNanos,
    slot: Slot,
    exchange: Box<Exchange>,
}

impl Linker {
    /// A linker that holds nothing.
    #[must_use]
    pub fn new(timing: Timing, limits: Limits, offset: ClockOffset) -> Self {
        Self {
            timing,
            limits,
            offset,
            clock: MonoNanos::default(),
            exchanges: Exchanges::default(),
            flights: Flights::default(),
            halves: HashMap::default(),
            clients: false,
            settling: VecDeque::new(),
            departed: VecDeque::new(),
            unclaimed: VecDeque::new(),
            counters: Counters::default(),
            late: 0,
            late_at: MonoNanos::default(),
        }
    }

    /// Sets the calendar anew; it counts for spans from now on.
    pub const fn set_clock(&mut self, offset: ClockOffset) {
        self.offset = offset;
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        Counters {
            crowded_out: self.exchanges.crowded_out,
            ..self.counters
        }
    }

    /// How many exchanges are held.
    #[must_use]
    pub fn held(&self) -> usize {
        self.exchanges.len()
    }

    /// Takes an exchange that will be reported.
    ///
    /// # Errors
    /// There is no room. The exchange is as one that was never selected:
    /// [`Self::finished`] will hand it back.
    #[inline]
    pub fn began(
        &mut self,
        began: &Began,
        identity: Identity,
        decided: Decided,
    ) -> Result<(), Full> {
        self.tick(began.start);
        self.make_room();
        let mut node = Node::new(identity, decided, began.side, began.start);
        match began.side {
            Side::Client => {
                self.note_late(self.clock.since(began.start));
                self.find_parent(&mut node);
            }
            Side::Server => node.observed = node.decided.peer_observed,
        }
        let pinned = node.pinned;
        let backend = node.decided.backend;
        let slot = if self.exchanges.len() < self.limits.exchanges {
            self.exchanges.insert(node)
        } else {
            None
        };
        let Some(slot) = slot else {
            return Err(self.refuse());
        };
        if let Some(parent) = pinned {
            self.exchanges.hold(parent);
        }
        self.flights.insert(began.serial, slot);
        match began.side {
            Side::Client => self.meet_server(identity.hop, backend),
            Side::Server => {
                if self.clients {
                    self.meet_client(identity.hop, backend, slot);
                }
                if identity.forwardable {
                    self.exchanges.served(slot);
                }
            }
        }
        Ok(())
    }

    /// Takes an exchange that was held back before it could be decided about.
    ///
    /// # Errors
    /// As [`Self::began`].
    pub fn resumed(
        &mut self,
        began: &Began,
        identity: Identity,
        decided: Decided,
    ) -> Result<(), Full> {
        // Its record was not late, so others need not be waited for longer.
        let late = (self.late, self.late_at);
        let taken = self.began(began, identity, decided);
        (self.late, self.late_at) = late;
        taken
    }

    /// A client's exchange begins: the parent may be there already.
    #[inline(never)]
    fn find_parent(&mut self, node: &mut Node) {
        self.expect_clients();
        if node.identity.forwardable {
            self.exchanges.calls(node.decided.key);
            let found = self.exchanges.parent_of(node, self.timing.grace);
            node.pinned = found.best;
            node.ambiguous = found.ambiguous;
        }
    }

    #[cold]
    fn refuse(&mut self) -> Full {
        self.counters.refused += 1;
        Full {
            held: self.exchanges.len(),
        }
    }

    /// Takes the end of an exchange; its span comes when it has settled.
    ///
    /// # Errors
    /// Hands back an exchange that [`Self::began`] has not taken.
    #[inline]
    pub fn finished(&mut self, exchange: Box<Exchange>) -> Result<(), Box<Exchange>> {
        self.tick(exchange.end);
        let Some(slot) = self.flights.remove(exchange.began.serial) else {
            return Err(exchange);
        };
        let remembered = self.timing.settle.saturating_add(self.timing.grace);
        if let Some(node) = self.exchanges.get_mut(slot) {
            node.end = Some(exchange.end);
            if node.side == Side::Server && node.identity.forwardable && remembered > 0 {
                node.hold();
                self.departed.push_back((self.clock, slot));
            }
        }
        self.settling.push_back(Settling {
            finished: self.clock,
            slot,
            exchange,
        });
        Ok(())
    }

    /// Gives up an exchange in flight, because what is known at its end says
    /// that it shall not be reported after all. True if it was held.
    pub fn abandon(&mut self, serial: u64) -> bool {
        let Some(slot) = self.flights.remove(serial) else {
            return false;
        };
        let Some(node) = self.exchanges.get_mut(slot) else {
            return false;
        };
        node.abandoned = true;
        let (hop, pinned) = (node.identity.hop, node.pinned.take());
        let mine = match node.side {
            Side::Client => Half::Client(node.decided.backend),
            Side::Server => Half::Server(slot),
        };
        self.forget_half(hop, mine);
        if let Some(parent) = pinned {
            self.exchanges.release(parent);
        }
        self.exchanges.forget(slot);
        self.exchanges.release(slot);
        true
    }

    /// Tells the time, and hands out the spans of settled exchanges in the
    /// order in which they finished.
    #[inline]
    pub fn advance(&mut self, now: MonoNanos, mut sink: impl FnMut(Linked)) {
        self.tick(now);
        if self.late > 0 {
            self.forget_late();
        }
        let settle = self.settle();
        let clock = self.clock;
        let passed = |since: MonoNanos, wait: u64| since.0.saturating_add(wait) <= clock.0;
        while let Some(settling) = self.settling.pop_front_if(|s| passed(s.finished, settle)) {
            if let Some(linked) = self.resolve(settling) {
                sink(linked);
            }
        }
        let gone = settle.saturating_add(self.timing.grace);
        while let Some((_, slot)) = self.departed.pop_front_if(|(end, _)| passed(*end, gone)) {
            self.exchanges.forget(slot);
            self.exchanges.release(slot);
        }
        while let Some((_, hop)) = self.unclaimed.pop_front_if(|(due, _)| *due <= self.clock) {
            self.forget_client(hop);
        }
    }

    /// Hands out the spans of all finished exchanges, settled or not: nothing
    /// more will come. Returns how many are still in flight and yield none.
    pub fn flush(&mut self, mut sink: impl FnMut(Linked)) -> usize {
        while let Some(settling) = self.settling.pop_front() {
            if let Some(linked) = self.resolve(settling) {
                sink(linked);
            }
        }
        self.flights.len()
    }

    #[inline]
    fn resolve(&mut self, settling: Settling) -> Option<Linked> {
        let Settling { slot, exchange, .. } = settling;
        let node = self.exchanges.get_mut(slot)?;
        let ids = match node.side {
            Side::Server => {
                node.emitted = true;
                let (ids, hop) = (node.server_ids(), node.identity.hop);
                if self.clients {
                    self.forget_half(hop, Half::Server(slot));
                }
                ids
            }
            Side::Client => self.client_ids(slot)?,
        };
        let node = self.exchanges.get(slot)?;
        let linked = linked(
            exchange,
            &node.identity,
            node.decided.clone(),
            ids,
            self.offset,
        );
        self.exchanges.release(slot);
        Some(linked)
    }

    /// The ids of a client's span.
    #[inline(never)]
    fn client_ids(&mut self, slot: Slot) -> Option<SpanIds> {
        let parent = self.client_parent(slot);
        let hop = self.exchanges.get(slot)?.identity.hop;
        if self.halves.contains_key(&hop) {
            self.await_claim(hop);
        }
        Some(SpanIds {
            id: hop,
            parent,
            shared: false,
        })
    }

    /// Rule 3: the server span that this call belongs to, or S.
    fn client_parent(&mut self, slot: Slot) -> Option<SpanId> {
        let node = self.exchanges.get_mut(slot)?;
        let carried = node.identity.carried;
        if !node.identity.forwardable {
            return carried;
        }
        let pinned = node.pinned.take();
        let node = self.exchanges.get(slot)?;
        let grace = self.timing.grace;
        // What was known when it began, and what came late or will soon be
        // forgotten: together they do not depend on the order of the records.
        let then = Found {
            best: pinned.filter(|parent| {
                let parent = self.exchanges.get(*parent);
                parent.is_some_and(|parent| parent.can_cause(node, grace))
            }),
            ambiguous: node.ambiguous,
        };
        let now = self.exchanges.parent_of(node, grace);
        let found = self.exchanges.better(then, now);
        if found.ambiguous {
            self.counters.ambiguous += 1;
        }
        let parent = found
            .best
            .and_then(|parent| self.exchanges.get_mut(parent))
            .map(|parent| parent.server_ids().id);
        if let Some(pinned) = pinned {
            self.exchanges.release(pinned);
        }
        parent.or(carried)
    }

    /// A client half came: its server may have been waiting.
    fn meet_server(&mut self, hop: SpanId, backend: Backend) {
        match self.halves.entry(hop) {
            Entry::Vacant(entry) => {
                entry.insert(Half::Client(backend));
            }
            Entry::Occupied(entry) => {
                if let Half::Server(server) = *entry.get() {
                    entry.remove();
                    if let Some(node) = self.exchanges.get_mut(server)
                        && node.decided.backend == backend
                    {
                        if node.resolved.is_some() && !node.observed {
                            self.counters.late_halves += 1;
                        } else {
                            node.observed = true;
                        }
                    }
                }
            }
        }
    }

    /// The first client came: from now on the servers wait for theirs.
    fn expect_clients(&mut self) {
        if self.clients {
            return;
        }
        self.clients = true;
        for (slot, node) in self
            .exchanges
            .servers()
            .filter(|(_, n)| !n.emitted && !n.abandoned)
        {
            let half = self.halves.entry(node.identity.hop);
            half.or_insert(Half::Server(slot));
        }
    }

    /// A server half came: its client may have been waiting.
    #[inline(never)]
    fn meet_client(&mut self, hop: SpanId, backend: Backend, slot: Slot) {
        match self.halves.entry(hop) {
            Entry::Vacant(entry) => {
                entry.insert(Half::Server(slot));
            }
            Entry::Occupied(entry) => {
                if let Half::Client(client) = *entry.get() {
                    entry.remove();
                    if client == backend
                        && let Some(node) = self.exchanges.get_mut(slot)
                    {
                        node.observed = true;
                    }
                }
            }
        }
    }

    /// The client's span is out, its server was not seen yet.
    fn await_claim(&mut self, hop: SpanId) {
        if self.unclaimed.len() >= self.limits.unclaimed
            && let Some((_, oldest)) = self.unclaimed.pop_front()
        {
            self.forget_client(oldest);
            self.counters.unclaimed_forgotten += 1;
        }
        let until = self.in_future(self.timing.unclaimed);
        self.unclaimed.push_back((until, hop));
    }

    fn forget_client(&mut self, hop: SpanId) {
        if let Entry::Occupied(entry) = self.halves.entry(hop)
            && matches!(entry.get(), Half::Client(_))
        {
            entry.remove();
        }
    }

    fn forget_half(&mut self, hop: SpanId, half: Half) {
        if let Entry::Occupied(entry) = self.halves.entry(hop)
            && *entry.get() == half
        {
            entry.remove();
        }
    }

    /// Gives up the oldest possible parent if there is no room.
    #[inline(always)]
    fn make_room(&mut self) {
        while self.exchanges.len() >= self.limits.exchanges
            && let Some((_, slot)) = self.departed.pop_front()
        {
            self.exchanges.forget(slot);
            self.exchanges.release(slot);
            self.counters.forgotten += 1;
        }
    }

    /// How long a finished exchange waits now.
    fn settle(&self) -> u64 {
        let Timing { settle, grace, .. } = self.timing;
        // Waiting takes room, and with half of it gone there is none for that.
        if self.exchanges.len() > self.limits.exchanges / 2 {
            return settle;
        }
        let wanted = self.late.saturating_mul(LATER);
        wanted.clamp(settle, grace.max(settle))
    }

    fn note_late(&mut self, late: u64) {
        if late >= self.late {
            self.late = late;
            self.late_at = self.clock;
        }
    }

    fn forget_late(&mut self) {
        while self.late > 0 && self.clock.since(self.late_at) > LATE_FOR {
            self.late /= 2;
            self.late_at = MonoNanos(self.late_at.0.saturating_add(LATE_FOR));
        }
    }

    #[inline(always)]
    fn tick(&mut self, now: MonoNanos) {
        self.clock = self.clock.max(now);
    }

    #[inline(always)]
    const fn in_future(&self, nanos: u64) -> MonoNanos {
        MonoNanos(self.clock.0.saturating_add(nanos))
    }

    /// Nothing is held, and nothing can be found.
    #[cfg(test)]
    pub(super) fn is_clean(&self) -> bool {
        self.exchanges.is_clean()
            && self.flights.len() == 0
            && self.halves.is_empty()
            && self.departed.is_empty()
            && self.unclaimed.is_empty()
    }
}
