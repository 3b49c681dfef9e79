//! The sampler of one service, which a server can change.

use super::limiter::Limiter;
use super::memory::Memory;
use super::operations::Operations;
use super::probability::Probabilistic;
use super::strategy::Strategy;
use super::{SamplerTag, SamplerVerdict};
use crate::units::{MonoNanos, TraceId};

/// Jaeger's rate-limiting sampler.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RateLimiting(Limiter);

impl RateLimiting {
    pub(super) fn new(rate: f64) -> Self {
        Self(Limiter::new(rate))
    }

    pub(super) fn decide(&mut self, now: MonoNanos) -> SamplerVerdict {
        let sampled = self.0.take(now);
        SamplerVerdict {
            sampled,
            limited: !sampled,
            tag: Some(SamplerTag::RateLimiting(self.0.rate())),
        }
    }
}

/// Decides for one service.
#[derive(Clone, Debug)]
pub(super) enum Service {
    Probabilistic(Probabilistic),
    RateLimiting(RateLimiting),
    Operations(Operations),
}

impl Service {
    /// Takes another strategy. One of the same kind keeps its balances.
    pub(super) fn update(&mut self, strategy: &Strategy, now: MonoNanos) {
        match (&mut *self, strategy) {
            (_, Strategy::Probabilistic(rate)) => {
                *self = Self::Probabilistic(Probabilistic::new(*rate));
            }
            (Self::RateLimiting(RateLimiting(limiter)), Strategy::RateLimiting(rate)) => {
                limiter.update(*rate, now);
            }
            (_, Strategy::RateLimiting(rate)) => {
                *self = Self::RateLimiting(RateLimiting::new(*rate));
            }
            (
                Self::Operations(operations),
                Strategy::Operations {
                    default,
                    lower_bound,
                    rates,
                },
            ) => operations.update(*default, *lower_bound, rates, now),
            (
                _,
                Strategy::Operations {
                    default,
                    lower_bound,
                    rates,
                },
            ) => {
                let mut operations = Operations::new(*default, *lower_bound);
                operations.update(*default, *lower_bound, rates, now);
                *self = Self::Operations(operations);
            }
        }
    }

    /// How many operations it knows that no server listed.
    pub(super) const fn learned(&self) -> usize {
        match self {
            Self::Operations(operations) => operations.learned(),
            Self::Probabilistic(_) | Self::RateLimiting(_) => 0,
        }
    }

    /// Decides about a trace; `operation` writes the span's name into the
    /// buffer, and `may_learn` says whether there is room for a new one.
    pub(super) fn decide(
        &mut self,
        memory: &mut Memory,
        buffer: &mut Vec<u8>,
        operation: impl FnOnce(&mut Vec<u8>),
        may_learn: bool,
        trace: TraceId,
        now: MonoNanos,
    ) -> SamplerVerdict {
        match self {
            Self::Probabilistic(share) => {
                let tag = SamplerTag::Probabilistic(share.rate());
                SamplerVerdict::new(share.sample(trace), tag)
            }
            Self::RateLimiting(limiting) => memory.recall(trace, now, || limiting.decide(now)),
            Self::Operations(operations) => memory.recall(trace, now, || {
                buffer.clear();
                operation(buffer);
                operations.decide(buffer, may_learn, trace, now)
            }),
        }
    }
}
