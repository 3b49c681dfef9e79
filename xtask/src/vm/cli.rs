//! `cargo xtask vm`.

use std::{ffi::OsString, path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use clap::Args;

use super::{Guest, Idle};
use crate::kernel::Kernels;

/// Run a command as root in a guest with this machine's files.
#[derive(Args, Debug)]
pub(crate) struct Vm {
    /// 5.10, 6.1, 6.12, 7, several with commas, or all (one after the other).
    #[arg(long, default_value = "6.12")]
    kernel: Kernels,
    /// Memory, as 512M or 3G.
    #[arg(long, default_value = "3G", value_parser = parse_memory)]
    memory: u32,
    /// Processors; they share one thread of the host.
    #[arg(long, default_value_t = 2)]
    smp: u32,
    /// Count instructions instead of time: one a nanosecond, one processor.
    /// Time in which there is nothing to do is skipped.
    #[arg(long)]
    icount: bool,
    /// Seconds after which the guest is ended.
    #[arg(long, default_value_t = 1800)]
    timeout: u64,
    /// A folder that the command may write to, at the same path. May be repeated.
    #[arg(long, value_name = "DIR")]
    share: Vec<PathBuf>,
    /// A network in which 10.0.2.2 is the host's loopback.
    #[arg(long)]
    net: bool,
    /// Keep the kernel's console in this file.
    #[arg(long, value_name = "FILE")]
    console: Option<PathBuf>,
    /// The command.
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

impl Vm {
    /// Returns the first exit status that is not zero.
    ///
    /// # Errors
    /// If a guest ends without an exit status.
    pub(crate) fn run(self) -> Result<i32> {
        let mut worst = 0;
        for kernel in &self.kernel.0 {
            if self.kernel.0.len() > 1 {
                eprintln!("[xtask] kernel {kernel}");
            }
            let mut guest = Guest::new(*kernel)
                .memory_mib(self.memory)
                .processors_set(self.smp)
                .timeout(Duration::from_secs(self.timeout));
            if self.icount {
                guest = guest.with_icount(Idle::Skipped);
            }
            if self.net {
                guest = guest.with_net();
            }
            for share in &self.share {
                let dir = share
                    .canonicalize()
                    .with_context(|| format!("the share {}", share.display()))?;
                if !dir.is_dir() {
                    bail!("the share {} is no folder", dir.display());
                }
                guest = guest.share(dir);
            }
            if let Some(file) = &self.console {
                guest = guest.console(file);
            }
            let code = guest.run(&self.command)?;
            if worst == 0 {
                worst = code;
            }
        }
        Ok(worst)
    }
}

fn parse_memory(text: &str) -> Result<u32, String> {
    let (number, factor) = match text.strip_suffix('G') {
        Some(number) => (number, 1024),
        None => (text.strip_suffix('M').unwrap_or(text), 1),
    };
    number
        .parse::<u32>()
        .ok()
        .and_then(|n| n.checked_mul(factor))
        .filter(|mib| *mib >= 256)
        .ok_or_else(|| format!("{text} is no amount of memory (at least 256M)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_has_units() {
        assert_eq!(parse_memory("3G"), Ok(3072));
        assert_eq!(parse_memory("512M"), Ok(512));
        assert!(parse_memory("1").is_err());
        assert!(parse_memory("many").is_err());
    }
}
