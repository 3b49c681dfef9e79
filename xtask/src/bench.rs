//! `cargo xtask bench`: what tracing costs, in instructions.

use anyhow::{Result, bail};
use clap::Args;

/// Measure the cost of tracing.
#[derive(Args, Debug)]
pub(crate) struct Bench {}

impl Bench {
    /// Runs the benchmark and prints its table.
    ///
    /// # Errors
    /// Always, until it is written.
    pub(crate) fn run(&self) -> Result<i32> {
        bail!("the benchmark is not written yet")
    }
}
