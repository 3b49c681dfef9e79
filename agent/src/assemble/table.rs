//! The connections that are known, found by their socket.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::connection::Connection;
use crate::units::SocketId;

/// A slab of connections, so that a hand can go round them.
#[derive(Debug)]
pub(super) struct Table {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    index: HashMap<SocketId, u32, FxBuildHasher>,
    /// Slots that were asked for last, by [`place`]: the next records are often
    /// of the same connections. What they hold may be another by now.
    recent: [u32; RECENT],
    hand: usize,
}

/// A power of two.
const RECENT: usize = 64;

/// Where in [`Table::recent`] a socket is looked for.
#[inline(always)]
const fn place(socket: SocketId) -> usize {
    // Fibonacci hashing: the upper bits are the mixed ones.
    (socket.0.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - RECENT.ilog2())) as usize
}

impl Default for Table {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashMap::default(),
            recent: [0; RECENT],
            hand: 0,
        }
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline(always)]
    pub(super) fn get(&mut self, socket: SocketId) -> Option<&mut Connection> {
        let recent = self.recent.get_mut(place(socket))?;
        let guess = self.slots.get(*recent as usize).and_then(Option::as_ref);
        if guess.is_none_or(|guess| guess.socket != socket) {
            *recent = *self.index.get(&socket)?;
        }
        self.slots.get_mut(*recent as usize)?.as_mut()
    }

    /// Adds a connection whose socket is not in the table.
    pub(super) fn insert(&mut self, connection: Connection) -> Option<&mut Connection> {
        let socket = connection.socket;
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None => {
                let slot = u32::try_from(self.slots.len()).ok()?;
                self.slots.push(None);
                slot
            }
        };
        self.index.insert(socket, slot);
        Some(self.slots.get_mut(slot as usize)?.insert(connection))
    }

    pub(super) fn remove(&mut self, socket: SocketId) -> Option<Connection> {
        let slot = self.index.remove(&socket)?;
        self.free.push(slot);
        self.slots.get_mut(slot as usize)?.take()
    }

    /// All connections, in no particular but a stable order.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Connection> {
        self.slots.iter_mut().flatten()
    }

    /// Removes all connections.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Connection> {
        self.index.clear();
        self.free.clear();
        std::mem::take(&mut self.slots).into_iter().flatten()
    }

    /// Removes one on which nothing has happened since the hand came by last
    /// (the clock algorithm: cheap, and close to the least recently used).
    pub(super) fn evict(&mut self) -> Option<Connection> {
        for _ in 0..2 * self.slots.len() {
            self.hand = (self.hand + 1) % self.slots.len().max(1);
            let Some(Some(connection)) = self.slots.get_mut(self.hand) else {
                continue;
            };
            if !std::mem::take(&mut connection.touched) {
                let socket = connection.socket;
                return self.remove(socket);
            }
        }
        None
    }
}
