//! The connections that are known, found by their socket.

use std::collections::HashMap;

use rustc_hash::FxBuildHasher;

use super::connection::Connection;
use crate::units::SocketId;

/// A slab of connections, so that a hand can go round them.
#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Connection>>,
    free: Vec<u32>,
    index: HashMap<SocketId, u32, FxBuildHasher>,
    /// The slot that was asked for last: the next record is often of the same
    /// connection.
    last: usize,
    hand: usize,
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.index.len()
    }

    #[inline(always)]
    pub(super) fn get(&mut self, socket: SocketId) -> Option<&mut Connection> {
        let last = self.slots.get(self.last).and_then(Option::as_ref);
        if last.is_none_or(|last| last.socket != socket) {
            self.last = *self.index.get(&socket)? as usize;
        }
        self.slots.get_mut(self.last)?.as_mut()
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
