//! Kuma's resources in files: YAML of several documents, and JSON.
//!
//! [`load`] takes files and folders, all or nothing: one that cannot be read
//! or is wrong refuses them all, with every finding in every file. [`parse`]
//! does the same for one text, so that a body over HTTP or an object from the
//! Kubernetes API is held to the same rules.

mod dataplane;
mod document;
mod fields;
mod files;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod mesh;
mod relations;
#[cfg(test)]
mod tests;
mod traffic_trace;
mod value;
mod yaml;

pub use files::{Fingerprint, is_hidden, is_resource_file};
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_resources;
pub use value::{universal, values};

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Report;
use crate::policy::{Resource, Resources};

/// Bytes of a file that are read at most.
pub const MAX_FILE: u64 = 1 << 20;
/// Bytes of all files of a load at most.
pub const MAX_TOTAL: u64 = 64 << 20;
/// Files of a load at most.
pub const MAX_FILES: usize = 10_000;

/// Resources that can be used.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// They.
    pub resources: Arc<Resources>,
    /// Warnings: a report for each file that has any.
    pub reports: Vec<Report>,
    /// All files that were read, sorted.
    pub files: Vec<PathBuf>,
    /// What they were.
    pub fingerprint: Fingerprint,
}

/// What is wrong with resources, in all files. `Display` draws the reports.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{}", Drawn(reports))]
pub struct Refused {
    /// A report for each file that has findings, warnings among them.
    pub reports: Vec<Report>,
}

/// Files whose findings are drawn.
const DRAWN: usize = 50;

struct Drawn<'a>(&'a [Report]);

impl fmt::Display for Drawn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, report) in self.0.iter().take(DRAWN).enumerate() {
            if n > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{report}")?;
        }
        match self.0.len().saturating_sub(DRAWN) {
            0 => Ok(()),
            more => writeln!(f, "\n{more} more files with findings are not shown"),
        }
    }
}

/// Reads files and folders. Of a folder every `.yaml`, `.yml` and `.json`
/// counts, also in folders within it; hidden ones do not.
///
/// # Errors
/// All that is wrong with them.
pub fn load<P: AsRef<Path>>(paths: &[P]) -> Result<Loaded, Refused> {
    let (files, fingerprint) = files::read(paths);
    let mut texts = Vec::new();
    let mut unread = Vec::new();
    let mut names = Vec::new();
    for file in files {
        match file.text {
            Ok(text) => {
                texts.push((file.path.display().to_string(), text));
                names.push(file.path);
            }
            Err(report) => unread.push(report),
        }
    }
    let (resources, mut reports) = relations::together(texts);
    reports.extend(unread);
    reports.retain(|report| !report.findings.is_empty());
    if reports.iter().any(Report::has_errors) {
        return Err(Refused { reports });
    }
    Ok(Loaded {
        resources: Arc::new(resources),
        reports,
        files: names,
        fingerprint,
    })
}

/// What these files and folders are now: equal if and only if the same files
/// say the same (but for chance, 1 in 2^128). Reads them, and nothing else.
#[must_use]
pub fn fingerprint<P: AsRef<Path>>(paths: &[P]) -> Fingerprint {
    files::read(paths).1
}

/// A text that was read by itself.
#[derive(Clone, Debug)]
pub struct Parsed {
    /// The resources, in the order of the text. Not to be used if the report
    /// has errors.
    pub resources: Vec<Resource>,
    /// What is wrong.
    pub report: Report,
}

/// Validates a text of resources; `name` is what it is called in messages.
/// Relations between resources are not looked at.
#[must_use]
pub fn parse(name: &str, text: &str) -> Parsed {
    let (placed, findings) = document::read(text);
    Parsed {
        resources: placed.into_iter().map(|placed| placed.resource).collect(),
        report: Report {
            file: name.to_owned(),
            text: text.to_owned(),
            findings,
        },
    }
}
