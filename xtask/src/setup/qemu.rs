//! What boots a guest.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{apt, sh};

/// The programs that boot and serve a guest.
#[derive(Clone, Debug)]
pub(crate) struct Qemu {
    /// The emulator.
    pub(crate) emulator: PathBuf,
    /// The server of the host's files.
    pub(crate) virtiofsd: PathBuf,
    /// The statically linked busybox of the first stage.
    pub(crate) busybox: PathBuf,
}

/// Brings QEMU, virtiofsd and what unpacks kernels.
///
/// # Errors
/// If a package cannot be installed.
pub(crate) fn ensure() -> Result<()> {
    apt::install(&[
        "qemu-system-x86",
        "qemu-system-common",
        "busybox-static",
        "kmod",
        "xz-utils",
        "zstd",
        "iproute2",
        "util-linux",
    ])?;
    if virtiofsd().is_none() {
        apt::install(&["virtiofsd"])?; // A package of its own since Debian 13.
    }
    find().map(drop)
}

/// Finds them.
///
/// # Errors
/// If one is missing.
pub(crate) fn find() -> Result<Qemu> {
    let busybox = sh::which("busybox").context("busybox is missing (package busybox-static)")?;
    if !is_static(&busybox)? {
        bail!(
            "{} is not statically linked (package busybox-static)",
            busybox.display()
        );
    }
    Ok(Qemu {
        emulator: sh::which("qemu-system-x86_64")
            .context("qemu-system-x86_64 is missing (package qemu-system-x86)")?,
        virtiofsd: virtiofsd().context("virtiofsd is missing")?,
        busybox,
    })
}

fn virtiofsd() -> Option<PathBuf> {
    ["/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.exists())
        .or_else(|| sh::which("virtiofsd"))
}

/// A dynamic executable names its loader.
fn is_static(program: &Path) -> Result<bool> {
    let bytes = std::fs::read(program).with_context(|| format!("reading {}", program.display()))?;
    Ok(!bytes.windows(8).any(|window| window == b"/ld-linu"))
}
