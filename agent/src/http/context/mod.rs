//! The trace context that a request carries.
//!
//! [`Headers`] collects the values while the headers of a head are walked,
//! [`Headers::context`] makes one [`TraceContext`] of them by the rules of
//! DESIGN.md, "Identity of a request":
//!
//! - The first format with valid ids supplies ids and decision; formats are
//!   not mixed. The order is [`Order`].
//! - Ids that are zero or malformed, or a trace id without a span id, are no
//!   context in that format. The parent is read and decides nothing.
//! - A B3 `0` is explicit, so it is honoured whatever else there is, even
//!   beside ids that are malformed. `traceparent` and `uber-trace-id` cannot
//!   leave their flag out, so theirs counts where no format before them has
//!   decided.
//! - Debug beats a `0`.
//! - A decision without ids is for the new trace.
//! - The first value of a repeated header wins.

mod b3;
mod hex;
mod traceparent;
mod uber;

#[cfg(test)]
mod tests;

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

/// In which order the formats are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Order([Format; 4]);

impl Default for Order {
    fn default() -> Self {
        Self([
            Format::B3Single,
            Format::B3Multi,
            Format::TraceParent,
            Format::Uber,
        ])
    }
}

impl Order {
    /// These formats first, the others behind them in the default order.
    #[must_use]
    pub fn preferring(first: &[Format]) -> Self {
        let mut order = [Format::B3Single; 4];
        let mut filled = 0;
        for &format in first.iter().chain(&Self::default().0) {
            let (done, open) = order.split_at_mut(filled);
            if let Some(slot) = open.first_mut()
                && !done.contains(&format)
            {
                *slot = format;
                filled += 1;
            }
        }
        Self(order)
    }
}

/// First values of the headers that carry a context.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// `b3`
    pub b3: Option<&'a [u8]>,
    /// `x-b3-traceid`
    pub trace: Option<&'a [u8]>,
    /// `x-b3-spanid`
    pub span: Option<&'a [u8]>,
    /// `x-b3-parentspanid`
    pub parent: Option<&'a [u8]>,
    /// `x-b3-sampled`
    pub sampled: Option<&'a [u8]>,
    /// `x-b3-flags`
    pub flags: Option<&'a [u8]>,
    /// `traceparent`
    pub traceparent: Option<&'a [u8]>,
    /// `uber-trace-id`
    pub uber: Option<&'a [u8]>,
}

impl Headers<'_> {
    /// What these headers say together.
    #[must_use]
    pub fn context(&self, order: Order) -> TraceContext {
        let found = order.0.map(|format| match format {
            Format::B3Single => b3::single(self),
            Format::B3Multi => b3::multi(self),
            Format::TraceParent => traceparent::read(self),
            Format::Uber => uber::read(self),
        });
        let winner = found.iter().find(|found| found.ids.is_some());
        let decision = winner.map_or(Decision::Defer, |found| found.decision);
        let says = |decision| found.iter().any(|found| found.decision == decision);
        TraceContext {
            ids: winner.and_then(|found| found.ids),
            decision: match decision {
                Decision::Debug => Decision::Debug,
                Decision::Accept if !found.iter().any(|found| found.explicit_deny) => {
                    Decision::Accept
                }
                Decision::Accept | Decision::Deny => Decision::Deny,
                // Ids without a decision leave it to the receiver; only a deny
                // of another format is a reason not to ask the sampler.
                Decision::Defer if winner.is_some() => {
                    if says(Decision::Deny) || found.iter().any(|found| found.explicit_deny) {
                        Decision::Deny
                    } else {
                        Decision::Defer
                    }
                }
                Decision::Defer if says(Decision::Debug) => Decision::Debug,
                Decision::Defer if says(Decision::Deny) => Decision::Deny,
                Decision::Defer if says(Decision::Accept) => Decision::Accept,
                Decision::Defer => Decision::Defer,
            },
        }
    }
}

/// What one format says.
#[derive(Clone, Copy, Debug, Default)]
struct Found {
    ids: Option<Ids>,
    decision: Decision,
    /// A B3 `0`.
    explicit_deny: bool,
}

impl Found {
    /// A B3 decision without ids.
    fn bare(decision: Decision) -> Self {
        Self {
            ids: None,
            decision,
            explicit_deny: decision == Decision::Deny,
        }
    }

    /// Ids if both are valid; without them only a deny is left.
    fn with(
        format: Format,
        trace: Option<TraceId>,
        span: Option<SpanId>,
        parent: Option<SpanId>,
        decision: Decision,
    ) -> Self {
        let ids = trace.zip(span).map(|(trace, span)| Ids {
            trace,
            span,
            parent,
            format,
        });
        let deny = decision == Decision::Deny;
        Self {
            decision: if ids.is_some() || deny {
                decision
            } else {
                Decision::Defer
            },
            ids,
            explicit_deny: deny && matches!(format, Format::B3Single | Format::B3Multi),
        }
    }
}
