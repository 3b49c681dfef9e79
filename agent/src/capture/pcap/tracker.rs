//! All connections of a capture.
//!
//! A closed connection is remembered for a while, so that late copies of its
//! packets do not look like a new one; when there are too many open ones, those
//! that were silent for longest are forgotten.

use std::collections::VecDeque;
use std::net::IpAddr;

use super::connection::{Connection, Outcome, Shared};
use super::counters::Counters;
use super::decode::{Flags, Segment, decode};
use super::owners::Owners;
use super::quick::{Plain, plain};
use super::reader::Packet;
use super::stream::{Books, Limits};
use super::table::{Key, Table};
use super::view::Observe;
use crate::capture::Record;
use crate::units::{MonoNanos, OwnerId};

/// Closed connections that are remembered.
const MAX_CLOSED: usize = 16 * 1024;

/// All connections of a capture.
#[derive(Debug)]
pub(super) struct Tracker {
    table: Table<Connection>,
    /// Closed ones in the order in which they closed.
    closed: VecDeque<(Key, u64)>,
    numbers: u64,
    shared: Shared,
}

impl Tracker {
    pub(super) fn new(observe: Observe) -> Self {
        Self::with_limits(observe, Limits::default())
    }

    pub(super) fn with_limits(observe: Observe, limits: Limits) -> Self {
        Self {
            table: Table::default(),
            closed: VecDeque::new(),
            numbers: 0,
            shared: Shared {
                observe,
                owners: Owners::default(),
                heeding: 0,
                books: Books {
                    limits,
                    ..Books::default()
                },
            },
        }
    }

    pub(super) fn counters(&self) -> Counters {
        let counters = self.shared.books.counters;
        Counters {
            packets: counters.sum(),
            ..counters
        }
    }

    /// Memory charged for what waits.
    #[cfg(test)]
    pub(super) const fn waiting(&self) -> usize {
        self.shared.books.waiting
    }

    pub(super) fn owner_address(&self, owner: OwnerId) -> Option<IpAddr> {
        self.shared.owners.address(owner)
    }

    /// Takes the next packet of the capture.
    #[inline(always)]
    pub(super) fn packet(&mut self, packet: Packet<'_>, sink: &mut impl FnMut(Record<'_>)) {
        if let Some(plain) = plain(packet)
            && self.plain_packet(plain, sink)
        {
            return;
        }
        // A copy made here lets the packet stay in registers on the short way.
        let Packet {
            link,
            at,
            wire_len,
            bytes,
        } = packet;
        let packet = Packet {
            link,
            at,
            wire_len,
            bytes,
        };
        self.any_packet(&packet, sink);
    }

    /// Takes a packet the short way, if that can be done.
    #[inline(always)]
    fn plain_packet(&mut self, plain: Plain<'_>, sink: &mut impl FnMut(Record<'_>)) -> bool {
        let Shared { books, heeding, .. } = &mut self.shared;
        if plain.is_empty() && *heeding == 0 {
            books.counters.tcp += 1;
            return true;
        }
        let (key, from) = plain.key();
        match self.table.get_v4(&key) {
            Some(connection) => connection.take_plain(from, plain.data(), books, sink),
            None => false,
        }
    }

    /// Takes any packet.
    #[inline(never)]
    pub(super) fn any_packet(&mut self, packet: &Packet<'_>, sink: &mut impl FnMut(Record<'_>)) {
        let Some(segment) = decode(packet, &mut self.shared.books.counters) else {
            return;
        };
        let outcome = match self.table.get(&segment.key) {
            Some(connection) => connection.take(&segment, &mut self.shared, sink),
            None => Outcome::Reused,
        };
        if outcome != Outcome::Alive {
            self.change(outcome, &segment, sink);
        }
    }

    /// The end of the capture: gives out what waits.
    pub(super) fn finish(&mut self, sink: &mut impl FnMut(Record<'_>)) {
        for connection in self.table.iter_mut() {
            connection.finish(&mut self.shared, sink);
        }
    }

    fn change(
        &mut self,
        outcome: Outcome,
        segment: &Segment<'_>,
        sink: &mut impl FnMut(Record<'_>),
    ) {
        let outcome = match outcome {
            Outcome::Reused => self.connect(segment, sink),
            other => other,
        };
        if outcome == Outcome::Closed
            && let Some(connection) = self.table.get(&segment.key)
        {
            self.closed.push_back((segment.key, connection.number()));
            self.bury(MAX_CLOSED);
        }
    }

    /// A segment of a connection that is not known yet.
    fn connect(&mut self, segment: &Segment<'_>, sink: &mut impl FnMut(Record<'_>)) -> Outcome {
        if segment.len == 0 && !segment.flags.any(Flags::SYN) {
            return Outcome::Alive;
        }
        if let Some(previous) = self.table.remove(&segment.key) {
            previous.forget(segment.at, &mut self.shared, sink);
        }
        if self.table.len() >= self.shared.books.limits.connections {
            self.evict(segment.at, sink);
        }
        let connection = Connection::new(segment.key, self.numbers);
        self.numbers += 1;
        match self.table.insert(segment.key, connection) {
            Some(connection) => connection.take(segment, &mut self.shared, sink),
            None => Outcome::Alive,
        }
    }

    /// Forgets closed connections, the oldest first, until so many are left.
    fn bury(&mut self, left: usize) {
        while self.closed.len() > left
            && let Some((key, number)) = self.closed.pop_front()
        {
            // The ports may have been used again since.
            if self
                .table
                .get(&key)
                .is_some_and(|connection| connection.number() == number)
            {
                self.table.remove(&key);
            }
        }
    }

    /// Makes room: the closed ones go, then the half that was silent longest.
    #[cold]
    fn evict(&mut self, now: MonoNanos, sink: &mut impl FnMut(Record<'_>)) {
        self.bury(0);
        if self.table.len() < self.shared.books.limits.connections {
            return;
        }
        let mut ages: Vec<(MonoNanos, u64, Key)> = self
            .table
            .iter()
            .map(|connection| (connection.last(), connection.number(), connection.key()))
            .collect();
        let half = ages.len() / 2;
        let (oldest, ..) =
            ages.select_nth_unstable_by_key(half, |&(last, number, _)| (last, number));
        for (_, _, key) in oldest {
            if let Some(connection) = self.table.remove(key) {
                self.shared.books.counters.evicted += u64::from(!connection.is_closed());
                connection.forget(now, &mut self.shared, sink);
            }
        }
    }
}
