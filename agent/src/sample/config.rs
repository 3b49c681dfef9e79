//! What a sampler is made from.

use std::sync::Arc;

use super::fetch::SamplingUrl;
use super::remote::{PollOptions, Poller};
use super::sampler::Sampler;
use crate::ledger::Ledger;

/// Which sampler, and by what.
#[derive(Clone, Debug, PartialEq)]
pub enum SamplerConfig {
    /// All traces or none.
    Const(bool),
    /// A share of the traces, from 0 to 1, as Jaeger takes it.
    Probabilistic(f64),
    /// At most so many traces a second, per agent.
    RateLimiting(f64),
    /// A percentage of the traces, from 0 to 100: `sampling` of a backend in
    /// Kuma's `Mesh`.
    Percentage(f64),
    /// What Jaeger's sampling server says for each service.
    Remote {
        /// Where it is.
        url: SamplingUrl,
        /// The share of the traces until it has answered, from 0 to 1.
        initial: f64,
    },
}

impl Default for SamplerConfig {
    /// Everything is traced.
    fn default() -> Self {
        Self::Const(true)
    }
}

impl SamplerConfig {
    /// Whether the sampler may ask for the names of operations, so that the
    /// assembler has to give out request lines
    /// ([`assemble::Reading::lines`](crate::assemble::Reading::lines)).
    #[must_use]
    pub const fn needs_operations(&self) -> bool {
        matches!(self, Self::Remote { .. })
    }

    /// The sampler, and if a server decides, the task that asks it: to be run
    /// in a tokio runtime. It ends when the sampler is dropped.
    #[must_use]
    pub fn build(&self, ledger: &Arc<Ledger>) -> (Sampler, Option<Poller>) {
        let sampler = match self {
            Self::Const(always) => Sampler::always(*always),
            Self::Probabilistic(rate) => Sampler::probabilistic(*rate),
            Self::RateLimiting(rate) => Sampler::rate_limiting(*rate),
            Self::Percentage(percent) => Sampler::percentage(*percent),
            Self::Remote { url, initial } => {
                let (feed, poller) =
                    Poller::new(url.clone(), PollOptions::default(), Arc::clone(ledger));
                return (Sampler::remote(feed, *initial), Some(poller));
            }
        };
        (sampler, None)
    }
}
