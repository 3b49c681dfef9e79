//! Trace id, span id and parent of every exchange. Pure.
//!
//! A passive agent writes no header, so both ends of a call must arrive at the
//! same ids without talking to each other. [`Minter`] makes the ids from what
//! both ends see (ARCHITECTURE.md, "Identity");
//! [`Linker`] finds parents among the exchanges that this agent holds.
//!
//! An exchange passes through in this order:
//!
//! 1. it began: `identify` names its workload, `policy` gives the backend;
//! 2. [`Minter::mint`] computes its [`Identity`], once;
//! 3. `sample` decides by [`Identity::trace`];
//! 4. if it will be reported, [`Linker::began`] takes it; one that is not
//!    selected or not sampled never gets here, and so is nobody's parent;
//! 5. it is over: [`Linker::finished`];
//! 6. [`Linker::advance`] hands out its span when the settle time is over, so
//!    that the other half's record may have come before or after.
//!
//! Where only servers are observed there is nothing to find, and [`alone`] makes
//! the span of an exchange that is over at once.

mod alone;
mod flights;
mod identity;
mod inbound;
mod linker;
mod sip;
#[cfg(test)]
mod tests;

pub use alone::alone;
pub use identity::{Identity, IdentityKey, KeyTooShort, Minter, PUBLISHED_KEY, TraceWidth};
pub use linker::{Counters, Full, Limits, Linker, Timing};

use std::sync::Arc;

use crate::export::Span;
use crate::identify::{Workload, WorkloadKey};
use crate::sample::SamplerTag;
use crate::units::{MonoNanos, UnixMicros};

/// Where a span goes; spans of different backends are never each other's
/// parents, because neither backend could show the edge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Backend(pub u32);

/// What the rooms before this one decided about an exchange that is reported.
#[derive(Clone, Debug)]
pub struct Decided {
    /// Whose exchange it is.
    pub workload: Arc<Workload>,
    /// Tells workloads apart where names do not.
    pub key: WorkloadKey,
    /// Where its span goes.
    pub backend: Backend,
    /// Whether both halves of a hop share one id there (rule 6).
    pub shared_spans: bool,
    /// The span says `debug`.
    pub debug: bool,
    /// The sampler that decided, if it was one and tags its root spans.
    pub sampler: Option<SamplerTag>,
    /// What the service at the other end is called, if a cluster says it.
    pub remote: Option<Arc<str>>,
    /// At a server: the peer's address is a workload on another node whose
    /// outgoing calls are selected for the same backend (rule 4). The halves
    /// of calls within this node need no such knowledge.
    pub peer_observed: bool,
}

/// A span and where it goes.
#[derive(Debug)]
pub struct Linked {
    /// The backend of its [`Decided`].
    pub backend: Backend,
    /// The span.
    pub span: Span,
}

/// Nanoseconds from a clock's zero to 1970: `CLOCK_REALTIME` minus
/// `CLOCK_MONOTONIC` live, zero for a capture that has calendar times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockOffset(pub i64);

impl ClockOffset {
    /// The calendar time of `at`, rounded down; never before 1970.
    #[must_use]
    pub fn micros(self, at: MonoNanos) -> UnixMicros {
        UnixMicros(self.0.saturating_add_unsigned(at.0).max(0).unsigned_abs() / 1000)
    }
}

/// A span's duration: rounded up, because Zipkin drops a duration of zero
/// (`zipkin2/Span.java`, `Builder.duration`).
#[must_use]
pub fn duration_micros(start: MonoNanos, end: MonoNanos) -> u64 {
    end.since(start).div_ceil(1000).max(1)
}
