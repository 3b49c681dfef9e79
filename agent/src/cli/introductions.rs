//! What processes were called when they were seen first, on its way from the
//! reader to the stage that names them.

use std::collections::VecDeque;

use crate::capture::Record;
use crate::identify::Identify;
use crate::units::{Comm, OwnerId};

/// Those of a batch of records, each with its place among what is made of them:
/// what comes before it may be of another process that had the same id.
#[derive(Debug, Default)]
pub(super) struct Introductions(VecDeque<Introduction>);

#[derive(Debug)]
struct Introduction {
    /// How many outputs come before it.
    behind: usize,
    owner: OwnerId,
    pid: u32,
    comm: Comm,
}

impl Introductions {
    /// Takes the name in a record that comes behind so many outputs.
    pub(super) fn push(&mut self, record: &Record<'_>, comm: Comm, behind: usize) {
        self.0.push_back(Introduction {
            behind,
            owner: record.owner,
            pid: record.pid,
            comm,
        });
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Tells those that stand in front of the output at this place.
    #[inline(always)]
    pub(super) fn tell(&mut self, place: usize, identify: &mut impl Identify) {
        while let Some(next) = self.0.pop_front_if(|next| next.behind <= place) {
            identify.introduce(next.owner, next.pid, next.comm);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;
    use crate::capture::Event;
    use crate::identify::{Known, Naming};
    use crate::units::{MonoNanos, Origins, SocketId};

    #[derive(Default)]
    struct Told(Vec<String>);

    impl Identify for Told {
        fn known(&mut self, _: OwnerId, _: u32, _: Option<IpAddr>, _: MonoNanos) -> Option<&Known> {
            None
        }

        fn rename(&mut self, _: Naming) {}

        fn introduce(&mut self, owner: OwnerId, pid: u32, comm: Comm) {
            let name = comm.as_str_lossy();
            self.0.push(format!("{} {pid} {name}", owner.0));
        }
    }

    #[test]
    fn each_is_told_in_front_of_what_came_behind_it() {
        let mut all = Introductions::default();
        for (behind, pid, name) in [(0, 7, "a"), (0, 8, "b"), (2, 7, "c"), (3, 9, "d")] {
            let record = Record {
                socket: SocketId(1),
                origins: Origins::default(),
                owner: OwnerId(5),
                pid,
                event: Event::Closed {
                    at: MonoNanos::default(),
                },
            };
            all.push(&record, Comm::new(name.as_bytes()), behind);
        }
        let mut told = Told::default();
        let expected: [&[&str]; 4] = [&["5 7 a", "5 8 b"], &[], &["5 7 c"], &["5 9 d"]];
        for (place, expected) in [0, 1, 2, usize::MAX].into_iter().zip(expected) {
            assert!(!all.is_empty());
            all.tell(place, &mut told);
            assert_eq!(std::mem::take(&mut told.0), expected, "{place}");
        }
        assert!(all.is_empty());
    }
}
