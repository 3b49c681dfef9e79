//! When the configuration should be read again.
//!
//! Files are looked at, not listened to: that sees what inotify does not
//! (network file systems, the swapped links of a Kubernetes ConfigMap), and
//! costs a `stat` for each file.

use std::collections::BTreeMap;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hashbrown::HashSet;

use crate::config::resources::{MAX_FILES, is_hidden, is_resource_file};

/// How often files are looked at.
pub(super) const EVERY: Duration = Duration::from_millis(200);
/// Files that go on changing are read after this time all the same.
const PATIENCE: Duration = Duration::from_secs(1);
/// A file is read once more after this time, because a second change may have
/// got the same time stamp (one tick of the kernel's clock).
const SECOND_LOOK: Duration = Duration::from_millis(1100);

/// Files and folders that a configuration is made of.
#[derive(Debug)]
pub(super) struct Watch {
    paths: Vec<PathBuf>,
    seen: Looks,
    /// Since when they have been changing.
    changing: Option<Instant>,
    again: Option<Instant>,
}

/// What the files look like from outside.
type Looks = BTreeMap<PathBuf, Look>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Look {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Watch {
    /// Remembers what the files look like now.
    pub(super) fn new(paths: Vec<PathBuf>) -> Self {
        let seen = look(&paths);
        Self {
            paths,
            seen,
            changing: None,
            again: None,
        }
    }

    /// Whether the files should be read: they have changed and come to rest,
    /// or go on changing for too long.
    pub(super) fn poll(&mut self, now: Instant) -> bool {
        let looks = look(&self.paths);
        if looks != self.seen {
            self.seen = looks;
            let since = *self.changing.get_or_insert(now);
            if now.duration_since(since) < PATIENCE {
                return false;
            }
        }
        if self.changing.take().is_some() {
            self.again = Some(now + SECOND_LOOK);
            return true;
        }
        if self.again.is_some_and(|at| at <= now) {
            self.again = None;
            return true;
        }
        false
    }
}

fn look(paths: &[PathBuf]) -> Looks {
    let (mut looks, mut searched) = (Looks::new(), HashSet::new());
    for path in paths {
        // Follows links: those of a ConfigMap's folder lead to its files.
        if let Ok(meta) = fs::metadata(path) {
            add(path, &meta, &mut looks, &mut searched);
        }
    }
    looks
}

/// Files that are looked at; of more than that none are read.
const MOST: usize = 2 * MAX_FILES;

/// Looks at what would be read of a file or folder; a folder by another name
/// is not looked into again.
fn add(path: &Path, meta: &Metadata, looks: &mut Looks, searched: &mut HashSet<(u64, u64)>) {
    if meta.is_dir() && searched.insert((meta.dev(), meta.ino())) {
        for entry in fs::read_dir(path).into_iter().flatten().flatten() {
            let path = entry.path();
            if looks.len() >= MOST {
                return;
            }
            if is_hidden(&path) {
                continue;
            }
            let Ok(meta) = fs::metadata(&path) else {
                continue;
            };
            if meta.is_dir() || is_resource_file(&path) {
                add(&path, &meta, looks, searched);
            }
        }
    }
    let look = Look {
        device: meta.dev(),
        inode: meta.ino(),
        size: meta.size(),
        modified: (meta.mtime(), meta.mtime_nsec()),
        changed: (meta.ctime(), meta.ctime_nsec()),
    };
    looks.insert(path.to_owned(), look);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = EVERY;

    /// How many of the next polls ask for a read.
    fn reads(watch: &mut Watch, now: &mut Instant, polls: u32) -> u32 {
        let mut reads = 0;
        for _ in 0..polls {
            *now += TICK;
            reads += u32::from(watch.poll(*now));
        }
        reads
    }

    #[test]
    fn a_change_is_read_when_it_rests_and_once_more() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(vec![folder.path().to_owned()]);
        let mut now = Instant::now();
        assert_eq!(reads(&mut watch, &mut now, 20), 0);
        fs::write(&file, "ab").unwrap();
        assert_eq!(reads(&mut watch, &mut now, 1), 0);
        assert_eq!(reads(&mut watch, &mut now, 1), 1);
        assert_eq!(reads(&mut watch, &mut now, 20), 1);
        assert_eq!(reads(&mut watch, &mut now, 20), 0);
        // New and gone files are changes, too.
        fs::write(folder.path().join("b.yaml"), "").unwrap();
        assert_eq!(reads(&mut watch, &mut now, 20), 2);
        fs::remove_file(&file).unwrap();
        assert_eq!(reads(&mut watch, &mut now, 20), 2);
        fs::remove_dir_all(folder.path()).unwrap();
        assert_eq!(reads(&mut watch, &mut now, 20), 2);
    }

    #[test]
    fn what_is_not_read_is_not_looked_at() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at("inner/.git")).unwrap();
        for link in ["loop", "again", "inner/up"] {
            std::os::unix::fs::symlink(folder.path(), at(link)).unwrap();
        }
        fs::write(at("inner/a.yaml"), "a").unwrap();
        fs::write(at("inner/notes.txt"), "a").unwrap();
        let mut watch = Watch::new(vec![folder.path().to_owned()]);
        assert!(watch.seen.len() <= 6, "{:?}", watch.seen);
        let mut now = Instant::now();
        fs::write(at("inner/notes.txt"), "ab").unwrap();
        fs::write(at("inner/.git/a.yaml"), "ab").unwrap();
        assert_eq!(reads(&mut watch, &mut now, 20), 0);
        fs::write(at("inner/a.yaml"), "ab").unwrap();
        assert_eq!(reads(&mut watch, &mut now, 20), 2);
    }

    #[test]
    fn a_link_that_is_turned_is_a_change() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (data, text) in [("..1", "a"), ("..2", "b")] {
            fs::create_dir(at(data)).unwrap();
            fs::write(at(data).join("a.yaml"), text).unwrap();
        }
        std::os::unix::fs::symlink("..1", at("..data")).unwrap();
        std::os::unix::fs::symlink("..data/a.yaml", at("a.yaml")).unwrap();
        let mut watch = Watch::new(vec![at("a.yaml")]);
        let mut now = Instant::now();
        std::os::unix::fs::symlink("..2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_eq!(reads(&mut watch, &mut now, 20), 2);
    }

    #[test]
    fn what_never_rests_is_read_after_a_second() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        let mut watch = Watch::new(vec![file.clone()]);
        let mut now = Instant::now();
        let mut reads = 0;
        for round in 0..50 {
            fs::write(&file, "x".repeat(round)).unwrap();
            now += TICK;
            reads += u32::from(watch.poll(now));
        }
        assert!((8..=10).contains(&reads), "{reads}");
    }
}
