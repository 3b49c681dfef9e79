//! `nodespan.toml` → validated [`Settings`].
//!
//! `[agent]`, `[capture]`, `[export]` and `[admin]` are strict: an unknown key
//! is an error. `[tracing]` is Traefik's and read as Traefik reads it. Every
//! mistake of a file that is TOML is found in one run and shown at its place.

mod admin;
mod delivery;
mod kubernetes;
mod read;
mod report;
pub mod resources;
mod sections;
mod settings;
mod table;
#[cfg(test)]
mod tests;
mod tracing;
mod url;

pub use crate::nearest::nearest;
pub use report::{Finding, Place, Report, Severity};
pub use settings::{
    Admin, Agent, Capture, Export, Kubernetes, Listen, Output, Settings, Tracing, TracingBackend,
    ZipkinFormat,
};

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// Bytes of a configuration, or of a key file, that are read at most.
const MAX_CONFIG: u64 = 1 << 20;
const MAX_KEY: u64 = 64 << 10;

/// A configuration that can be used.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded {
    /// What it says.
    pub settings: Settings,
    /// Warnings.
    pub report: Report,
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It is a directory.
    #[error("the configuration {} is a directory, wanted a TOML file", path.display())]
    Directory {
        /// Which.
        path: PathBuf,
    },
    /// It is a pipe, a socket or a device: read again, it would be waited for,
    /// or be empty.
    #[error("the configuration {} is not a file, so it cannot be read again when it changes", path.display())]
    NotAFile {
        /// Which.
        path: PathBuf,
    },
    /// It is longer than any configuration.
    #[error("the configuration {} is longer than {MAX_CONFIG} bytes", path.display())]
    TooLong {
        /// Which file.
        path: PathBuf,
    },
    /// It is not UTF-8, which TOML files are (TOML 1.0, "Spec").
    #[error("the configuration {} is not UTF-8 text: byte {at} is 0x{byte:02x}", path.display())]
    NotUtf8 {
        /// Which file.
        path: PathBuf,
        /// Place of the first wrong byte, from 0.
        at: usize,
        /// That byte.
        byte: u8,
    },
    /// It says something wrong.
    #[error("{0}")]
    Invalid(Box<Report>),
}

/// Reads and validates a file.
///
/// # Errors
/// It cannot be read, or is wrong.
pub fn load(path: &Path) -> Result<Loaded, LoadError> {
    let failed = |source| LoadError::Read {
        path: path.to_owned(),
        source,
    };
    if path.is_dir() {
        return Err(LoadError::Directory {
            path: path.to_owned(),
        });
    }
    let bytes = read_at_most(path, MAX_CONFIG).map_err(failed)?;
    let Some(bytes) = bytes else {
        return Err(LoadError::TooLong {
            path: path.to_owned(),
        });
    };
    let text = String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        LoadError::NotUtf8 {
            path: path.to_owned(),
            at,
            byte: error.as_bytes().get(at).copied().unwrap_or_default(),
        }
    })?;
    let folder = path.parent().unwrap_or(Path::new(""));
    parse(&path.display().to_string(), &text, folder)
}

/// Validates a text; `file` is its name in messages, paths in it are relative
/// to `folder`.
///
/// # Errors
/// [`LoadError::Invalid`].
pub fn parse(file: &str, text: &str, folder: &Path) -> Result<Loaded, LoadError> {
    let (settings, findings) = read::read(file, text, folder);
    let report = Report {
        file: file.to_owned(),
        text: text.to_owned(),
        findings,
    };
    if report.has_errors() {
        return Err(LoadError::Invalid(Box::new(report)));
    }
    Ok(Loaded { settings, report })
}

/// The file's bytes, `None` if there are more than `most`.
fn read_at_most(path: &Path, most: u64) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(most + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() as u64 <= most).then_some(bytes))
}
