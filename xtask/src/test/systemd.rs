//! What systemd says of the unit.

use std::{fs, path::Path, process::Command};

use anyhow::{Result, bail, ensure};

use crate::{apt, scratch::ScratchDir, sh, workspace::Workspace};

/// `systemd-analyze security` gives points for what a service could do, 0 to
/// 10; here in tenths. What is left of ours: the network, the process ids of
/// the host, `CAP_SYS_PTRACE` and what else an observer needs.
const EXPOSURE: &str = "--threshold=30";

/// systemd knows every line of the unit, and finds nothing in it that is more
/// open than it has to be.
///
/// # Errors
/// With what it says.
pub(super) fn check(workspace: &Workspace, agent: &Path) -> Result<()> {
    if sh::which("systemd-analyze").is_none() {
        apt::install(&["systemd"])?;
    }
    let unit = fs::read_to_string(workspace.root.join("deploy/nodespan.service"))?;
    let installed = "ExecStart=/usr/local/bin/nodespan ";
    ensure!(unit.contains(installed), "the unit has no {installed}");
    // systemd wants to see the program, and it is not installed here.
    let unit = unit.replace(installed, &format!("ExecStart={} ", agent.display()));
    let scratch = ScratchDir::new()?;
    let path = scratch.path().join("nodespan.service");
    fs::write(&path, unit)?;
    analyze(&["verify", "--man=no"], &path)?;
    // Offline: before systemd 250 that cannot be asked of a file.
    analyze(
        &["security", "--offline=true", "--no-pager", EXPOSURE],
        &path,
    )
}

/// Unknown keys are only warned of, so nothing may be said on standard error.
fn analyze(arguments: &[&str], unit: &Path) -> Result<()> {
    let output = Command::new("systemd-analyze")
        .args(arguments)
        .arg(unit)
        .output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() || !said.trim().is_empty() {
        let table = String::from_utf8_lossy(&output.stdout);
        bail!(
            "systemd-analyze {}: {}\n{said}{}",
            arguments.join(" "),
            output.status,
            sh::last_lines(&table, 3)
        );
    }
    Ok(())
}
