//! What user space tells the programs, and what it asks them.

use std::collections::HashMap as StdHashMap;
use std::fs;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use agent_ebpf::{COUNTERS, Counter, OWNER_PROCESS, PROGRAMS, VERDICT_SLOTS, Verdict};
use aya::Pod;
use aya::maps::{Array, HashMap, MapData, PerCpuArray};

use super::LiveError;
use crate::units::OwnerId;

/// A layout type as the loader wants it.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Plain<T>(pub(super) T);

// SAFETY: `repr(C)` structs of integers without padding (sizes are asserted
// where they are defined).
unsafe impl Pod for Plain<agent_ebpf::Layout> {}
// SAFETY: as above.
unsafe impl Pod for Plain<agent_ebpf::Settings> {}
// SAFETY: as above.
unsafe impl Pod for Plain<agent_ebpf::Skip> {}
// SAFETY: as above.
unsafe impl Pod for Plain<agent_ebpf::IgnoredSocket> {}
// SAFETY: as above.
unsafe impl Pod for Plain<agent_ebpf::SocketState> {}
// SAFETY: as above.
unsafe impl Pod for Local {}

/// Counters and scratch of one program on one CPU, as the kernel side has it.
#[derive(Clone, Copy)]
#[repr(C)]
pub(super) struct Local {
    cell: u64,
    counters: [u64; COUNTERS],
}

/// Verdicts on owners.
pub struct Control {
    owners: HashMap<MapData, u64, u64>,
    verdicts: Array<MapData, u64>,
    own: Option<u64>,
}

impl Control {
    pub(super) fn new(owners: HashMap<MapData, u64, u64>, verdicts: Array<MapData, u64>) -> Self {
        Self {
            owners,
            verdicts,
            own: None,
        }
    }

    /// Keeps the agent's own traffic out of its own traces. `seen` is the owner
    /// of its calls as the kernel sees it. What `/proc/self/cgroup` says is not:
    /// with a cgroup namespace of its own, as containers have it, that is the
    /// root.
    ///
    /// # Errors
    /// If the map refuses.
    pub fn ignore_self(&mut self, seen: OwnerId) -> Result<(), LiveError> {
        let own = OWNER_PROCESS | u64::from(std::process::id());
        self.put(own, Verdict::Ignore)?;
        if seen.0 & OWNER_PROCESS == 0 {
            self.own = Some(seen.0);
            self.put(seen.0, Verdict::PerProcess)?;
        }
        Ok(())
    }

    /// Says what is to be done with an owner's calls from now on.
    ///
    /// # Errors
    /// If the map refuses, most likely because it is full.
    pub fn set(&mut self, owner: OwnerId, verdict: Verdict) -> Result<(), LiveError> {
        if self.own == Some(owner.0) {
            return Ok(());
        }
        self.put(owner.0, verdict)
    }

    /// Forgets an owner that is gone.
    pub fn forget(&mut self, owner: OwnerId) {
        if self.own == Some(owner.0) {
            return;
        }
        // Gone already is as good.
        let _gone = self.owners.remove(&owner.0);
        let _empty = self.verdicts.set(slot(owner.0), 0, 0);
    }

    fn put(&mut self, owner: u64, verdict: Verdict) -> Result<(), LiveError> {
        self.owners
            .insert(owner, verdict as u64, 0)
            .map_err(|source| LiveError::Map {
                map: "OWNERS",
                source: Box::new(source),
            })?;
        self.verdicts
            .set(slot(owner), owner << 2 | verdict as u64, 0)
            .map_err(|source| LiveError::Map {
                map: "VERDICTS",
                source: Box::new(source),
            })
    }
}

/// Counts of the kernel side.
pub struct Gauges {
    local: PerCpuArray<MapData, Local>,
    programs: Vec<(&'static str, OwnedFd)>,
}

/// What the kernel side has counted so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KernelCounters {
    /// By [`Counter`].
    pub counters: [u64; COUNTERS],
    /// Runs the kernel skipped because a program was already running on that
    /// CPU, by program.
    pub recursion_misses: StdHashMap<&'static str, u64>,
}

impl KernelCounters {
    /// Runs that were skipped and that no second program stood in for; where
    /// programs are attached twice, at most so many.
    #[must_use]
    pub fn missed_runs(&self) -> u64 {
        self.recursion_misses
            .iter()
            .filter(|(name, _)| !name.ends_with("_again"))
            .map(|(name, misses)| {
                let again = self
                    .recursion_misses
                    .iter()
                    .find(|(other, _)| other.strip_suffix("_again") == Some(name));
                again.map_or(*misses, |(_, others)| (*misses).min(*others))
            })
            .sum()
    }

    /// One counter.
    #[must_use]
    pub fn get(&self, counter: Counter) -> u64 {
        self.counters
            .get(counter as usize)
            .copied()
            .unwrap_or_default()
    }
}

impl Gauges {
    pub(super) fn new(
        local: PerCpuArray<MapData, Local>,
        programs: Vec<(&'static str, OwnedFd)>,
    ) -> Self {
        Self { local, programs }
    }

    /// Reads all counters.
    #[must_use]
    pub fn read(&self) -> KernelCounters {
        let mut sum = KernelCounters::default();
        for program in 0..PROGRAMS {
            let Ok(values) = self.local.get(&program, 0) else {
                continue;
            };
            for local in values.iter() {
                for (total, value) in sum.counters.iter_mut().zip(local.counters) {
                    *total = total.wrapping_add(value);
                }
            }
        }
        for (name, fd) in &self.programs {
            let misses =
                fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_fd().as_raw_fd()))
                    .ok()
                    .and_then(|text| {
                        text.lines().find_map(|line| {
                            line.strip_prefix("recursion_misses:")?.trim().parse().ok()
                        })
                    });
            sum.recursion_misses
                .insert(name, misses.unwrap_or_default());
        }
        sum
    }
}

fn slot(owner: u64) -> u32 {
    (owner & u64::from(VERDICT_SLOTS - 1)) as u32
}
