//! What the kernel has called processes, for those that nobody can ask any more.

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::units::Comm;

/// How many processes a generation has: no fewer than a batch of records can
/// speak of.
const GENERATION: usize = 4096;

/// What processes were called by the newest record that said so, by their ids.
///
/// There are two generations. When the young one is full, and at every
/// [sweep](Self::age), it becomes the old one, and what was the old one is
/// forgotten. So a name is kept from one sweep to the next at least unless more
/// than a generation of other processes comes meanwhile, and until the second at
/// most. Whose name is forgotten too early is called after its id.
#[derive(Debug, Default)]
pub(super) struct Introduced {
    young: HashMap<u32, Comm, FxBuildHasher>,
    old: HashMap<u32, Comm, FxBuildHasher>,
}

impl Introduced {
    /// Keeps a name, and forgets what a process of this id was called before.
    pub(super) fn keep(&mut self, pid: u32, comm: Comm) {
        if self.young.len() >= GENERATION && !self.young.contains_key(&pid) {
            self.age();
        }
        self.young.insert(pid, comm);
    }

    /// The name of this process.
    pub(super) fn get(&self, pid: u32) -> Option<Comm> {
        self.young.get(&pid).or_else(|| self.old.get(&pid)).copied()
    }

    /// The same, and forgets it.
    pub(super) fn take(&mut self, pid: u32) -> Option<Comm> {
        let old = self.old.remove(&pid);
        self.young.remove(&pid).or(old)
    }

    /// Begins another generation.
    pub(super) fn age(&mut self) {
        std::mem::swap(&mut self.young, &mut self.old);
        self.young.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(n: u32) -> Comm {
        Comm::new(format!("name-{n}").as_bytes())
    }

    #[test]
    fn the_newest_name_counts_in_whatever_generation() {
        let mut introduced = Introduced::default();
        introduced.keep(7, name(1));
        introduced.age();
        assert_eq!(introduced.get(7), Some(name(1)));
        introduced.keep(7, name(2));
        assert_eq!(introduced.get(7), Some(name(2)));
        // With it goes the one before.
        assert_eq!(introduced.take(7), Some(name(2)));
        assert_eq!((introduced.get(7), introduced.take(7)), (None, None));
        introduced.keep(7, name(3));
        introduced.age();
        introduced.age();
        assert_eq!(introduced.get(7), None);
    }

    #[test]
    fn the_newest_are_kept_and_no_more_than_two_generations() {
        let mut introduced = Introduced::default();
        let last = 10 * GENERATION as u32;
        for pid in 1..=last {
            introduced.keep(pid, name(pid));
            // Who is known takes no room.
            introduced.keep(pid, name(pid));
            assert!(introduced.young.len() + introduced.old.len() <= 2 * GENERATION);
            let one_of_this_batch = pid.saturating_sub(GENERATION as u32 - 1).max(1);
            assert_eq!(
                introduced.get(one_of_this_batch),
                Some(name(one_of_this_batch))
            );
        }
        assert_eq!(introduced.get(1), None);
    }
}
