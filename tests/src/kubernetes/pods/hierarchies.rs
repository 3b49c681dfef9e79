//! Hierarchies of cgroup v1, as hosts have them whose systemd uses its legacy
//! or its hybrid layout, for the whole guest.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::children::{command, run};

const AT: &str = "/sys/fs/cgroup";
/// Without these runc starts nothing; no kernel has lost them.
const NEEDED: [&str; 4] = ["devices", "freezer", "cpu", "pids"];
const LIMIT: Duration = Duration::from_secs(30);

/// Puts the hierarchies of v1 in the place of v2, each controller that this
/// kernel still has at one of its own, and systemd's, which has none. Says
/// which controllers there are. Nothing may have used v2 before.
pub(super) fn mount_v1() -> Result<Vec<String>> {
    let known = fs::read_to_string("/proc/cgroups").context("/proc/cgroups")?;
    mount(&["umount", "-l"], AT)?;
    mount(&["mount", "-t", "tmpfs", "none"], AT)?;
    let names = known.lines().filter(|line| !line.starts_with('#'));
    let names = names.filter_map(|line| line.split_whitespace().next());
    let mut mounted = Vec::new();
    for name in names {
        // From 6.11 on a kernel may have a controller and none of its files
        // for v1 (CONFIG_MEMCG_V1, CONFIG_CPUSETS_V1); it refuses.
        if mount_at(name, name).is_ok() {
            mounted.push(name.to_owned());
        }
    }
    mount_at("systemd", "none,name=systemd")?;
    let missing: Vec<_> = NEEDED
        .iter()
        .filter(|name| !mounted.iter().any(|one| one == *name))
        .collect();
    ensure!(missing.is_empty(), "no {missing:?} among {mounted:?}");
    Ok(mounted)
}

/// The hybrid layout: v2 beside them, without controllers.
pub(super) fn mount_unified() -> Result<()> {
    let at = format!("{AT}/unified");
    fs::create_dir(&at)?;
    mount(&["mount", "-t", "cgroup2", "none"], &at)?;
    ensure!(Path::new(&at).join("cgroup.procs").exists(), "no {at}");
    Ok(())
}

fn mount_at(name: &str, options: &str) -> Result<()> {
    let at = format!("{AT}/{name}");
    fs::create_dir(&at)?;
    let mounted = mount(&["mount", "-t", "cgroup", "-o", options, "none"], &at);
    if mounted.is_err() {
        fs::remove_dir(&at)?;
    }
    mounted
}

fn mount(words: &[&str], at: &str) -> Result<()> {
    run(command(words).arg(at), LIMIT).map(drop)
}

/// A process's cgroups: of v2, none where it is in the root or there is none,
/// and in each hierarchy of v1.
pub(super) fn of_process(pid: u32) -> Result<(Option<String>, Vec<String>)> {
    let text = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
    let paths = text.lines().filter_map(|line| {
        let mut words = line.splitn(3, ':');
        Some((words.next()?, words.nth(1)?))
    });
    let (unified, legacy): (Vec<_>, Vec<_>) = paths.partition(|(number, _)| *number == "0");
    let unified = unified.first().map(|(_, path)| (*path).to_owned());
    Ok((
        unified.filter(|path| path != "/"),
        legacy
            .into_iter()
            .map(|(_, path)| path.to_owned())
            .collect(),
    ))
}
