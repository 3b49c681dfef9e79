//! Whether an exchange is traced, and where its span goes. Pure.
//!
//! A [`Plan`] is what a configuration and the resources beside it come to; it
//! never changes, a reload makes another one. The [`Decider`] asks it, and
//! remembers for each workload what does not depend on the single exchange.

mod decider;
mod members;
mod plan;
#[cfg(test)]
mod pod_tests;
mod pods;
#[cfg(test)]
mod tests;

pub use decider::{Chosen, Decider, NotTraced, Standing};
pub use plan::{Destinations, Plan, Policies, Route, Sampling, Selected};
