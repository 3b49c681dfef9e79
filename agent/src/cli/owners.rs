//! What the kernel side has been told about owners.

use agent_ebpf::{OWNER_PROCESS, Verdict};

use crate::capture::live::{Control, LiveError};
use crate::identify::Granularity;
use crate::units::OwnerId;

type OwnerSet = hashbrown::HashSet<OwnerId, rustc_hash::FxBuildHasher>;

/// Owners remembered; beyond that all are forgotten and told again.
const MET: usize = 16384;

/// Who can be told about an owner.
pub(super) trait Tell {
    /// What is to be done with its calls from now on.
    fn set(&mut self, owner: OwnerId, verdict: Verdict) -> Result<(), LiveError>;
    /// Nothing is known of it any more.
    fn forget(&mut self, owner: OwnerId);
}

impl Tell for Control {
    fn set(&mut self, owner: OwnerId, verdict: Verdict) -> Result<(), LiveError> {
        Self::set(self, owner, verdict)
    }

    fn forget(&mut self, owner: OwnerId) {
        Self::forget(self, owner);
    }
}

/// Owners that the kernel side has been told about.
pub(super) struct Owners<C> {
    control: C,
    met: OwnerSet,
    /// Cgroups whose processes are owners of their own.
    shared: OwnerSet,
    ignored: OwnerSet,
}

impl<C: Tell> Owners<C> {
    /// Nobody was met.
    pub(super) fn new(control: C) -> Self {
        Self {
            control,
            met: OwnerSet::default(),
            shared: OwnerSet::default(),
            ignored: OwnerSet::default(),
        }
    }

    /// Whether an owner is seen for the first time; then it must be
    /// [met](Self::meet).
    pub(super) fn is_new(&self, owner: OwnerId) -> bool {
        !self.met.contains(&owner)
    }

    /// Says of a new owner whether it is one workload or holds several.
    pub(super) fn meet(&mut self, owner: OwnerId, granularity: Granularity) {
        if self.met.len() >= MET {
            self.met.clear();
            self.shared.clear();
        }
        self.met.insert(owner);
        match granularity {
            Granularity::PerProcess if !is_process(owner) => {
                self.shared.insert(owner);
                self.tell(owner, Verdict::PerProcess);
            }
            _ => self.tell(owner, Verdict::Watch),
        }
    }

    /// Nothing is wanted of this owner. What is ignored must be remembered, so
    /// that another plan can ask again; what finds no room is refused by the
    /// stages one by one.
    ///
    /// The first records of a cgroup that holds several workloads bear its own
    /// id: what is true of the process that made them is not of the others.
    pub(super) fn ignore(&mut self, owner: OwnerId) {
        if self.ignored.len() < MET && !self.shared.contains(&owner) {
            self.ignored.insert(owner);
            self.tell(owner, Verdict::Ignore);
        }
    }

    /// Something may be wanted of those that were ignored: of all of whom it is
    /// not known that they still are.
    pub(super) fn ask_again(&mut self, mut still: impl FnMut(OwnerId) -> bool) {
        for owner in self.ignored.extract_if(|owner| !still(*owner)) {
            self.met.remove(&owner);
            self.control.forget(owner);
        }
    }

    /// Those that are gone are forgotten, which keeps room in the map. Process
    /// ids are used again, so that nothing said of one holds for long: those
    /// that are ignored are asked about again.
    pub(super) fn tidy(&mut self, lives: impl Fn(OwnerId) -> bool) {
        let over = |owner: &OwnerId| {
            (is_process(*owner) && self.ignored.contains(owner)) || !lives(*owner)
        };
        let all = self.met.union(&self.ignored).copied();
        let over: Vec<OwnerId> = all.filter(over).collect();
        for owner in over {
            self.met.remove(&owner);
            self.shared.remove(&owner);
            self.ignored.remove(&owner);
            self.control.forget(owner);
        }
    }

    fn tell(&mut self, owner: OwnerId, verdict: Verdict) {
        if let Err(error) = self.control.set(owner, verdict) {
            tracing::debug!("owner {:#x}: {error}", owner.0);
        }
    }
}

fn is_process(owner: OwnerId) -> bool {
    owner.0 & OWNER_PROCESS != 0
}

/// The process that an owner is, if it is one.
pub(super) fn process_of(owner: OwnerId) -> Option<u32> {
    is_process(owner).then_some((owner.0 & u64::from(u32::MAX)) as u32)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    impl Tell for BTreeMap<u64, Verdict> {
        fn set(&mut self, owner: OwnerId, verdict: Verdict) -> Result<(), LiveError> {
            self.insert(owner.0, verdict);
            Ok(())
        }

        fn forget(&mut self, owner: OwnerId) {
            self.remove(&owner.0);
        }
    }

    const SESSION: OwnerId = OwnerId(7);
    const CONTAINER: OwnerId = OwnerId(8);

    fn process(pid: u64) -> OwnerId {
        OwnerId(OWNER_PROCESS | pid)
    }

    fn owners() -> Owners<BTreeMap<u64, Verdict>> {
        Owners::new(BTreeMap::new())
    }

    #[test]
    fn a_session_is_not_ignored_for_one_of_its_processes() {
        let mut owners = owners();
        owners.meet(SESSION, Granularity::PerProcess);
        owners.ignore(SESSION);
        owners.meet(process(1), Granularity::PerCgroup);
        owners.ignore(process(1));
        owners.meet(CONTAINER, Granularity::PerCgroup);
        owners.ignore(CONTAINER);
        let told = |owner: OwnerId| owners.control.get(&owner.0).copied();
        assert_eq!(told(SESSION), Some(Verdict::PerProcess));
        assert_eq!(told(process(1)), Some(Verdict::Ignore));
        assert_eq!(told(CONTAINER), Some(Verdict::Ignore));
    }

    #[test]
    fn another_plan_asks_again_about_those_that_were_ignored() {
        let mut owners = owners();
        owners.meet(CONTAINER, Granularity::PerCgroup);
        owners.ignore(CONTAINER);
        assert!(!owners.is_new(CONTAINER));
        owners.meet(process(1), Granularity::PerCgroup);
        owners.ignore(process(1));
        owners.ask_again(|owner| owner == process(1));
        assert!(owners.is_new(CONTAINER) && !owners.is_new(process(1)));
        let left: Vec<_> = owners.control.iter().collect();
        assert_eq!(left, [(&process(1).0, &Verdict::Ignore)]);
        owners.ask_again(|_| false);
        assert!(owners.control.is_empty());
    }

    #[test]
    fn processes_are_forgotten_when_they_may_be_others() {
        let mut owners = owners();
        for pid in 1..=3 {
            owners.meet(process(pid), Granularity::PerCgroup);
        }
        owners.ignore(process(1));
        owners.meet(SESSION, Granularity::PerProcess);
        owners.meet(CONTAINER, Granularity::PerCgroup);
        owners.ignore(CONTAINER);
        // A cgroup that was removed.
        let removed = OwnerId(9);
        owners.meet(removed, Granularity::PerProcess);
        owners.tidy(|owner| owner != process(2) && owner != removed);
        assert!(!owners.shared.contains(&removed));
        let left: Vec<u64> = owners.control.keys().copied().collect();
        assert_eq!(left, [SESSION.0, CONTAINER.0, process(3).0]);
        assert!(owners.is_new(process(1)) && owners.is_new(process(2)));
    }
}
