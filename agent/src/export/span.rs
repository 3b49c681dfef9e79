//! The finished span.

use std::sync::Arc;

use crate::assemble::Exchange;
use crate::identify::Workload;
use crate::sample::SamplerTag;
use crate::units::{SpanId, TraceId, UnixMicros};

/// An exchange with its identity in a trace, ready to be encoded.
///
/// Encoders render names and tags from the exchange itself, so that a span
/// costs no allocation of its own.
#[derive(Debug)]
pub struct Span {
    /// Trace id.
    pub trace: TraceId,
    /// Span id.
    pub id: SpanId,
    /// Parent, none on a root.
    pub parent: Option<SpanId>,
    /// Both halves of the call carry this id, and this is the server's.
    pub shared: bool,
    /// The carried context asked for debug.
    pub debug: bool,
    /// Who decided about the trace that begins here: only on its root, and
    /// only if it was a sampler.
    pub sampler: Option<SamplerTag>,
    /// Start.
    pub timestamp: UnixMicros,
    /// First byte of the response.
    pub first_byte: Option<UnixMicros>,
    /// Microseconds, at least 1.
    pub duration: u64,
    /// Whose span it is.
    pub workload: Arc<Workload>,
    /// Service at the other end, as far as a cluster says; not empty.
    pub remote: Option<Arc<str>>,
    /// What happened.
    pub exchange: Box<Exchange>,
}
