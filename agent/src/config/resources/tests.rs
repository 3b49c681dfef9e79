//! Resources in files.

mod disk;
mod forms;
mod hostile;
mod related;
mod violations;

use super::*;
use crate::config::Severity;
use crate::policy::{Engine, Kind, Mesh, ResourceKey, TrafficTrace};

/// A text without errors and warnings.
pub(super) fn fine(text: &str) -> Vec<Resource> {
    let parsed = parse("r.yaml", text);
    assert_eq!(parsed.report.findings, [], "{}", parsed.report);
    parsed.resources
}

/// Severity, field and message of all findings, in the order of their places.
pub(super) fn findings(text: &str) -> Vec<(Severity, String, String)> {
    let parsed = parse("r.yaml", text);
    let findings = parsed.report.findings.into_iter();
    findings
        .map(|finding| (finding.severity, finding.field, finding.message))
        .collect()
}

pub(super) fn mesh(resource: &Resource) -> &Mesh {
    match resource {
        Resource::Mesh(mesh) => mesh,
        other => panic!("{other:?}"),
    }
}

pub(super) fn policy(resource: &Resource) -> &TrafficTrace {
    match resource {
        Resource::TrafficTrace(trace) => trace,
        other => panic!("{other:?}"),
    }
}

/// An example of the document that the project started from, as it is there.
pub(super) fn seed(name: &str) -> String {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/seeds");
    std::fs::read_to_string(folder.join(name)).unwrap()
}
