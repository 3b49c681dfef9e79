//! The kernel's maps, read by bpftool and not by the agent.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::Value;

use super::runtime::in_packages;
use crate::children::run;

const LIMIT: Duration = Duration::from_secs(60);

/// What the selection map says of an owner (`agent_ebpf::Verdict`).
pub(super) const WATCHED: u64 = 1;
/// See [`WATCHED`].
pub(super) const IGNORED: u64 = 2;

/// What a process's key in it has (`agent_ebpf::OWNER_PROCESS`).
pub(super) const PROCESS: u64 = 1 << 60;

/// The maps of the one agent of this kernel.
#[derive(Clone, Debug)]
pub(super) struct Maps {
    packages: PathBuf,
}

/// How many entries those maps have whose entries come and go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) owners: usize,
    pub(super) sockets: usize,
    pub(super) skips: usize,
}

impl Maps {
    pub(super) fn new(packages: &Path) -> Self {
        Self {
            packages: packages.to_owned(),
        }
    }

    pub(super) fn sizes(&self) -> Result<Sizes> {
        let size = |name| anyhow::Ok(self.entries(name)?.len());
        Ok(Sizes {
            owners: size("OWNERS")?,
            sockets: size("SOCKETS")?,
            skips: size("SKIPS")?,
        })
    }

    /// Whom the selection map has though they are no more: cgroups by their
    /// ids, and processes.
    pub(super) fn owners_gone(&self) -> Result<Vec<u64>> {
        // Before the tree is looked at: what comes meanwhile is not gone.
        let entries = self.entries("OWNERS")?;
        let mut there = BTreeSet::new();
        let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
        while let Some(folder) = folders.pop() {
            // It may have gone just now.
            let Ok(found) = fs::metadata(&folder) else {
                continue;
            };
            there.insert(found.ino());
            let entries = fs::read_dir(&folder).into_iter().flatten().flatten();
            let inner = entries.filter(|one| one.file_type().is_ok_and(|kind| kind.is_dir()));
            folders.extend(inner.map(|one| one.path()));
        }
        let is_there = |owner: u64| match owner & PROCESS {
            0 => there.contains(&owner),
            _ => Path::new("/proc")
                .join((owner ^ PROCESS).to_string())
                .exists(),
        };
        let owners = entries.into_iter().map(|(owner, _)| owner);
        Ok(owners.filter(|owner| !is_there(*owner)).collect())
    }

    /// What the selection map says of a cgroup; none if nothing.
    pub(super) fn verdict(&self, cgroup: u64) -> Result<Option<u64>> {
        let mut entries = self.entries("OWNERS")?.into_iter();
        let found = entries.find_map(|(key, value)| (key == cgroup).then_some(value));
        Ok(found)
    }

    /// First eight bytes of keys and values.
    fn entries(&self, name: &str) -> Result<Vec<(u64, u64)>> {
        let mut tool = in_packages(&self.packages, "usr/sbin/bpftool");
        tool.args(["--json", "map", "dump", "name", name]);
        let said = run(&mut tool, LIMIT)?;
        let said: Value = serde_json::from_str(&said).with_context(|| said.clone())?;
        let entries = said.as_array().context("no array of entries")?.iter();
        entries
            .map(|entry| Some((number(&entry["key"])?, number(&entry["value"])?)))
            .collect::<Option<_>>()
            .with_context(|| format!("{name}: {said}"))
    }
}

/// From `["0x1f", …]`, the least significant byte first.
fn number(bytes: &Value) -> Option<u64> {
    let bytes = bytes.as_array()?.iter().take(8).rev();
    bytes.map(byte).try_fold(0, |n, byte| Some(n << 8 | byte?))
}

fn byte(value: &Value) -> Option<u64> {
    u64::from_str_radix(value.as_str()?.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_begin_with_their_least_byte() {
        let bytes = json!([
            "0x02", "0x01", "0x00", "0x00", "0x00", "0x00", "0x00", "0x80", "0x7"
        ]);
        assert_eq!(number(&bytes), Some(0x8000_0000_0000_0102));
        assert_eq!(number(&json!(["2"])), None);
        assert_eq!(number(&json!(2)), None);
    }
}
