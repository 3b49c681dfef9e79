//! `cargo xtask demo`: a small mesh, the agent, a real Zipkin.

use anyhow::{Result, bail};
use clap::Args;

/// Show traces of a small mesh in a real Zipkin.
#[derive(Args, Debug)]
pub(crate) struct Demo {}

impl Demo {
    /// Runs the demonstration to its end.
    ///
    /// # Errors
    /// Always, until it is written.
    pub(crate) fn run(&self) -> Result<i32> {
        bail!("the demo is not written yet")
    }
}
