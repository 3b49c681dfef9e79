//! All cgroups by their ids, kept up to date by inotify.
//!
//! A pod may be over, and its cgroups removed, before its records are read;
//! and a walk through the tree for each unknown id is too slow for a node
//! where pods come and go. So where there are pods each directory of the tree
//! is listened to: a cgroup is known when it is made, before anything runs in
//! it, and for [`REMEMBERED`] after it was removed.
//!
//! `mkdir` and `rmdir` in cgroupfs are seen by inotify like any other, from
//! 5.10 to 7; that a directory itself was removed (`IN_DELETE_SELF`) is only
//! said by the newest of these, so it is the parent that tells.

use std::collections::VecDeque;
use std::fs;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags};
use rustix::io::Errno;

use super::tree::inode;
use crate::units::MonoNanos;

/// How long a cgroup's path is known after it was removed: its last records
/// are on their way, and exchanges of it may be held.
const REMEMBERED: u64 = 60_000_000_000;
/// Directories that are listened to at most, and so many that are remembered.
const MAX: usize = 16_384;

/// The tree of cgroups.
#[derive(Debug)]
pub(super) struct Cgroups {
    root: PathBuf,
    inotify: OwnedFd,
    by_id: HashMap<u64, Cgroup, FxBuildHasher>,
    by_path: HashMap<Arc<str>, (u64, i32)>,
    by_watch: HashMap<i32, Arc<str>, FxBuildHasher>,
    /// Removed ones, the oldest first.
    removed: VecDeque<(MonoNanos, u64)>,
    /// There are more than [`MAX`], or the kernel refused to listen.
    partly: bool,
    /// That has been logged.
    warned: bool,
}

#[derive(Debug)]
struct Cgroup {
    path: Arc<str>,
    removed: Option<MonoNanos>,
}

/// What one event says.
enum Said {
    /// In this directory one of this name was made (true) or removed.
    Entry(Arc<str>, String, bool),
    /// Events were lost.
    Overflow,
    Nothing,
}

impl Cgroups {
    /// Listens to the tree below this directory and looks at all that is there.
    ///
    /// # Errors
    /// The kernel gives no inotify.
    pub(super) fn listen(root: PathBuf) -> Result<Self, Errno> {
        let mut cgroups = Self {
            root,
            inotify: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            by_id: HashMap::default(),
            by_path: HashMap::default(),
            by_watch: HashMap::default(),
            removed: VecDeque::new(),
            partly: false,
            warned: false,
        };
        cgroups.add_all("/", &mut |_| {});
        Ok(cgroups)
    }

    /// The path of a cgroup that is there, or was a short time ago.
    pub(super) fn path(&self, id: u64) -> Option<&Arc<str>> {
        self.by_id.get(&id).map(|cgroup| &cgroup.path)
    }

    /// Whether a cgroup is there, if that is known.
    pub(super) fn is_there(&self, id: u64) -> Option<bool> {
        match self.by_id.get(&id) {
            Some(cgroup) => Some(cgroup.removed.is_none()),
            None => (!self.partly).then_some(false),
        }
    }

    /// Takes what has happened, and says of each id that has come into use.
    /// Whatever was known of it before was of another cgroup.
    pub(super) fn look(&mut self, now: MonoNanos, mut made: impl FnMut(u64)) {
        let mut lost = false;
        for said in self.events() {
            match said {
                Said::Entry(parent, name, true) => {
                    self.add_all(&join(&parent, &name), &mut made);
                }
                Said::Entry(parent, name, false) => self.remove_all(&join(&parent, &name), now),
                Said::Overflow => lost = true,
                Said::Nothing => {}
            }
        }
        if lost {
            self.compare(now, &mut made);
        }
        while let Some(removed) = self
            .removed
            .pop_front_if(|(at, _)| now.since(*at) > REMEMBERED)
        {
            self.forget(removed);
        }
    }

    fn events(&self) -> Vec<Said> {
        let mut all = Vec::new();
        let mut buffer = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.inotify, &mut buffer);
        // Until there is nothing to read, or reading fails.
        while let Ok(event) = reader.next() {
            let made = event.events().contains(ReadFlags::CREATE);
            let parent = self.by_watch.get(&event.wd());
            let name = event.file_name().and_then(|name| name.to_str().ok());
            all.push(match (parent, name) {
                _ if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => Said::Overflow,
                (Some(parent), Some(name)) if event.events().contains(ReadFlags::ISDIR) => {
                    Said::Entry(Arc::clone(parent), name.to_owned(), made)
                }
                // It was made in a directory that is listened to only from
                // now on: looking at that one will find it.
                _ => Said::Nothing,
            });
        }
        all
    }

    /// Listens to a directory and all below it.
    fn add_all(&mut self, path: &str, made: &mut impl FnMut(u64)) {
        let mut queue = VecDeque::from([path.to_owned()]);
        while let Some(path) = queue.pop_front() {
            if self.by_path.len() >= MAX {
                self.fall_short(&format!("there are more than {MAX}"));
                return;
            }
            let place = self.root.join(path.trim_start_matches('/'));
            // Before it is looked at, so that nothing falls between.
            let flags = WatchFlags::CREATE | WatchFlags::DELETE | WatchFlags::ONLYDIR;
            let watch = match inotify::add_watch(&self.inotify, &place, flags) {
                Ok(watch) => watch,
                Err(Errno::NOENT) => continue,
                Err(error) => {
                    let more = match error {
                        Errno::NOSPC => " (fs.inotify.max_user_watches)",
                        _ => "",
                    };
                    self.fall_short(&format!("listening to {path}: {error}{more}"));
                    continue;
                }
            };
            let Some(id) = inode(&place) else {
                self.unwatch(watch);
                continue;
            };
            self.add(&path, id, watch, made);
            for entry in fs::read_dir(&place).into_iter().flatten().flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir())
                    && let Some(name) = entry.file_name().to_str()
                {
                    queue.push_back(join(&path, name));
                }
            }
        }
    }

    /// From now on a cgroup may be there that is not known; told once.
    fn fall_short(&mut self, why: &str) {
        self.partly = true;
        if !self.warned {
            self.warned = true;
            tracing::warn!(
                "not all cgroups are known before they are asked for, so short-lived pods may be \
                 traced without their names: {why}"
            );
        }
    }

    fn add(&mut self, path: &str, id: u64, watch: i32, made: &mut impl FnMut(u64)) {
        let path: Arc<str> = path.into();
        match self.by_path.insert(Arc::clone(&path), (id, watch)) {
            // It was found in the directory above before its event was read.
            Some(old) if old == (id, watch) => return,
            Some((old, other)) if old != id => {
                self.by_id.remove(&old);
                self.forget_watch(other, watch);
            }
            Some((_, other)) => self.forget_watch(other, watch),
            None => {}
        }
        self.by_watch.insert(watch, Arc::clone(&path));
        let cgroup = Cgroup {
            path: Arc::clone(&path),
            removed: None,
        };
        let before = self.by_id.insert(id, cgroup);
        if let Some(before) = before
            && before.path != path
            && let Some((of, old)) = self.by_path.get(&before.path).copied()
            && of == id
        {
            // Its removal is still to be read.
            self.by_path.remove(&before.path);
            self.forget_watch(old, watch);
        }
        made(id);
    }

    /// A directory is gone, and what was below it.
    fn remove_all(&mut self, path: &str, now: MonoNanos) {
        let Some((id, watch)) = self.by_path.remove(path) else {
            return;
        };
        if self.by_watch.get(&watch).is_some_and(|of| **of == *path) {
            self.by_watch.remove(&watch);
        }
        self.unwatch(watch);
        if let Some(cgroup) = self.by_id.get_mut(&id)
            && *cgroup.path == *path
        {
            cgroup.removed = Some(now);
            self.removed.push_back((now, id));
        }
        while self.removed.len() > MAX
            && let Some(removed) = self.removed.pop_front()
        {
            self.forget(removed);
        }
    }

    /// Forgets a cgroup that was removed then, unless its id is in use again.
    fn forget(&mut self, (at, id): (MonoNanos, u64)) {
        if self
            .by_id
            .get(&id)
            .is_some_and(|one| one.removed == Some(at))
        {
            self.by_id.remove(&id);
        }
    }

    /// Looks at all anew.
    fn compare(&mut self, now: MonoNanos, made: &mut impl FnMut(u64)) {
        let known: Vec<_> = self
            .by_path
            .iter()
            .map(|(path, (id, _))| (Arc::clone(path), *id))
            .collect();
        for (path, id) in known {
            if inode(&self.root.join(path.trim_start_matches('/'))) != Some(id) {
                self.remove_all(&path, now);
            }
        }
        self.partly = false;
        self.add_all("/", made);
    }

    fn forget_watch(&mut self, old: i32, new: i32) {
        if old != new {
            self.by_watch.remove(&old);
            self.unwatch(old);
        }
    }

    fn unwatch(&self, watch: i32) {
        // The kernel may have done so already.
        let _gone = inotify::remove_watch(&self.inotify, watch);
    }

    /// How many are known: there, listened to, in all.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 3] {
        [self.by_path.len(), self.by_watch.len(), self.by_id.len()]
    }
}

fn join(parent: &str, name: &str) -> String {
    format!("{}/{name}", parent.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use proptest::prelude::*;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn make(root: &Path, path: &str) -> u64 {
        fs::create_dir_all(root.join(path)).unwrap();
        inode(&root.join(path)).unwrap()
    }

    fn look(cgroups: &mut Cgroups, seconds: u64) -> Vec<u64> {
        let mut made = Vec::new();
        cgroups.look(MonoNanos(seconds * SECOND), |id| made.push(id));
        made
    }

    #[test]
    fn a_cgroup_is_known_from_its_making_until_a_minute_after_its_removal() {
        let root = tempfile::tempdir().unwrap();
        let old = make(root.path(), "old");
        let mut cgroups = Cgroups::listen(root.path().to_owned()).unwrap();
        let path = |cgroups: &Cgroups, id| cgroups.path(id).map(ToString::to_string);
        assert_eq!(path(&cgroups, old).as_deref(), Some("/old"));
        let new = make(root.path(), "kubepods/pod1/a");
        assert_eq!(cgroups.path(new), None);
        let made = look(&mut cgroups, 1);
        assert!(made.contains(&new) && made.len() == 3, "{made:?}");
        assert_eq!(path(&cgroups, new).as_deref(), Some("/kubepods/pod1/a"));
        assert_eq!(cgroups.is_there(new), Some(true));
        for path in ["kubepods/pod1/a", "kubepods/pod1"] {
            fs::remove_dir(root.path().join(path)).unwrap();
        }
        assert!(look(&mut cgroups, 2).is_empty());
        assert_eq!(path(&cgroups, new).as_deref(), Some("/kubepods/pod1/a"));
        assert_eq!(cgroups.is_there(new), Some(false));
        look(&mut cgroups, 62);
        assert!(cgroups.path(new).is_some());
        look(&mut cgroups, 63);
        assert_eq!(cgroups.path(new), None);
        assert_eq!(cgroups.is_there(new), Some(false));
        // The root, `old` and `kubepods`.
        assert_eq!(cgroups.sizes(), [3, 3, 3]);
    }

    /// As after `fs.inotify.max_user_watches`; a file where a directory should
    /// be is refused as well.
    #[test]
    fn what_cannot_be_listened_to_is_told_once() {
        let root = tempfile::tempdir().unwrap();
        let mut cgroups = Cgroups::listen(root.path().to_owned()).unwrap();
        assert!(!cgroups.warned && cgroups.is_there(1) == Some(false));
        for name in ["a", "b"] {
            fs::write(root.path().join(name), "").unwrap();
        }
        cgroups.add_all("/a", &mut |_| {});
        cgroups.add_all("/b", &mut |_| {});
        assert!(cgroups.warned && cgroups.is_there(1).is_none());
    }

    #[test]
    fn lost_events_are_made_up_for() {
        let root = tempfile::tempdir().unwrap();
        let old = make(root.path(), "old");
        let mut cgroups = Cgroups::listen(root.path().to_owned()).unwrap();
        fs::remove_dir(root.path().join("old")).unwrap();
        let new = make(root.path(), "a/b");
        drop(cgroups.events());
        let mut made = Vec::new();
        cgroups.compare(MonoNanos(SECOND), &mut |id| made.push(id));
        assert!(made.contains(&new));
        assert_eq!(cgroups.path(new).map(|path| &**path), Some("/a/b"));
        // The file system may have given the id away again.
        assert!(cgroups.is_there(old) == Some(false) || made.contains(&old));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Directories come and go, and come again by the same name or the
        /// same inode; what is known is what is there.
        #[test]
        fn what_is_known_is_what_is_there(
            steps in prop::collection::vec((0_usize..3, 0_usize..3, 0_usize..4), 1..60),
        ) {
            let root = tempfile::tempdir().unwrap();
            let mut cgroups = Cgroups::listen(root.path().to_owned()).unwrap();
            for (n, (pod, container, what)) in steps.into_iter().enumerate() {
                let pod = root.path().join(format!("pod{pod}"));
                let path = pod.join(format!("c{container}"));
                match what {
                    0 | 1 => fs::create_dir_all(&path).unwrap(),
                    2 => drop(fs::remove_dir(&path)),
                    _ => {
                        drop(fs::remove_dir_all(&pod));
                    }
                }
                if n % 3 == 0 {
                    cgroups.look(MonoNanos(n as u64 * SECOND), |_| {});
                    check(root.path(), &cgroups)?;
                }
            }
            cgroups.look(MonoNanos(1000 * SECOND), |_| {});
            check(root.path(), &cgroups)?;
            cgroups.look(MonoNanos(2000 * SECOND), |_| {});
            let [there, watched, known] = cgroups.sizes();
            prop_assert!(there == watched && there == known, "{:?}", cgroups.sizes());
        }
    }

    fn check(root: &Path, cgroups: &Cgroups) -> Result<(), TestCaseError> {
        let mut count = 1;
        let list = |path: &Path| {
            fs::read_dir(path)
                .unwrap()
                .map(|entry| entry.unwrap().path())
        };
        for pod in list(root) {
            for path in list(&pod).chain([pod.clone()]) {
                count += 1;
                let id = inode(&path).unwrap();
                let expected = format!("/{}", path.strip_prefix(root).unwrap().display());
                let found = cgroups.path(id).map(ToString::to_string);
                prop_assert_eq!(found, Some(expected));
                prop_assert_eq!(cgroups.is_there(id), Some(true));
            }
        }
        prop_assert_eq!(cgroups.sizes()[0], count);
        Ok(())
    }
}
