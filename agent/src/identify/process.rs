//! What `/proc` and a container runtime's files say.

use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use procfs::process::Process;
use serde::Deserialize;

use crate::units::Comm;

/// Which of the processes that have had this id it is, none if there is none.
///
/// An inode of procfs belongs to one process for good, not to its id
/// (`proc_pid_make_inode`, `pid_revalidate` in `fs/proc/base.c`). Under memory
/// pressure a process may get another, and is then looked at once more. It is
/// asked for at every record, which reading a start time would be too slow for.
pub(super) fn instance(root: &Path, pid: u32) -> Option<u64> {
    let path = root.join("proc").join(pid.to_string());
    fs::metadata(path).ok().map(|meta| meta.ino())
}

/// The process's command name.
pub(super) fn comm_of(process: &Process) -> Option<Comm> {
    let mut comm = Vec::new();
    let file = process.open_relative("comm").ok()?;
    file.take(64).read_to_end(&mut comm).ok()?;
    Some(Comm::new(&comm))
}

/// All cgroup paths of a process; true for the one of cgroup v2. What says
/// most comes first: v2, systemd's own hierarchy, the others.
pub(super) fn cgroup_paths(process: &Process) -> Vec<(bool, String)> {
    let mut paths: Vec<_> = process
        .cgroups()
        .map(|groups| groups.0)
        .unwrap_or_default()
        .into_iter()
        .map(|group| {
            let unified = group.hierarchy == 0;
            let systemd = group.controllers.iter().any(|name| name == "name=systemd");
            // The kernel says so where the directory was removed.
            let path = match group.pathname.strip_suffix(" (deleted)") {
                Some(path) => path.to_owned(),
                None => group.pathname,
            };
            (!unified, !systemd, path)
        })
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|(legacy, _, path)| (!legacy, path))
        .collect()
}

/// The name that Docker gave a container, where its files can be read.
pub(super) fn docker_name(root: &Path, id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "Name")]
        name: String,
    }
    let path = root
        .join("var/lib/docker/containers")
        .join(id)
        .join("config.v2.json");
    let config: Config = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let name = config.name.trim_start_matches('/');
    (!name.is_empty()).then(|| name.to_owned())
}
