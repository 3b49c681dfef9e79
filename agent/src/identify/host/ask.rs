//! What the host says about an owner.

use std::path::Path;

use procfs::process::Process;

use super::{Identifier, key_of};
use crate::identify::cgroup::CgroupOwner;
use crate::identify::command::command_name;
use crate::identify::kubepods::{Place, places};
use crate::identify::pods::Found;
use crate::identify::process::{cgroup_paths, comm_of, docker_name};
use crate::identify::{Origin, WorkloadKey};
use crate::units::{Comm, MonoNanos};

/// What the host says about an owner.
pub(super) enum Answer {
    Is(WorkloadKey, Origin),
    /// Ask when more is known of the cluster.
    Await(Vec<Place>),
    /// Ask for the process.
    PerProcess,
    /// There is no such process or cgroup (any more).
    Gone,
}

impl Identifier {
    /// Also what the process is called, if that was asked for.
    pub(super) fn ask_process(&self, pid: u32) -> (Answer, Option<Comm>) {
        let Some(process) = self.process(pid) else {
            return (Answer::Gone, None);
        };
        let paths = cgroup_paths(&process);
        let paths: Vec<&str> = paths.iter().map(|(_, path)| path.as_str()).collect();
        if let Some(answer) = self.name(&paths) {
            return (answer, None);
        }
        let Some(comm) = comm_of(&process) else {
            return (Answer::Gone, None);
        };
        let exe = process.exe().ok();
        let exe = exe.as_deref().and_then(Path::to_str);
        let args = process.cmdline().unwrap_or_default();
        let name = command_name(&comm.as_str_lossy(), exe, &args);
        // Another process of this id, even of this name, is another workload.
        let started = process.stat().map_or(0, |stat| stat.starttime);
        let key = key_of("process", &format!("{pid} {started}"));
        let answer = Answer::Is(key, Origin::Command(name.into()));
        (answer, Some(comm))
    }

    pub(super) fn ask_cgroup(&mut self, id: u64, pid: u32, now: MonoNanos) -> Answer {
        if let Some(path) = self.tree.listened(id) {
            return self.name(&[path]).unwrap_or(Answer::PerProcess);
        }
        let of_process = self.unified_path(pid);
        // The process may have moved, or its id may be another's by now.
        let path = match of_process {
            Some(path) if self.tree.is(&path, id) => Some(path),
            other => self
                .tree
                .path_of(id, now, &mut self.counters)
                // A cgroup namespace hides the tree outside of it.
                .or_else(|| other.filter(|path| path.starts_with("/.."))),
        };
        match path {
            None => Answer::Gone,
            Some(path) => self.name(&[&path]).unwrap_or(Answer::PerProcess),
        }
    }

    fn name(&self, paths: &[&str]) -> Option<Answer> {
        let pods = self.pods.as_ref();
        if let Some(pods) = pods {
            let mut all = paths.iter().map(|path| places(path));
            if let Some(places) = all.find(|places| !places.is_empty()) {
                return Some(match pods.find(&places) {
                    Some(found) => found.into(),
                    None => Answer::Await(places),
                });
            }
        }
        match CgroupOwner::of_paths(paths.iter().copied()) {
            CgroupOwner::Container(id) => {
                let of_pod = pods.and_then(|pods| pods.of_container(id));
                let plain = || {
                    Answer::Is(
                        key_of("container", id),
                        Origin::Container {
                            id: id.into(),
                            name: docker_name(&self.options.root, id).map(Into::into),
                        },
                    )
                };
                Some(of_pod.map_or_else(plain, Answer::from))
            }
            CgroupOwner::Unit { name, path } => {
                Some(Answer::Is(key_of("unit", path), Origin::Unit(name.into())))
            }
            CgroupOwner::Nobody => None,
        }
    }

    /// The path of a process's cgroup in the unified hierarchy.
    pub(super) fn unified_path(&self, pid: u32) -> Option<String> {
        let paths = cgroup_paths(&self.process(pid)?);
        let path = paths.into_iter().find(|(unified, _)| *unified);
        path.map(|(_, path)| self.tree.absolute(path))
    }

    fn process(&self, pid: u32) -> Option<Process> {
        if pid == 0 {
            return None;
        }
        let path = self.options.root.join("proc").join(pid.to_string());
        Process::new_with_root(path).ok()
    }
}

impl From<Found> for Answer {
    fn from(found: Found) -> Self {
        let Found { pod, container } = found;
        let key = key_of("container", &container);
        let name = pod.container(&container).cloned();
        let origin = Origin::Pod {
            pod,
            id: container,
            container: name,
        };
        Self::Is(key, origin)
    }
}
