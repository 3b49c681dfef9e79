//! The tree of cgroups, in which ids are found.

use std::collections::VecDeque;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::cgroups::Cgroups;
use super::host::Counters;
use crate::units::MonoNanos;

const SECOND: u64 = 1_000_000_000;

/// The mounted cgroup v2 hierarchy. A cgroup's id is its directory's inode
/// number (`kernfs_node` ids, 64 bits since 5.5).
#[derive(Debug)]
pub(super) struct CgroupTree {
    root: Option<PathBuf>,
    /// All cgroups are below the root, not a container's own alone.
    whole: bool,
    /// Where in the tree this process's cgroup namespace begins, if that is not
    /// at its root: what `/proc` says of other processes is relative to it.
    inside: Option<String>,
    paths: HashMap<u64, String, FxBuildHasher>,
    walked: Option<MonoNanos>,
    /// Where there are pods: the same, kept up to date.
    listened: Option<Cgroups>,
}

impl CgroupTree {
    /// Cgroups that are looked at in one walk.
    const MAX: usize = 65_536;

    pub(super) fn find(root: &Path) -> Self {
        // Unified, or beside v1 (systemd's hybrid layout).
        let mounted = ["sys/fs/cgroup", "sys/fs/cgroup/unified"]
            .map(|path| root.join(path))
            .into_iter()
            .find(|path| path.join("cgroup.procs").exists());
        // A container sees its own part of it, unless it may look into the
        // host's first process. The root of all is the one without this file.
        let hosts = root.join("proc/1/root/sys/fs/cgroup");
        let is_part = |path: &PathBuf| path.join("cgroup.events").exists();
        let is_whole = |path: &PathBuf| path.join("cgroup.procs").exists() && !is_part(path);
        let (root, whole, part) = match mounted {
            Some(part) if is_part(&part) && is_whole(&hosts) => (Some(hosts), true, Some(part)),
            Some(part) => {
                let whole = !is_part(&part);
                (Some(part), whole, None)
            }
            None => (None, false, None),
        };
        let mut tree = Self {
            root,
            whole,
            inside: None,
            paths: HashMap::default(),
            walked: None,
            listened: None,
        };
        if let (Some(root), Some(part)) = (tree.root.clone(), part)
            && let Some(own) = inode(&part)
        {
            tree.walk(&root);
            tree.inside = tree.paths.get(&own).cloned();
        }
        tree
    }

    /// A path that `/proc` says, from the tree's root.
    pub(super) fn absolute(&self, path: String) -> String {
        let Some(inside) = &self.inside else {
            return path;
        };
        let (mut base, mut rest) = (inside.as_str(), path.as_str());
        let is_whole = |above: &&str| above.is_empty() || above.starts_with('/');
        while let Some(above) = rest.strip_prefix("/..").filter(is_whole) {
            base = base.rsplit_once('/').map_or("", |(parent, _)| parent);
            rest = above;
        }
        match format!("{base}{}", rest.trim_end_matches('/')) {
            root if root.is_empty() => "/".to_owned(),
            path => path,
        }
    }

    /// Keeps all cgroups known from now on.
    pub(super) fn listen(&mut self) {
        let root = self.root.as_ref().filter(|_| self.whole);
        let Some(root) = root.filter(|_| self.listened.is_none()).cloned() else {
            return;
        };
        match Cgroups::listen(root) {
            Ok(cgroups) => self.listened = Some(cgroups),
            Err(error) => tracing::warn!(
                "cgroups of pods that are soon over may not be found: inotify: {error}"
            ),
        }
    }

    /// Takes what has happened in the tree, and says of each id that is in use
    /// by another cgroup now.
    pub(super) fn look(&mut self, now: MonoNanos, made: impl FnMut(u64)) {
        if let Some(cgroups) = &mut self.listened {
            cgroups.look(now, made);
        }
    }

    /// The path of a cgroup, if all are kept known.
    pub(super) fn listened(&self, id: u64) -> Option<&str> {
        self.listened.as_ref()?.path(id).map(|path| &**path)
    }

    /// Whether a cgroup is known to be gone.
    pub(super) fn is_gone(&self, id: u64) -> bool {
        let cgroups = self.listened.as_ref();
        cgroups.and_then(|cgroups| cgroups.is_there(id)) == Some(false)
    }

    /// How many cgroups are kept known.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        let all = self.listened.as_ref().map(Cgroups::sizes);
        all.map_or(0, |[_, _, known]| known)
    }

    /// Whether this path is that cgroup. Without a tree to look at it is
    /// believed.
    pub(super) fn is(&self, path: &str, id: u64) -> bool {
        self.root
            .as_ref()
            .is_none_or(|root| inode(&root.join(path.trim_start_matches('/'))) == Some(id))
    }

    /// The processes of the cgroup at this path; none where the tree cannot be
    /// looked at.
    pub(super) fn processes(&self, path: &str) -> Vec<u32> {
        let file = self
            .root
            .as_ref()
            .map(|root| root.join(path.trim_start_matches('/')).join("cgroup.procs"));
        let text = file.and_then(|file| fs::read_to_string(file).ok());
        let lines = text.iter().flat_map(|text| text.lines());
        lines.filter_map(|line| line.parse().ok()).collect()
    }

    /// The path of a cgroup, by a walk through all of them; once a second at
    /// most, because unknown ids are most likely of cgroups that are gone.
    pub(super) fn path_of(
        &mut self,
        id: u64,
        now: MonoNanos,
        counters: &mut Counters,
    ) -> Option<String> {
        let root = self.root.clone()?;
        if let Some(path) = self.paths.get(&id)
            && self.is(path, id)
        {
            return Some(path.clone());
        }
        if self.walked.is_some_and(|walked| now.since(walked) < SECOND) {
            return None;
        }
        self.walked = Some(now);
        counters.walks += 1;
        self.walk(&root);
        self.paths.get(&id).cloned()
    }

    fn walk(&mut self, root: &Path) {
        self.paths.clear();
        let mut queue = VecDeque::from([String::new()]);
        while let Some(path) = queue.pop_front()
            && self.paths.len() < Self::MAX
        {
            let directory = root.join(path.trim_start_matches('/'));
            let Some(id) = inode(&directory) else {
                continue;
            };
            for entry in fs::read_dir(&directory).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && let Some(name) = entry.file_name().to_str()
                {
                    queue.push_back(format!("{path}/{name}"));
                }
            }
            let path = if path.is_empty() {
                "/".to_owned()
            } else {
                path
            };
            self.paths.insert(id, path);
        }
    }
}

pub(super) fn inode(path: &Path) -> Option<u64> {
    fs::metadata(path).ok().map(|meta| meta.ino())
}
