//! The trace context that a request carries.

use crate::units::{SpanId, TraceId};

/// What a request says about its trace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TraceContext {
    /// Ids, if one of the formats had valid ones.
    pub ids: Option<Ids>,
    /// The carried sampling decision.
    pub decision: Decision,
}

/// Ids of a carried context.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Ids {
    /// T.
    pub trace: TraceId,
    /// S.
    pub span: SpanId,
    /// Read, but decides nothing.
    pub parent: Option<SpanId>,
    /// Which format supplied them.
    pub format: Format,
}

/// A way to write a trace context into headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// `b3`.
    B3Single,
    /// `x-b3-traceid` and its siblings.
    B3Multi,
    /// W3C `traceparent`.
    TraceParent,
    /// Jaeger's `uber-trace-id`.
    Uber,
}

/// The sampling decision a request carries (DESIGN.md, Wire identity, rule 7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Decision {
    /// None: the sampler decides.
    #[default]
    Defer,
    /// Do not report.
    Deny,
    /// Report.
    Accept,
    /// Report, and mark the span `debug`.
    Debug,
}
