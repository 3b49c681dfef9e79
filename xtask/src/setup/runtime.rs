//! A container runtime as nodes of a cluster have it, and what reads the
//! kernel's maps without the agent: Debian's packages, unpacked into the cache
//! and never installed, so that nothing of them runs on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{apt::PrivateApt, cache::Cache, sh};

/// containerd 1.6, runc 1.1 and bpftool 7, of one suite.
const SUITES: &[&str] = &["bookworm", "bookworm-security"];
const ENTRY: &str = "runtime-bookworm";

/// The libraries are those that the programs link with.
const PACKAGES: &[&str] = &[
    "bpftool",
    "containerd",
    "libcap2",
    "libelf1",
    "libseccomp2",
    "runc",
    "zlib1g",
];

/// What must be there afterwards; suites know these places, too.
const PROGRAMS: &[&str] = &[
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/bin/ctr",
    "usr/sbin/bpftool",
    "usr/sbin/runc",
];

/// Brings it unless it is there.
///
/// # Errors
/// If a package cannot be fetched or unpacked.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    let path = cache.path(ENTRY);
    if path.exists() {
        return Ok(path);
    }
    let apt = PrivateApt::open(cache, SUITES)?;
    sh::step("fetching containerd and runc", || {
        cache.entry(ENTRY, |dir| {
            let packages: Vec<String> = PACKAGES.iter().map(|&name| name.to_owned()).collect();
            apt.unpack(&packages, dir)?;
            complete(dir)
        })
    })
}

/// The root folder of what an earlier [`ensure`] has unpacked.
///
/// # Errors
/// If it is not there.
pub(crate) fn find(cache: &Cache) -> Result<PathBuf> {
    let path = cache.path(ENTRY);
    if !path.exists() {
        bail!("{} is missing: cargo xtask setup runtime", path.display());
    }
    Ok(path)
}

fn complete(dir: &Path) -> Result<()> {
    PROGRAMS.iter().try_for_each(|program| {
        let file = dir.join(program);
        file.metadata()
            .map(drop)
            .with_context(|| format!("the packages hold no {program}"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::scratch::ScratchDir;

    #[test]
    fn a_missing_program_is_named() {
        let dir = ScratchDir::new().unwrap();
        for program in PROGRAMS {
            let said = complete(dir.path()).unwrap_err().to_string();
            assert!(said.contains(program), "{said}");
            let file = dir.path().join(program);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        complete(dir.path()).unwrap();
    }
}
