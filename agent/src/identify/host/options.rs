//! What an identifier is told, and what it counts.

use std::path::PathBuf;

use super::{Naming, SECOND};

/// What an [`Identifier`] is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// What workloads and the node are called.
    pub naming: Naming,
    /// Where the host's file system begins: `/`, or its mount point in a
    /// container, or a made-up tree in tests.
    pub root: PathBuf,
    /// Nanoseconds after which a process is looked at again, because its id
    /// may have been reused. Default 10 s.
    pub process_ttl: u64,
    /// The same for a cgroup. Default 60 s.
    pub cgroup_ttl: u64,
    /// Owners remembered at most. Default 16,384.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            naming: Naming::default(),
            root: PathBuf::from("/"),
            process_ttl: 10 * SECOND,
            cgroup_ttl: 60 * SECOND,
            capacity: 16_384,
        }
    }
}

/// Counts of what did not go smoothly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Workloads that were over before anybody could ask for their name.
    pub gone: u64,
    /// Walks through the cgroup tree for an id whose process was gone.
    pub walks: u64,
    /// Times that all names were forgotten for room.
    pub forgotten: u64,
}
