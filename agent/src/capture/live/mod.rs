//! Live probes: records straight from the kernel.

mod control;
mod error;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod inside;
mod object;
mod patch;
mod privileges;
mod probes;
mod report;
mod ring;
mod selftest;

pub use control::{Control, Gauges, KernelCounters};
pub use error::LiveError;
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_record;
pub use privileges::{Kept, KeptAll};
pub use report::{ProgramReport, Report};
pub use ring::Live;

use std::time::Duration;

/// How the probes are to run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring in bytes; rounded up to a power of two by the loader.
    pub ring_bytes: u32,
    /// Sockets tracked at once.
    pub sockets: u32,
    /// How long records may lie in the ring before they are read.
    pub linger: Duration,
    /// Load the object whose programs log what they do.
    pub kernel_log: bool,
    /// Use kprobes even where fentry works.
    pub force_kprobes: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            ring_bytes: 4 << 20,
            sockets: 65536,
            linger: Duration::from_millis(10),
            kernel_log: false,
            force_kprobes: false,
        }
    }
}
