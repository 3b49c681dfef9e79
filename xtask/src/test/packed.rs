//! That a release's bytes follow from what is packed.

use std::{collections::BTreeMap, env, fs, path::Path, process::Command};

use anyhow::{Context, Result, ensure};

use crate::{dist, scratch::ScratchDir, sh, workspace::Workspace};

/// Packs what was built for `rootfs` once more, as somebody else in another
/// place of the world would, and compares everything that is released.
///
/// Nothing is compiled anew, so it says nothing of the compiler: that the same
/// commit gives the same binaries on another machine it does not show.
///
/// # Errors
/// If a byte is another.
pub(super) fn check(workspace: &Workspace, rootfs: &Path) -> Result<()> {
    let scratch = ScratchDir::new()?;
    let (first, second) = (
        rootfs.parent().context("no folder")?,
        scratch.path().join("dist"),
    );
    // Another owner's rights, time zone and language, and another folder.
    let mut again = Command::new("sh");
    again
        .args(["-c", "umask 077 && exec \"$@\"", "sh"])
        .arg(env::current_exe()?)
        .args(["dist", "--out"])
        .arg(&second)
        .arg("--build")
        .arg(dist::build_folder(workspace))
        .current_dir(scratch.path())
        .envs([("TZ", "Asia/Kathmandu"), ("LC_ALL", "C")]);
    sh::quiet(&mut again)?;
    let (one, other) = (files(first)?, files(&second)?);
    // The folder may have more, of an earlier version.
    ensure!(other.len() >= 4, "there is only {:?}", other.keys());
    for (name, bytes) in &other {
        let before = one
            .get(name)
            .with_context(|| format!("there was no {name}"))?;
        let differs = before.iter().zip(bytes).position(|(a, b)| a != b);
        ensure!(
            before == bytes,
            "{name} is another: {} and {} bytes, from byte {differs:?} on",
            before.len(),
            bytes.len()
        );
    }
    Ok(())
}

fn files(folder: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            found.insert(name, fs::read(entry.path())?);
        }
    }
    Ok(found)
}
