//! Exchanges of owners that are not known yet. Pure.
//!
//! A pod's first request may come before the cluster has told of the pod. It
//! waits here, and what comes after it of the same owner behind it, until the
//! pod is known or too much time has passed.

use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use crate::assemble::{Began, Exchange, Text};
use crate::units::{MonoNanos, OwnerId};

/// How much waits at most, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limits {
    /// Nanoseconds of record time.
    pub(super) time: u64,
    /// Exchanges of all owners.
    pub(super) all: usize,
    /// Exchanges of one owner, so that none takes the room of the others.
    pub(super) one: usize,
}

impl Default for Limits {
    /// A watch tells of a new pod within tens of milliseconds; seconds are for
    /// an API server that has much to do.
    fn default() -> Self {
        Self {
            time: 5_000_000_000,
            all: 4096,
            one: 256,
        }
    }
}

/// See above.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    limits: Limits,
    queue: VecDeque<(MonoNanos, Item)>,
    /// Exchanges whose beginning is in the queue.
    serials: HashSet<u64, FxBuildHasher>,
    owners: HashMap<OwnerId, usize, FxBuildHasher>,
}

/// What waits.
#[derive(Debug)]
pub(super) enum Item {
    /// An exchange that began, with what the decision needs.
    Began(Beginning),
    /// The end of one that waited.
    Finished(Box<Exchange>),
}

/// See [`Item::Began`].
#[derive(Debug)]
pub(super) struct Beginning {
    pub(super) began: Began,
    pub(super) target: Box<[u8]>,
    pub(super) line: Box<Text>,
}

/// How the waiting ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// The owner is known.
    Known,
    /// It took too long.
    Expired,
}

impl Waiting {
    #[cfg(test)]
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Takes an exchange that began; false if there is no room.
    pub(super) fn began(&mut self, beginning: Beginning, now: MonoNanos) -> bool {
        let Beginning { began, .. } = &beginning;
        let of_owner = self.owners.get(&began.owner).copied().unwrap_or_default();
        if self.serials.len() >= self.limits.all || of_owner >= self.limits.one {
            return false;
        }
        self.owners.insert(began.owner, of_owner + 1);
        self.serials.insert(began.serial);
        self.queue.push_back((now, Item::Began(beginning)));
        true
    }

    /// Takes the end of an exchange.
    ///
    /// # Errors
    /// It does not wait.
    pub(super) fn finished(
        &mut self,
        exchange: Box<Exchange>,
        now: MonoNanos,
    ) -> Result<(), Box<Exchange>> {
        if !self.serials.contains(&exchange.began.serial) {
            return Err(exchange);
        }
        self.queue.push_back((now, Item::Finished(exchange)));
        Ok(())
    }

    /// Whether somebody has waited for too long.
    pub(super) fn is_due(&self, now: MonoNanos) -> bool {
        let first = self.queue.front();
        first.is_some_and(|(since, _)| now.since(*since) >= self.limits.time)
    }

    /// Those who need wait no longer, in the order in which they came.
    pub(super) fn take(
        &mut self,
        now: MonoNanos,
        mut known: impl FnMut(&Began) -> bool,
    ) -> Vec<(Item, Fate)> {
        let mut out = Vec::new();
        for (since, item) in std::mem::take(&mut self.queue) {
            let fate = match &item {
                Item::Began(Beginning { began, .. }) => {
                    if known(began) {
                        Some(Fate::Known)
                    } else {
                        let expired = now.since(since) >= self.limits.time;
                        expired.then_some(Fate::Expired)
                    }
                }
                Item::Finished(exchange) => {
                    let waits = self.serials.contains(&exchange.began.serial);
                    (!waits).then_some(Fate::Known)
                }
            };
            let Some(fate) = fate else {
                self.queue.push_back((since, item));
                continue;
            };
            if let Item::Began(Beginning { began, .. }) = &item {
                self.leave(began.serial, began.owner);
            }
            out.push((item, fate));
        }
        out
    }

    /// All that waits, for the end.
    pub(super) fn into_items(self) -> impl Iterator<Item = Item> {
        self.queue.into_iter().map(|(_, item)| item)
    }

    fn leave(&mut self, serial: u64, owner: OwnerId) {
        self.serials.remove(&serial);
        if let Some(count) = self.owners.get_mut(&owner) {
            *count -= 1;
            if *count == 0 {
                self.owners.remove(&owner);
            }
        }
    }
}

#[cfg(test)]
mod tests;
