//! Threads that wait in a receive that began before the programs were there.
//!
//! The exit program does not see such a call return (`agent-ebpf`,
//! `inside.rs`), so the copying itself is watched for these threads, until
//! each has received something or is gone.

use std::fs;
use std::time::{Duration, Instant};

use agent_ebpf::RawRecord;
use aya::maps::{HashMap, MapData};
use hashbrown::HashSet;

/// How often it is looked whether the threads still exist.
const ROUND: Duration = Duration::from_secs(5);

/// The threads that are watched.
pub(super) struct Inside {
    map: HashMap<MapData, u32, u32>,
    threads: HashSet<u32>,
    /// Threads whose call has brought something: at the next round of reading
    /// it has returned.
    done: Vec<u32>,
    looked: Instant,
}

impl Inside {
    pub(super) fn new(map: HashMap<MapData, u32, u32>) -> Self {
        Self {
            map,
            threads: HashSet::new(),
            done: Vec::new(),
            looked: Instant::now(),
        }
    }

    /// Adds the threads that are in `tcp_recvmsg` now.
    pub(super) fn look(&mut self) {
        for thread in waiting() {
            if self.map.insert(thread, 1, 0).is_ok() {
                self.threads.insert(thread);
            }
        }
    }

    /// Whether there is anything left to watch.
    pub(super) fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Notes who received something.
    pub(super) fn see(&mut self, raw: &RawRecord) {
        let thread = raw.pid_tgid as u32;
        if raw.direction == agent_ebpf::Direction::In as u8 && self.threads.contains(&thread) {
            self.done.push(thread);
        }
    }

    /// Lets go of threads that have received something, and of dead ones.
    pub(super) fn tidy(&mut self) {
        let mut gone = std::mem::take(&mut self.done);
        if self.looked.elapsed() > ROUND {
            self.looked = Instant::now();
            gone.extend(
                self.threads
                    .iter()
                    .filter(|thread| !fs::exists(format!("/proc/{thread}")).unwrap_or(true)),
            );
        }
        for thread in gone {
            self.threads.remove(&thread);
            // Gone already is as good.
            let _gone = self.map.remove(&thread);
        }
    }
}

/// Threads whose kernel stack goes through `tcp_recvmsg`. Without
/// CONFIG_STACKTRACE nobody can tell, and there are none.
fn waiting() -> Vec<u32> {
    let Ok(processes) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    processes
        .flatten()
        .filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|process| fs::read_dir(process.path().join("task")).ok())
        .flatten()
        .flatten()
        .filter(|thread| {
            fs::read_to_string(thread.path().join("stack"))
                .is_ok_and(|stack| stack.contains("tcp_recvmsg"))
        })
        .filter_map(|thread| thread.file_name().to_string_lossy().parse().ok())
        .collect()
}
