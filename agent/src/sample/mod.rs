//! Whether an exchange is reported. Pure.

use crate::http::context::Decision;
use crate::units::TraceId;

/// Decides where the request does not.
///
/// `&mut`, because limiters will count; the two below are functions of the
/// trace id, so that every node decides alike.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sampler {
    /// Always the same.
    Const(bool),
    /// A share of the traces.
    Probabilistic(Probabilistic),
}

impl Default for Sampler {
    /// Everything is traced.
    fn default() -> Self {
        Self::Const(true)
    }
}

impl Sampler {
    /// What it says of itself.
    #[must_use]
    pub const fn tag(&self) -> SamplerTag {
        match self {
            Self::Const(always) => SamplerTag::Const(*always),
            Self::Probabilistic(sampler) => SamplerTag::Probabilistic(sampler.rate),
        }
    }

    /// Whether a trace without a decision is reported.
    #[must_use]
    pub fn sample(&mut self, trace: TraceId) -> bool {
        match self {
            Self::Const(always) => *always,
            Self::Probabilistic(sampler) => sampler.sample(trace),
        }
    }
}

/// Jaeger's probabilistic sampler (`jaeger-client-go` 2.30, `sampler.go`): it
/// compares the lower 63 bits of the trace id. As there, rate 0 still samples
/// an id whose lower 63 bits are zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probabilistic {
    rate: f64,
    boundary: u64,
}

impl Probabilistic {
    /// 2^63 - 1.
    const MAX: u64 = u64::MAX >> 1;

    /// A sampler of this share; what is outside 0 to 1 is moved to the nearer
    /// end, as Jaeger does, and what is no number is 0.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        let rate = if rate.is_nan() {
            0.0
        } else {
            rate.clamp(0.0, 1.0)
        };
        // The product may round up to 2^63, which covers every id as it
        // should. The cast truncates, as Go's conversion does.
        let boundary = (Self::MAX as f64 * rate) as u64;
        Self { rate, boundary }
    }

    /// The share.
    #[must_use]
    pub const fn rate(self) -> f64 {
        self.rate
    }

    /// Whether a trace is within the share.
    #[must_use]
    pub const fn sample(self, trace: TraceId) -> bool {
        self.boundary >= trace.low() & Self::MAX
    }
}

/// The sampler that decided about a trace, as Jaeger's clients write it on the
/// trace's root (`jaeger-client-go` 2.15, `sampler.go`: tags `sampler.type`
/// and `sampler.param`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SamplerTag {
    /// All or nothing.
    Const(bool),
    /// This share of the traces.
    Probabilistic(f64),
    /// So many traces a second.
    RateLimiting(f64),
    /// A share of the traces that would not have been sampled but for the
    /// lower bound of its operation.
    LowerBound(f64),
}

impl SamplerTag {
    /// Value of the tag `sampler.type`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Const(_) => "const",
            Self::Probabilistic(_) => "probabilistic",
            Self::RateLimiting(_) => "ratelimiting",
            Self::LowerBound(_) => "lowerbound",
        }
    }
}

/// What was decided, and by whom.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// Report it.
    pub sampled: bool,
    /// Mark its span `debug`.
    pub debug: bool,
    /// Who decided.
    pub by: DecidedBy,
    /// What the root span says about that.
    pub tag: Option<SamplerTag>,
}

/// Who decided about an exchange: the reason in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// The request carries a decision.
    Request,
    /// It does not: the sampler.
    Sampler,
}

impl DecidedBy {
    /// The reason's name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Sampler => "sampler",
        }
    }
}

/// The decision that the request carries wins, also one that came without
/// ids; otherwise the sampler decides (DESIGN.md, Wire identity, rule 7).
#[must_use]
pub fn decide(carried: Decision, sampler: &mut Sampler, trace: TraceId) -> Verdict {
    let (sampled, by) = match carried {
        Decision::Deny => (false, DecidedBy::Request),
        Decision::Accept | Decision::Debug => (true, DecidedBy::Request),
        Decision::Defer => (sampler.sample(trace), DecidedBy::Sampler),
    };
    Verdict {
        sampled,
        debug: carried == Decision::Debug,
        by,
        tag: (by == DecidedBy::Sampler).then(|| sampler.tag()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(low: u64) -> TraceId {
        TraceId::new(1, low).unwrap()
    }

    #[test]
    fn the_request_decides_before_the_sampler() {
        use DecidedBy::{Request, Sampler as BySampler};
        for (carried, always, expected) in [
            (Decision::Deny, true, (false, false, Request)),
            (Decision::Accept, false, (true, false, Request)),
            (Decision::Debug, false, (true, true, Request)),
            (Decision::Defer, true, (true, false, BySampler)),
            (Decision::Defer, false, (false, false, BySampler)),
        ] {
            let verdict = decide(carried, &mut Sampler::Const(always), trace(1));
            assert_eq!((verdict.sampled, verdict.debug, verdict.by), expected);
        }
    }

    #[test]
    fn probabilistic_is_exact_at_the_boundary() {
        let half = Probabilistic::new(0.5);
        let boundary = 1 << 62;
        for (low, sampled) in [
            (boundary, true),
            (boundary + 1, false),
            (boundary | 1 << 63, true),
            ((boundary + 1) | 1 << 63, false),
            (0, true),
            (u64::MAX, false),
        ] {
            assert_eq!(half.sample(trace(low)), sampled, "{low:x}");
        }
        for (rate, low, sampled) in [
            (1.0, u64::MAX, true),
            (7.0, u64::MAX, true),
            (0.0, 1, false),
            (0.0, 1 << 63, true),
            (-1.0, 1, false),
            (f64::NAN, 1, false),
        ] {
            assert_eq!(
                Probabilistic::new(rate).sample(trace(low)),
                sampled,
                "{rate}"
            );
        }
    }

    #[test]
    fn both_widths_of_an_id_are_decided_alike() {
        let sampler = Probabilistic::new(0.3);
        for n in 1..1000u64 {
            let low = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let (narrow, wide) = (TraceId::new(0, low), TraceId::new(n, low));
            assert_eq!(
                sampler.sample(narrow.unwrap()),
                sampler.sample(wide.unwrap())
            );
        }
    }
}
