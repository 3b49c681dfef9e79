//! `cargo xtask gen`: files of the repository that are made from real kernels.

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::kernel::Kernels;

mod btf;
mod extract;
mod verified;

/// Write files of the repository anew that are made from real kernels.
#[derive(Args, Debug)]
pub(crate) struct Generate {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// tests/data/btf: what each kernel says of what the probes use.
    Btf {
        /// 5.10, 6.1, 6.12, 7, several with commas, or all.
        #[arg(long, default_value = "all")]
        kernel: Kernels,
    },
    /// tests/data/verified-instructions.json: how much of each program each
    /// kernel's verifier goes through.
    Verified {
        /// 5.10, 6.1, 6.12, 7, several with commas, or all.
        #[arg(long, default_value = "all")]
        kernel: Kernels,
    },
}

impl Generate {
    /// Prints what was written.
    ///
    /// # Errors
    /// If a guest does not run, or has not what is expected.
    pub(crate) fn run(&self) -> Result<i32> {
        match &self.what {
            What::Btf { kernel } => btf::run(&kernel.0)?,
            What::Verified { kernel } => verified::run(&kernel.0)?,
        }
        Ok(0)
    }
}
