//! `cargo xtask gen`: files of the repository that are made from real kernels,
//! or from other files of it.

use std::fs;

use anyhow::{Context, Result};
use clap::{Args, Subcommand};

use crate::{kernel::Kernels, workspace::Workspace};

mod btf;
mod extract;
mod verified;

/// Write files of the repository anew that are made from real kernels, or from
/// other files.
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
    /// deploy/kubernetes: what `nodespan install` prints.
    Manifests,
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
            What::Manifests => manifests()?,
        }
        Ok(0)
    }
}

fn manifests() -> Result<()> {
    let folder = Workspace::load()?.root.join("deploy/kubernetes");
    for (name, text) in nodespan_deploy::kubernetes::rendered() {
        let path = folder.join(name);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        println!("{}", path.display());
    }
    Ok(())
}
