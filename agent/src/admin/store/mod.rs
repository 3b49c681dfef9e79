//! Resources that were given over the HTTP API, in a folder.
//!
//! A resource is a file of JSON in the Universal form, with its `creationTime`,
//! so that the folder is one more path for [`crate::config::resources::load`].
//! What [`Store::put`] and [`Store::delete`] have returned survives the end of
//! the process at any moment, and of the machine as far as its disk keeps what
//! `fsync` gave it. The store takes nothing that `load` would refuse.
//!
//! It also knows the resources of other files ([`Store::set_files`]) and of a
//! Kubernetes API ([`Store::set_cluster`]): they are shown, count as meshes that
//! exist, and cannot be changed.

mod files;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::watch;

use crate::config::resources::{self, MAX_FILE};
use crate::config::{Finding, Severity};
use crate::policy::{Kind, Resource, ResourceKey, Resources};

pub use files::StoreError;
use files::{Folder, file_name};

/// Resources that a store holds at most.
pub const MAX_RESOURCES: usize = 5_000;
/// Bytes of all files of a store at most.
pub const MAX_BYTES: usize = 32 << 20;

/// Times are the server's; Kuma ignores them in a body too.
const CREATED: &str = "creationTime";
const MODIFIED: &str = "modificationTime";
/// Of a body these say nothing that is kept: times, and Kuma's own name of the
/// resource. Snake case is read as well (protobuf's JSON).
const NOT_KEPT: [&str; 5] = [
    CREATED,
    "creation_time",
    MODIFIED,
    "modification_time",
    "kri",
];

/// The resources, and those of other sources. Share it.
#[derive(Debug)]
pub struct Store {
    /// None where nothing is ever put.
    folder: Option<Folder>,
    state: Mutex<State>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    stored: Items,
    bytes: usize,
    /// Of files that are not the store's.
    others: Items,
    /// Of a Kubernetes API.
    cluster: Items,
}

type Items = BTreeMap<ResourceKey, Arc<Item>>;

/// A resource with everything that was said of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// The Universal form: `type`, `name`, `mesh` (not of a Mesh),
    /// `creationTime`, `modificationTime`, and the fields of the
    /// specification.
    pub value: Map<String, Value>,
    /// What it means.
    pub resource: Resource,
    /// The file that has it, if that is not the store's.
    pub file: Option<PathBuf>,
    /// Bytes of the store's file.
    len: usize,
}

/// What was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Put {
    /// It was not there before.
    pub created: bool,
    /// What is worth a warning, such as fields that nobody knows.
    pub warnings: Vec<Finding>,
}

/// Why a resource was not put or deleted.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is nothing of that name.
    #[error("{0} is not there")]
    NotFound(ResourceKey),
    /// The mesh that it is of does not exist.
    #[error("mesh of name {0} is not found")]
    NoMesh(Arc<str>),
    /// The resource is wrong: errors, and warnings among them.
    #[error("the resource is not valid")]
    Invalid(Vec<Finding>),
    /// A file that the agent was given has it.
    #[error("it is defined in the file {}: change it there", .0.display())]
    InFile(PathBuf),
    /// Workloads are still of this mesh.
    #[error("unable to delete mesh, there are still some dataplanes attached")]
    Attached,
    /// It is longer than a file may be.
    #[error("the resource takes {0} bytes, more than {MAX_FILE}")]
    TooLong(usize),
    /// The store holds as much as it can.
    #[error("the store is full: at most {MAX_RESOURCES} resources and {MAX_BYTES} bytes")]
    Full,
    /// The disk does not do what it must.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Store {
    /// Opens a folder, which is made if it is not there, and takes it for this
    /// process alone.
    ///
    /// # Errors
    /// The folder cannot be used, another process has it, or a file in it is
    /// damaged.
    pub fn open(folder: &Path) -> Result<Self, StoreError> {
        let folder = Folder::open(folder)?;
        let mut state = State::default();
        for (path, text) in folder.read()? {
            let damaged = |reason: String| StoreError::Damaged {
                path: path.clone(),
                reason,
            };
            let value: Map<String, Value> =
                serde_json::from_str(&text).map_err(|error| damaged(error.to_string()))?;
            let parsed = resources::parse(&path.display().to_string(), &text);
            if parsed.report.has_errors() {
                return Err(damaged(format!("it is refused:\n{}", parsed.report)));
            }
            let [resource] = &*parsed.resources else {
                return Err(damaged("it is no resource that is known".to_owned()));
            };
            let key = resource.key();
            // Somebody's own file in this folder is read as any other.
            if path
                .file_name()
                .is_none_or(|name| name != &*file_name(&key))
            {
                tracing::warn!("{}: not written by this agent, only read", path.display());
                continue;
            }
            state.bytes += text.len();
            let item = Item {
                value,
                resource: resource.clone(),
                file: None,
                len: text.len(),
            };
            state.stored.insert(key, Arc::new(item));
        }
        Ok(Self {
            folder: Some(folder),
            state: Mutex::new(state),
            changes: watch::Sender::new(0),
        })
    }

    /// A store that only shows what others have: nothing can be put, and no
    /// folder is made, of which a read-only root has none.
    #[must_use]
    pub fn without_folder() -> Self {
        Self {
            folder: None,
            state: Mutex::default(),
            changes: watch::Sender::new(0),
        }
    }

    /// The folder, if there is one: a path for
    /// [`crate::config::resources::load`].
    #[must_use]
    pub fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(Folder::path)
    }

    /// Tells each time when the folder has changed. The value only counts.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Says which files the agent reads, the store's own among them or not:
    /// `Loaded::files` after each load. What is in them and not the store's is
    /// shown and cannot be changed. A file that cannot be read or parsed is
    /// passed over: `load` has told of it.
    pub fn set_files<P: AsRef<Path>>(&self, files: &[P]) {
        let own: BTreeSet<String> = self.state().stored.keys().map(file_name).collect();
        let mut others = Items::new();
        for file in files {
            let path = file.as_ref();
            let folder = self.folder.as_ref();
            if folder.is_some_and(|folder| folder.has(path, &own)) {
                continue;
            }
            let Ok(text) = files::text(path) else {
                continue;
            };
            let values = resources::values(&path.display().to_string(), &text);
            for value in values.unwrap_or_default() {
                if let Some(item) = of_file(value, path) {
                    others.entry(item.resource.key()).or_insert(item.into());
                }
            }
        }
        self.state().others = others;
    }

    /// The objects of a Kubernetes API, each as JSON. Those of files stand
    /// before them.
    pub fn set_cluster<T: AsRef<str>>(&self, objects: &[T]) {
        let mut cluster = Items::new();
        for object in objects {
            let values = resources::values("object", object.as_ref());
            for item in values.unwrap_or_default().into_iter().filter_map(of_other) {
                cluster.insert(item.resource.key(), item.into());
            }
        }
        self.state().cluster = cluster;
    }

    /// A resource, wherever it is from.
    #[must_use]
    pub fn get(&self, key: &ResourceKey) -> Option<Arc<Item>> {
        self.state().get(key).cloned()
    }

    /// The resources of a kind, of one mesh or all, sorted by mesh and name.
    #[must_use]
    pub fn list(&self, kind: Kind, mesh: Option<&str>) -> Vec<Arc<Item>> {
        let state = self.state();
        let all: BTreeMap<_, _> = state.all().collect();
        all.into_iter()
            .filter(|(key, _)| key.kind == kind && mesh.is_none_or(|mesh| *key.mesh == *mesh))
            .map(|(_, item)| Arc::clone(item))
            .collect()
    }

    /// What all of them say.
    #[must_use]
    pub fn resources(&self) -> Resources {
        let state = self.state();
        let all = state.all();
        all.map(|(_, item)| item.resource.clone()).collect()
    }

    /// Creates or replaces a resource. `value` is its Universal form, and says
    /// `type`, `name` and `mesh` as `key` does; times in it do not count. The
    /// creation time is that of the first `put`.
    ///
    /// # Errors
    /// Why it is not put; the store is as it was, unless the disk failed late.
    pub fn put(
        &self,
        key: &ResourceKey,
        mut value: Map<String, Value>,
        now: OffsetDateTime,
    ) -> Result<Put, Refusal> {
        let folder = self.folder.as_ref().ok_or(StoreError::NoFolder)?;
        let mut state = self.state();
        if let Some(file) = state.others.get(key).and_then(|item| item.file.clone()) {
            return Err(Refusal::InFile(file));
        }
        if key.kind != Kind::Mesh && state.get(&mesh_key(&key.mesh)).is_none() {
            return Err(Refusal::NoMesh(Arc::clone(&key.mesh)));
        }
        let old = state.stored.get(key);
        let old_len = old.map_or(0, |old| old.len);
        let created = old.is_none();
        value.retain(|name, _| !NOT_KEPT.contains(&&**name));
        let now = time(now);
        let creation = old.and_then(|old| old.value.get(CREATED).cloned());
        value.insert(CREATED.to_owned(), creation.unwrap_or_else(|| now.clone()));
        value.insert(MODIFIED.to_owned(), now);

        let text = files::pretty(&value);
        if text.len() as u64 > MAX_FILE {
            return Err(Refusal::TooLong(text.len()));
        }
        let bytes = state.bytes - old_len + text.len();
        if bytes > MAX_BYTES || created && state.stored.len() >= MAX_RESOURCES {
            return Err(Refusal::Full);
        }
        // The very bytes that `load` will read.
        let parsed = resources::parse("body", &text);
        let resource = match &*parsed.resources {
            [resource] if !parsed.report.has_errors() && resource.key() == *key => resource.clone(),
            _ => return Err(Refusal::Invalid(parsed.report.findings)),
        };
        folder.write(&file_name(key), &text)?;
        let item = Item {
            value,
            resource,
            file: None,
            len: text.len(),
        };
        state.bytes = bytes;
        state.stored.insert(key.clone(), Arc::new(item));
        drop(state);
        self.changes.send_modify(|changes| *changes += 1);
        let mut warnings = parsed.report.findings;
        warnings.retain(|finding| finding.severity == Severity::Warning);
        Ok(Put { created, warnings })
    }

    /// Deletes a resource. With a Mesh go its policies, as in Kuma, where the
    /// mesh owns them; one that has workloads stays
    /// (`ValidateNoActiveDP`, `pkg/core/managers/apis/mesh/mesh_validator.go`).
    ///
    /// # Errors
    /// Why it is not deleted.
    pub fn delete(&self, key: &ResourceKey) -> Result<(), Refusal> {
        let mut state = self.state();
        if !state.stored.contains_key(key) {
            return Err(match state.others.get(key).and_then(|i| i.file.clone()) {
                Some(file) => Refusal::InFile(file),
                None => Refusal::NotFound(key.clone()),
            });
        }
        let of_mesh = |other: &&ResourceKey| key.kind == Kind::Mesh && other.mesh == key.mesh;
        let mut all = state.stored.keys().chain(state.others.keys());
        if all.any(|other| of_mesh(&other) && other.kind == Kind::Dataplane) {
            return Err(Refusal::Attached);
        }
        let folder = self.folder.as_ref().ok_or(StoreError::NoFolder)?;
        // The mesh last: no policy is ever without its mesh.
        let policies = state.stored.keys().filter(of_mesh);
        let policies = policies.filter(|other| other.kind == Kind::TrafficTrace);
        let mut going: Vec<_> = policies.cloned().collect();
        going.push(key.clone());
        let mut outcome = Ok(());
        for key in &going {
            outcome = folder.remove(&file_name(key));
            if outcome.is_err() {
                break;
            }
            if let Some(item) = state.stored.remove(key) {
                state.bytes -= item.len;
            }
        }
        drop(state);
        self.changes.send_modify(|changes| *changes += 1);
        Ok(outcome?)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Everything; of several of one identity the last counts.
    fn all(&self) -> impl Iterator<Item = (&ResourceKey, &Arc<Item>)> {
        let of_others = self.cluster.iter().chain(&self.others);
        of_others.chain(&self.stored)
    }

    fn get(&self, key: &ResourceKey) -> Option<&Arc<Item>> {
        let of_others = || self.others.get(key).or_else(|| self.cluster.get(key));
        self.stored.get(key).or_else(of_others)
    }
}

/// The identity of a mesh.
#[must_use]
pub fn mesh_key(name: &Arc<str>) -> ResourceKey {
    ResourceKey {
        kind: Kind::Mesh,
        mesh: Arc::clone(name),
        name: Arc::clone(name),
    }
}

/// A resource of a file, if it is one.
fn of_file(value: Map<String, Value>, path: &Path) -> Option<Item> {
    let item = of_other(value)?;
    Some(Item {
        file: Some(path.to_owned()),
        ..item
    })
}

/// A resource that is not the store's, if it is one.
fn of_other(mut value: Map<String, Value>) -> Option<Item> {
    let parsed = resources::parse("file", &files::pretty(&value));
    let [resource] = &*parsed.resources else {
        return None;
    };
    if parsed.report.has_errors() {
        return None;
    }
    // Absent is the epoch; a file's own time never counts.
    let epoch = time(OffsetDateTime::UNIX_EPOCH);
    let created = value.get(CREATED).cloned().unwrap_or(epoch);
    value.entry(CREATED).or_insert_with(|| created.clone());
    value.entry(MODIFIED).or_insert(created);
    Some(Item {
        value,
        resource: resource.clone(),
        file: None,
        len: 0,
    })
}

/// RFC 3339, in whole nanoseconds.
fn time(at: OffsetDateTime) -> Value {
    // Only years beyond 9999 cannot be written.
    at.format(&Rfc3339).map_or(Value::Null, Value::String)
}
