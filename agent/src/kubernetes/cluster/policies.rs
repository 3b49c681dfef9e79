//! Meshes and policies of the API.
//!
//! An object that is invalid is refused alone. What it said last that was
//! valid stays, as it does with files, until it is corrected or deleted or the
//! agent starts anew; one that never was valid is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde_json::{Map, Value};

use super::Round;
use crate::config::resources;
use crate::kubernetes::kind::Kind;
use crate::policy::{self, Mesh, Resource, Resources, TrafficTrace, nearest_backend};

#[derive(Debug, Default)]
pub(super) struct Policies {
    known: BTreeMap<(Kind, Arc<str>), Policy>,
    /// How many of a kind.
    counts: BTreeMap<Kind, usize>,
    /// None where something has changed.
    resources: Option<Arc<Resources>>,
}

#[derive(Debug)]
struct Policy {
    round: Round,
    uid: Arc<str>,
    version: Arc<str>,
    generation: i64,
    valid: Option<Valid>,
    refused: Option<Arc<str>>,
}

#[derive(Clone, Debug)]
struct Valid {
    resource: Resource,
    /// The object, as JSON: people are shown all that was said.
    said: Arc<str>,
}

/// An object that is invalid.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a str,
    /// `metadata.resourceVersion`: it is another refusal when that changes.
    pub version: &'a str,
    /// What is wrong, each with its field.
    pub reason: &'a str,
    /// Whether what it said before stays in force.
    pub has_valid: bool,
}

/// What a person should hear about an object, once for each of its
/// generations.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Notice {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: Arc<str>,
    /// `metadata.uid`
    pub uid: Arc<str>,
    /// `metadata.resourceVersion`
    pub version: Arc<str>,
    /// `metadata.generation`
    pub generation: i64,
    /// In a word: `Invalid`, `UnknownMesh`, `UnknownBackend`, `NoBackend`.
    pub reason: &'static str,
    /// In a sentence.
    pub message: String,
}

impl Policies {
    pub(super) fn keep(
        &mut self,
        kind: Kind,
        metadata: &ObjectMeta,
        object: &Map<String, Value>,
        round: Round,
    ) {
        let text = |text: &Option<String>| Arc::from(text.as_deref().unwrap_or_default());
        let name: Arc<str> = text(&metadata.name);
        let version: Arc<str> = text(&metadata.resource_version);
        let key = (kind, name);
        let old = self.known.remove(&key);
        let is_new = old.is_none();
        let same = |old: &Policy| !version.is_empty() && old.version == version;
        let policy = match old {
            Some(old) if same(&old) => Policy { round, ..old },
            old => {
                self.resources = None;
                let (valid, refused) = match read(kind, &key.1, object) {
                    Ok(valid) => (Some(valid), None),
                    Err(reason) => (old.and_then(|old| old.valid), Some(reason.into())),
                };
                Policy {
                    round,
                    uid: text(&metadata.uid),
                    version,
                    generation: metadata.generation.unwrap_or_default(),
                    valid,
                    refused,
                }
            }
        };
        self.known.insert(key, policy);
        if is_new {
            *self.counts.entry(kind).or_default() += 1;
        }
    }

    pub(super) fn forget(&mut self, kind: Kind, name: &str) {
        if self.known.remove(&(kind, Arc::from(name))).is_some() {
            self.resources = None;
            *self.counts.entry(kind).or_default() -= 1;
        }
    }

    pub(super) fn has(&self, kind: Kind, name: &str) -> bool {
        self.known.contains_key(&(kind, Arc::from(name)))
    }

    pub(super) fn forget_others(&mut self, kind: Kind, round: Round) {
        let before = self.known.len();
        self.known
            .retain(|(of, _), policy| *of != kind || policy.round == round);
        let gone = before - self.known.len();
        if gone > 0 {
            self.resources = None;
            *self.counts.entry(kind).or_default() -= gone;
        }
    }

    pub(super) fn count(&self, kind: Kind) -> usize {
        self.counts.get(&kind).copied().unwrap_or_default()
    }

    pub(super) fn resources(&mut self) -> Arc<Resources> {
        let known = &self.known;
        let made = self.resources.get_or_insert_with(|| {
            let valid = known.values().filter_map(|policy| policy.valid.as_ref());
            Arc::new(valid.map(|valid| valid.resource.clone()).collect())
        });
        Arc::clone(made)
    }

    /// The objects that are in force.
    pub(super) fn said(&self) -> Vec<Arc<str>> {
        let valid = self
            .known
            .values()
            .filter_map(|policy| policy.valid.as_ref());
        valid.map(|valid| Arc::clone(&valid.said)).collect()
    }

    pub(super) fn refusals(&self) -> impl Iterator<Item = Refusal<'_>> {
        self.known.iter().filter_map(|((kind, name), policy)| {
            Some(Refusal {
                kind: *kind,
                name,
                version: &policy.version,
                reason: policy.refused.as_deref()?,
                has_valid: policy.valid.is_some(),
            })
        })
    }

    pub(super) fn notices(&self, all: &Resources) -> Vec<Notice> {
        let said = self.known.iter().filter_map(|((kind, name), policy)| {
            let (reason, message) = match (&policy.refused, &policy.valid) {
                (Some(refused), valid) => {
                    let stays = match valid {
                        Some(_) => "; what it said before stays in force",
                        None => "",
                    };
                    ("Invalid", format!("{refused}{stays}"))
                }
                (None, Some(valid)) => match &valid.resource {
                    Resource::TrafficTrace(trace) => complaint(trace, all)?,
                    _ => return None,
                },
                (None, None) => return None,
            };
            Some(Notice {
                kind: *kind,
                name: Arc::clone(name),
                uid: Arc::clone(&policy.uid),
                version: Arc::clone(&policy.version),
                generation: policy.generation,
                reason,
                message,
            })
        });
        said.collect()
    }
}

/// Held to the same rules as a file.
fn read(kind: Kind, name: &str, object: &Map<String, Value>) -> Result<Valid, String> {
    let text = serde_json::to_string(object).map_err(|error| error.to_string())?;
    let parsed = resources::parse(name, &text);
    if parsed.report.has_errors() {
        let errors = parsed.report.findings.iter();
        let errors = errors.filter(|finding| finding.severity == crate::config::Severity::Error);
        let lines: Vec<_> = errors
            .map(|finding| format!("{}: {}", finding.field, finding.message))
            .collect();
        return Err(lines.join("; "));
    }
    let wanted = match kind {
        Kind::Mesh => policy::Kind::Mesh,
        _ => policy::Kind::TrafficTrace,
    };
    let mut resources = parsed.resources.into_iter();
    let resource = resources
        .find(|resource| resource.key().kind == wanted)
        .ok_or_else(|| format!("this is no {}", kind.kind()))?;
    let said = text.into();
    Ok(Valid { resource, said })
}

/// Why what a policy selects is not traced, in a word and a sentence.
fn complaint(trace: &TrafficTrace, all: &Resources) -> Option<(&'static str, String)> {
    let Some(mesh) = all.mesh(&trace.mesh) else {
        let names = all.meshes().map(|mesh| &*mesh.name);
        let hint = hint(crate::nearest::nearest(&trace.mesh, names));
        let message = format!("there is no Mesh \"{}\"{hint}", trace.mesh);
        return Some(("UnknownMesh", message));
    };
    if mesh.backend(trace.backend.as_deref()).is_some() {
        return None;
    }
    let name = &mesh.name;
    Some(match &trace.backend {
        Some(wanted) => {
            let nearest = nearest_backend(mesh, wanted);
            let hint = match &nearest {
                Some(nearest) => hint(Some(nearest)),
                None => others(mesh),
            };
            let message = format!(
                "Mesh \"{name}\" has no tracing backend \"{wanted}\": what this selects is not \
                 traced{hint}"
            );
            ("UnknownBackend", message)
        }
        None => {
            let others = others(mesh);
            let message = format!(
                "no backend is named, and Mesh \"{name}\" has no defaultBackend: what this \
                 selects is not traced{others}"
            );
            ("NoBackend", message)
        }
    })
}

fn hint(nearest: Option<&str>) -> String {
    let hint = nearest.map(|nearest| format!("; did you mean \"{nearest}\"?"));
    hint.unwrap_or_default()
}

/// `; it has "a", "b"`
fn others(mesh: &Mesh) -> String {
    let names = mesh.backends.iter();
    let names: Vec<_> = names
        .map(|backend| format!("\"{}\"", backend.name))
        .collect();
    match &*names {
        [] => "; it has no tracing backends".to_owned(),
        names => format!("; it has {}", names.join(", ")),
    }
}
