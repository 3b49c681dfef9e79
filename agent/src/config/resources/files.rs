//! Files of resources on a disk.

use std::fs;
use std::hash::Hasher as _;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use hashbrown::HashSet;
use siphasher::sip128::{Hasher128, SipHasher24};

use super::{MAX_FILE, MAX_FILES, MAX_TOTAL};
use crate::config::report::{Finding, Report, Severity};

/// Folders within each other at most.
const MAX_DEPTH: usize = 16;

/// What files and folders were when they were read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Fingerprint(u128);

/// A file.
pub(super) struct Read {
    pub(super) path: PathBuf,
    /// What it says, or why nobody knows.
    pub(super) text: Result<String, Report>,
}

/// Reads all files of these paths, sorted and each once.
pub(super) fn read<P: AsRef<Path>>(paths: &[P]) -> (Vec<Read>, Fingerprint) {
    let mut found = Found::default();
    for path in paths {
        found.path(path.as_ref());
    }
    found.files.sort();
    found.refused.sort();
    // One file by two of its names would be a conflict with itself.
    found.files.dedup_by_key(|(canonical, _)| canonical.clone());
    let mut hasher = SipHasher24::new();
    let mut total = 0;
    let mut files = Vec::new();
    for (_, path) in found.files {
        hasher.write(path.as_os_str().as_encoded_bytes());
        hasher.write_u8(0);
        let text = match bytes(&path, MAX_TOTAL.saturating_sub(total)) {
            Ok(bytes) => {
                total += bytes.len() as u64;
                hasher.write_usize(bytes.len());
                hasher.write(&bytes);
                utf8(&path, bytes)
            }
            Err(why) => {
                hasher.write(why.as_bytes());
                Err(refused(&path, why))
            }
        };
        files.push(Read { path, text });
    }
    for (path, why) in found.refused {
        hasher.write(path.as_os_str().as_encoded_bytes());
        hasher.write(why.as_bytes());
        let text = Err(refused(&path, why));
        files.push(Read { path, text });
    }
    let hash = hasher.finish128();
    (files, Fingerprint(hash.as_u128()))
}

#[derive(Default)]
struct Found {
    /// By the name that is the same however it was reached, and by the name
    /// that the user gave.
    files: Vec<(PathBuf, PathBuf)>,
    refused: Vec<(PathBuf, String)>,
    /// Folders that were searched: a symbolic link may lead back up.
    searched: HashSet<(u64, u64)>,
}

impl Found {
    /// A path that the user gave.
    fn path(&mut self, path: &Path) {
        match fs::metadata(path) {
            Ok(metadata) if metadata.is_dir() => self.folder(path, &metadata, 0),
            Ok(metadata) => self.file(path, &metadata),
            Err(error) => self.refuse(path, &error),
        }
    }

    fn file(&mut self, path: &Path, metadata: &fs::Metadata) {
        // A pipe would be waited for, a device has no end.
        if !metadata.is_file() {
            let why = "this is neither a file nor a folder".to_owned();
            self.refused.push((path.to_owned(), why));
            return;
        }
        if self.files.len() >= MAX_FILES {
            let why = format!("there are more than {MAX_FILES} files");
            if self.refused.last().is_none_or(|(_, last)| *last != why) {
                self.refused.push((path.to_owned(), why));
            }
            return;
        }
        let canonical = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        self.files.push((canonical, path.to_owned()));
    }

    fn folder(&mut self, folder: &Path, metadata: &fs::Metadata, depth: usize) {
        if !self.searched.insert((metadata.dev(), metadata.ino())) {
            return;
        }
        if depth >= MAX_DEPTH {
            let why = format!("more than {MAX_DEPTH} folders within each other");
            self.refused.push((folder.to_owned(), why));
            return;
        }
        let entries = match fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) => return self.refuse(folder, &error),
        };
        for entry in entries {
            let entry = match entry {
                Ok(entry) => entry,
                Err(error) => return self.refuse(folder, &error),
            };
            let path = entry.path();
            if is_hidden(&path) {
                continue;
            }
            match fs::metadata(&path) {
                Ok(metadata) if metadata.is_dir() => self.folder(&path, &metadata, depth + 1),
                Ok(metadata) if is_resource_file(&path) => self.file(&path, &metadata),
                Ok(_) => {}
                // A link to nowhere, or gone since it was listed.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => self.refuse(&path, &error),
            }
        }
    }

    fn refuse(&mut self, path: &Path, error: &io::Error) {
        let why = format!("cannot be read: {error}");
        self.refused.push((path.to_owned(), why));
    }
}

/// Whether a folder's entry is nobody's business: editors' files, and `..data`
/// of mounted ConfigMaps, whose files are linked beside it.
pub fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".")
}

/// Whether a folder's file is one of resources.
pub fn is_resource_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

/// What a file says, if that is no more than `left` bytes.
fn bytes(path: &Path, left: u64) -> Result<Vec<u8>, String> {
    let unread = |error: io::Error| format!("cannot be read: {error}");
    let file = fs::File::open(path).map_err(unread)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(unread)?;
    let len = bytes.len() as u64;
    if len > MAX_FILE {
        return Err(format!("is longer than {MAX_FILE} bytes"));
    }
    if len > left {
        return Err(format!(
            "all files together are longer than {MAX_TOTAL} bytes"
        ));
    }
    Ok(bytes)
}

fn utf8(path: &Path, bytes: Vec<u8>) -> Result<String, Report> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        let byte = error.as_bytes().get(at).copied().unwrap_or_default();
        let why = format!("is not UTF-8 text: byte {at} is 0x{byte:02x}");
        refused(path, why)
    })
}

/// A report about a file of which there is no text to show.
fn refused(path: &Path, message: String) -> Report {
    Report {
        file: path.display().to_string(),
        text: String::new(),
        findings: vec![Finding {
            severity: Severity::Error,
            field: String::new(),
            message,
            hint: None,
            span: 0..0,
        }],
    }
}
