//! Decisions, and who took them.

use crate::http::context::Decision;

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

/// What a sampler says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerVerdict {
    /// Report it.
    pub sampled: bool,
    /// It would be reported, but a rate limit is used up.
    pub limited: bool,
    /// What the root span says about the sampler, if it says anything.
    pub tag: Option<SamplerTag>,
}

impl SamplerVerdict {
    pub(super) const fn new(sampled: bool, tag: SamplerTag) -> Self {
        Self {
            sampled,
            limited: false,
            tag: Some(tag),
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
    /// What the root span says about the sampler that decided.
    pub tag: Option<SamplerTag>,
}

/// Who decided about an exchange: the reason in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecidedBy {
    /// The request carries a decision.
    Request,
    /// It does not: the sampler.
    Sampler,
    /// The sampler, because its limit was used up.
    RateLimit,
}

impl DecidedBy {
    /// The reason's name in the ledger.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Sampler => "sampler",
            Self::RateLimit => "rate_limit",
        }
    }
}

/// The decision that the request carries wins, also one that came without
/// ids; otherwise the sampler is asked (ARCHITECTURE.md, Identity, rule 7). It
/// is not asked, and spends nothing, where the request decides.
#[inline(always)]
#[must_use]
pub fn decide(carried: Decision, sampler: impl FnOnce() -> SamplerVerdict) -> Verdict {
    let by_request = |sampled, debug| Verdict {
        sampled,
        debug,
        by: DecidedBy::Request,
        tag: None,
    };
    match carried {
        Decision::Deny => by_request(false, false),
        Decision::Accept => by_request(true, false),
        Decision::Debug => by_request(true, true),
        Decision::Defer => {
            let verdict = sampler();
            Verdict {
                sampled: verdict.sampled,
                debug: false,
                by: match verdict.limited {
                    true => DecidedBy::RateLimit,
                    false => DecidedBy::Sampler,
                },
                tag: verdict.tag,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_request_decides_before_the_sampler() {
        use DecidedBy::{RateLimit, Request, Sampler};
        let tag = SamplerTag::RateLimiting(1.0);
        for (carried, sampled, limited, expected) in [
            (Decision::Deny, true, false, (false, false, Request)),
            (Decision::Accept, false, false, (true, false, Request)),
            (Decision::Debug, false, true, (true, true, Request)),
            (Decision::Defer, true, false, (true, false, Sampler)),
            (Decision::Defer, false, false, (false, false, Sampler)),
            (Decision::Defer, false, true, (false, false, RateLimit)),
        ] {
            let mut asked = false;
            let verdict = decide(carried, || {
                asked = true;
                SamplerVerdict {
                    sampled,
                    limited,
                    tag: Some(tag),
                }
            });
            assert_eq!((verdict.sampled, verdict.debug, verdict.by), expected);
            assert_eq!(asked, carried == Decision::Defer);
            assert_eq!(verdict.tag.is_some(), asked);
        }
    }
}
