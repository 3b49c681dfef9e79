//! The cost of an exchange without the kernel: a replayed capture.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::Result;

use super::{capture, place::Unit};
use crate::bench::figures::Replay;

/// Replays a capture of so many exchanges, and one of a single connection.
///
/// # Errors
/// If a replay fails.
pub(super) fn measure(agent: &Path, out: &Path, exchanges: u64) -> Result<Replay> {
    let unit = Unit::new("replay", out)?;
    let dir = Path::new("/run/nodespan-bench");
    fs::create_dir_all(dir)?;
    let spend = |exchanges: u64| -> Result<u64> {
        let file = dir.join("replay.pcap");
        capture::write(&mut File::create(&file)?, exchanges)?;
        let arguments = [
            "replay".as_ref(),
            "--output".as_ref(),
            "none".as_ref(),
            file.as_os_str(),
        ];
        // Once for the caches, once for the figure.
        unit.run(agent, &arguments)?;
        let before = unit.used()?;
        unit.run(agent, &arguments)?;
        Ok(unit.used()? - before)
    };
    let small_exchanges = capture::PER_CONNECTION;
    Ok(Replay {
        small_exchanges,
        small_spent: spend(small_exchanges)?,
        exchanges,
        spent: spend(exchanges)?,
    })
}
