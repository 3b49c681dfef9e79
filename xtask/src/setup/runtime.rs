//! A container runtime as nodes of a cluster have it, and what reads the
//! kernel's maps without the agent.

use std::path::PathBuf;

use anyhow::Result;

use super::unpacked::Unpacked;
use crate::cache::Cache;

/// containerd 1.6, runc 1.1 and bpftool 7, of one suite.
pub(super) const RUNTIME: Unpacked = Unpacked {
    what: "containerd and runc",
    entry: "runtime-bookworm",
    part: "runtime",
    suites: &["bookworm", "bookworm-security"],
    // The libraries are those that the programs link with.
    packages: &[
        "bpftool",
        "containerd",
        "libcap2",
        "libelf1",
        "libseccomp2",
        "runc",
        "zlib1g",
    ],
    // Suites know these places, too.
    programs: &[
        "usr/bin/containerd",
        "usr/bin/containerd-shim-runc-v2",
        "usr/bin/ctr",
        "usr/sbin/bpftool",
        "usr/sbin/runc",
    ],
};

/// Brings it unless it is there.
///
/// # Errors
/// If a package cannot be fetched or unpacked.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    RUNTIME.ensure(cache)
}

/// The root folder of what an earlier [`ensure`] has unpacked.
///
/// # Errors
/// If it is not there.
pub(crate) fn find(cache: &Cache) -> Result<PathBuf> {
    RUNTIME.find(cache)
}
