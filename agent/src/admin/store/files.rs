//! A folder whose files are there whole or not at all.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::hash::Hash as _;
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::{FlockOperation, flock};
use serde_json::{Map, Value};
use siphasher::sip128::{Hasher128 as _, SipHasher24};

use crate::config::resources::MAX_FILE;
use crate::policy::{Kind, ResourceKey};

/// Files that begin like this are no resources ([`crate::config::resources`]).
const HIDDEN: &str = ".";
const TEMPORARY: &str = ".tmp";
const LOCK: &str = ".lock";
/// What is seen of a name in the name of its file.
const SHOWN: usize = 60;
/// How long another holder of the folder is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// Why a folder of resources cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refuses.
    #[error("{what} {}: {source}", path.display())]
    System {
        /// What was tried.
        what: &'static str,
        /// With what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another process has it.
    #[error("the folder {} is in use by another nodespan", .0.display())]
    InUse(PathBuf),
    /// The store only shows what others have.
    #[error("nothing is kept here: the store has no folder")]
    NoFolder,
    /// A file does not say what was written.
    #[error("the stored resource {} is damaged: {reason}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// A folder that is this process's own as long as it lives.
#[derive(Debug)]
pub(super) struct Folder {
    path: PathBuf,
    canonical: PathBuf,
    /// The folder itself, whose entries must reach the disk too.
    folder: File,
    _lock: File,
}

impl Folder {
    pub(super) fn open(path: &Path) -> Result<Self, StoreError> {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(path)
            .map_err(|source| system("making the folder", path, source))?;
        let canonical = fs::canonicalize(path).map_err(|source| system("finding", path, source))?;
        let folder =
            File::open(path).map_err(|source| system("opening the folder", path, source))?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&lock_path)
            .map_err(|source| system("opening", &lock_path, source))?;
        let patience = Instant::now();
        loop {
            match flock(&lock, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => break,
                // Whoever was killed may not be gone yet, and a process that is
                // just being started holds what its parent held.
                Err(rustix::io::Errno::WOULDBLOCK) if patience.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(20));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    return Err(StoreError::InUse(path.to_owned()));
                }
                Err(error) => return Err(system("locking", &lock_path, error.into())),
            }
        }
        Ok(Self {
            path: path.to_owned(),
            canonical,
            folder,
            _lock: lock,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a path is a file of this folder with one of these names.
    pub(super) fn has(&self, path: &Path, names: &BTreeSet<String>) -> bool {
        let name = path.file_name().and_then(|name| name.to_str());
        let parent = path
            .parent()
            .and_then(|parent| fs::canonicalize(parent).ok());
        name.is_some_and(|name| names.contains(name)) && parent.as_ref() == Some(&self.canonical)
    }

    /// All files of resources; what a process that was killed had begun is
    /// removed.
    pub(super) fn read(&self) -> Result<Vec<(PathBuf, String)>, StoreError> {
        let listed = |source| system("listing", &self.path, source);
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.path).map_err(listed)? {
            let entry = entry.map_err(listed)?;
            let path = entry.path();
            let name = entry.file_name();
            let name = name.to_string_lossy();
            if name.starts_with(HIDDEN) {
                if name.ends_with(TEMPORARY) {
                    fs::remove_file(&path).map_err(|source| system("removing", &path, source))?;
                }
                continue;
            }
            // Others are for `load`, which takes YAML and folders as well.
            if !name.ends_with(".json") {
                continue;
            }
            let text = text(&path).map_err(|source| system("reading", &path, source))?;
            found.push((path, text));
        }
        found.sort();
        Ok(found)
    }

    /// Writes a file: once this returns it is on the disk, and at no moment is
    /// there anything but the old one or the new one, whole.
    pub(super) fn write(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let temporary = self.path.join(format!("{HIDDEN}{name}{TEMPORARY}"));
        let path = self.path.join(name);
        let written = || {
            let mut file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &path)?;
            self.folder.sync_all()
        };
        written().map_err(|source| {
            // The next start would remove it too.
            let _ = fs::remove_file(&temporary);
            system("writing", &path, source)
        })
    }

    /// Removes a file for good.
    pub(super) fn remove(&self, name: &str) -> Result<(), StoreError> {
        let path = self.path.join(name);
        let removed = match fs::remove_file(&path) {
            // Somebody was quicker.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        };
        removed
            .and_then(|()| self.folder.sync_all())
            .map_err(|source| system("removing", &path, source))
    }
}

fn system(what: &'static str, path: &Path, source: io::Error) -> StoreError {
    StoreError::System {
        what,
        path: path.to_owned(),
        source,
    }
}

/// What a file says.
pub(super) fn text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?
        .take(MAX_FILE + 1)
        .read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!("longer than {MAX_FILE} bytes")));
    }
    Ok(text)
}

/// A resource as it is written.
pub(super) fn pretty(value: &Map<String, Value>) -> String {
    // A map whose keys are strings can always be written.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

/// The name of a resource's file: what people recognise, and a hash of the
/// identity, for names may be longer than those of files, and a mesh may be
/// called `..`.
pub(super) fn file_name(key: &ResourceKey) -> String {
    let mut hasher = SipHasher24::new();
    (key.kind.as_str(), &*key.mesh, &*key.name).hash(&mut hasher);
    let hash = hasher.finish128().as_u128();
    let shown = |name: &str| -> String {
        let safe = |c: char| match c {
            'a'..='z' | '0'..='9' | '-' | '.' => c,
            _ => '_',
        };
        name.chars().take(SHOWN).map(safe).collect()
    };
    let kind = key.kind.as_str().to_ascii_lowercase();
    let name = shown(&key.name);
    match key.kind {
        Kind::Mesh => format!("{kind}_{name}_{hash:032x}.json"),
        _ => format!("{kind}_{}_{name}_{hash:032x}.json", shown(&key.mesh)),
    }
}
