//! Who makes an image of a Dockerfile: Debian's buildah, which needs no daemon.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::unpacked::Unpacked;
use crate::cache::Cache;

/// buildah 1.28.
pub(super) const BUILDER: Unpacked = Unpacked {
    what: "buildah",
    entry: "builder-bookworm",
    part: "builder",
    suites: &["bookworm", "bookworm-security"],
    // The libraries are those that it links with, but for the C library's.
    packages: &[
        "buildah",
        "libassuan0",
        "libdevmapper1.02.1",
        "libgpg-error0",
        "libgpgme11",
        "libpcre2-8-0",
        "libseccomp2",
        "libselinux1",
        "libudev1",
    ],
    programs: &["usr/bin/buildah"],
};

/// Brings it unless it is there.
///
/// # Errors
/// If a package cannot be fetched or unpacked.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    BUILDER.ensure(cache)
}

/// Where an earlier [`ensure`] has put it.
#[derive(Clone, Debug)]
pub(crate) struct Builder {
    pub(crate) program: PathBuf,
    /// Folders of the libraries it needs, as `LD_LIBRARY_PATH` has them.
    pub(crate) libraries: String,
}

/// The program that an earlier [`ensure`] has unpacked.
///
/// # Errors
/// If it is not there.
pub(crate) fn find(cache: &Cache) -> Result<Builder> {
    let root = BUILDER.find(cache)?;
    let folder = |of: &Path| root.join(of).join("x86_64-linux-gnu");
    let folders = ["usr/lib", "lib"].map(|of| folder(Path::new(of)).display().to_string());
    Ok(Builder {
        program: root.join("usr/bin/buildah"),
        libraries: folders.join(":"),
    })
}
