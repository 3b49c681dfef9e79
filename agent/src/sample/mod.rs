//! Whether an exchange is reported. Pure, but for the [poller](Poller) that
//! asks a sampling server.
//!
//! The samplers are those of Jaeger's Go client (`jaeger-client-go` 2.30,
//! `sampler.go`, `sampler_remote.go`, `utils/rate_limiter.go`), exact to the
//! boundary, and a percentage for Kuma's `sampling`. What a client need not
//! care about and a node agent must: one trace is seen many times here, at
//! both ends of each call and by every service of the node. So what is a
//! function of the trace id stays one, and what is not is remembered for the
//! trace (ARCHITECTURE.md, Identity, rule 7).

mod config;
mod decision;
mod fetch;
mod limiter;
mod memory;
mod operations;
mod probability;
mod remote;
mod sampler;
mod service;
mod strategy;
#[cfg(test)]
mod tests;

pub use config::SamplerConfig;
pub use decision::{DecidedBy, SamplerTag, SamplerVerdict, Verdict, decide};
pub use fetch::{SamplingUrl, SamplingUrlError};
pub use probability::{Percentage, Probabilistic};
pub use remote::{PollOptions, Poller};
pub use sampler::{Sampler, SamplerCounters};
pub use strategy::{OperationRate, Strategy, StrategyError};
