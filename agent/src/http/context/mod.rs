//! The trace context that a request carries.
//!
//! [`Headers`] collects the values while the headers of a head are walked,
//! [`Headers::context`] makes one [`TraceContext`] of them by the rules of
//! ARCHITECTURE.md, "Identity":
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
mod renamed;
mod traceparent;
mod uber;

#[cfg(test)]
mod tests;

pub use renamed::context_with;

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

/// The sampling decision a request carries (ARCHITECTURE.md, Identity, rule 7).
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

/// A header that carries a part of a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Name {
    /// `b3`
    B3,
    /// `x-b3-traceid`
    TraceId,
    /// `x-b3-spanid`
    SpanId,
    /// `x-b3-parentspanid`
    ParentSpanId,
    /// `x-b3-sampled`
    Sampled,
    /// `x-b3-flags`
    Flags,
    /// `traceparent`
    TraceParent,
    /// `uber-trace-id`
    Uber,
}

/// First values of the headers that carry a context, without the blanks around
/// them.
///
/// What most requests with a context have is read at once, so that nothing else
/// need be kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Headers<'a> {
    /// A bit for each [`Name`] that came.
    seen: u8,
    /// `x-b3-sampled`, if it was read at once, as the next two.
    sampled: Decision,
    span: Option<SpanId>,
    trace: Option<TraceId>,
    /// The values of all others, once there is one.
    values: Option<[Option<&'a [u8]>; 8]>,
}

/// Bits of the headers that say something in B3's multi format; the parent
/// alone does not.
const MULTI: u8 = bit(Name::TraceId) | bit(Name::SpanId) | bit(Name::Sampled) | bit(Name::Flags);

const fn bit(name: Name) -> u8 {
    1 << name as u8
}

impl<'a> Headers<'a> {
    /// Takes a header, unless it is repeated.
    #[inline(never)]
    pub fn insert(&mut self, name: Name, value: &'a [u8]) {
        if !self.has(name)
            && let Some(slot) = self.values.get_or_insert_default().get_mut(name as usize)
        {
            *slot = Some(value);
            self.seen |= bit(name);
        }
    }

    /// Takes an `x-b3-traceid` of 32 digits, unless it is repeated; false if it
    /// is none.
    #[inline(always)]
    #[must_use]
    pub fn read_trace(&mut self, digits: &[u8; 32]) -> bool {
        let Some(trace) = hex::long_trace(digits) else {
            return false;
        };
        if !self.has(Name::TraceId) {
            self.trace = Some(trace);
            self.seen |= bit(Name::TraceId);
        }
        true
    }

    /// The same of an `x-b3-spanid` of 16 digits.
    #[inline(always)]
    #[must_use]
    pub fn read_span(&mut self, digits: &[u8; 16]) -> bool {
        let Some(span) = hex::long_span(digits) else {
            return false;
        };
        if !self.has(Name::SpanId) {
            self.span = Some(span);
            self.seen |= bit(Name::SpanId);
        }
        true
    }

    /// The same of an `x-b3-sampled` that is a digit.
    #[inline(always)]
    #[must_use]
    pub fn read_sampled(&mut self, [digit]: &[u8; 1]) -> bool {
        let sampled = match digit {
            b'1' => Decision::Accept,
            b'0' => Decision::Deny,
            _ => return false,
        };
        if !self.has(Name::Sampled) {
            self.sampled = sampled;
            self.seen |= bit(Name::Sampled);
        }
        true
    }

    #[inline(always)]
    const fn has(&self, name: Name) -> bool {
        self.seen & bit(name) != 0
    }

    fn get(&self, name: Name) -> Option<&'a [u8]> {
        self.values.as_ref()?.get(name as usize).copied().flatten()
    }

    fn trace(&self) -> Option<TraceId> {
        self.trace
            .or_else(|| self.get(Name::TraceId).and_then(hex::trace))
    }

    fn span(&self) -> Option<SpanId> {
        self.span
            .or_else(|| self.get(Name::SpanId).and_then(hex::span))
    }
}

impl Headers<'_> {
    /// What these headers say together.
    #[must_use]
    #[inline(always)]
    pub fn context(&self, order: Order) -> TraceContext {
        if self.values.is_none() {
            let Found { ids, decision, .. } = b3::read(self);
            return TraceContext { ids, decision };
        }
        self.of_values(order)
    }

    #[inline(never)]
    fn of_values(&self, order: Order) -> TraceContext {
        let parent = bit(Name::ParentSpanId);
        match self.seen & !parent {
            0 => TraceContext::default(),
            // Nobody else has a say.
            multi if multi & !MULTI == 0 => {
                let found = b3::multi(self);
                TraceContext {
                    ids: found.ids,
                    decision: found.decision,
                }
            }
            _ => self.of_several(order),
        }
    }

    fn of_several(&self, order: Order) -> TraceContext {
        let mut ids = None;
        let mut decision = Decision::Defer;
        let mut all = All::default();
        for format in order.0 {
            let found = match format {
                Format::B3Single if self.seen & bit(Name::B3) != 0 => b3::single(self),
                Format::B3Multi if self.seen & MULTI != 0 => b3::multi(self),
                Format::TraceParent if self.seen & bit(Name::TraceParent) != 0 => {
                    traceparent::read(self)
                }
                Format::Uber if self.seen & bit(Name::Uber) != 0 => uber::read(self),
                _ => continue,
            };
            all.note(&found);
            if ids.is_none() && found.ids.is_some() {
                ids = found.ids;
                decision = found.decision;
            }
        }
        TraceContext {
            ids,
            decision: match decision {
                Decision::Debug => Decision::Debug,
                Decision::Accept if !all.explicit_deny => Decision::Accept,
                Decision::Accept | Decision::Deny => Decision::Deny,
                // Ids without a decision leave it to the receiver; only a deny
                // of another format is a reason not to ask the sampler.
                Decision::Defer if ids.is_some() => match all.deny {
                    true => Decision::Deny,
                    false => Decision::Defer,
                },
                Decision::Defer if all.debug => Decision::Debug,
                Decision::Defer if all.deny => Decision::Deny,
                Decision::Defer if all.accept => Decision::Accept,
                Decision::Defer => Decision::Defer,
            },
        }
    }
}

/// What any of the formats says.
#[derive(Clone, Copy, Debug, Default)]
struct All {
    debug: bool,
    deny: bool,
    explicit_deny: bool,
    accept: bool,
}

impl All {
    fn note(&mut self, found: &Found) {
        self.debug |= found.decision == Decision::Debug;
        self.deny |= found.decision == Decision::Deny;
        self.explicit_deny |= found.explicit_deny;
        self.accept |= found.decision == Decision::Accept;
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
