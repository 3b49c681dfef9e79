//! Documents of a text: what kind of resource each is, in which form.

use std::sync::Arc;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::fields::Fields;
use super::yaml::{self, Entry, Node, Value};
use super::{dataplane, mesh, traffic_trace};
use crate::config::report::Finding;
use crate::config::table::{At, Findings};
use crate::policy::{Created, Kind, Resource};

/// A resource and the places that what is said about it later may need.
#[derive(Debug)]
pub(super) struct Placed {
    pub(super) resource: Resource,
    pub(super) places: Places,
}

/// Where a resource says what.
#[derive(Debug)]
pub(super) struct Places {
    /// Its name.
    pub(super) name: At,
    /// The mesh that it is of.
    pub(super) mesh: At,
    /// `tracing` of a Mesh.
    pub(super) tracing: Option<At>,
    /// Each backend of a Mesh.
    pub(super) backends: Vec<At>,
    /// `conf.backend` of a policy, or what stands for it.
    pub(super) backend: Option<At>,
    /// Each inbound of a Dataplane.
    pub(super) inbounds: Vec<At>,
}

/// What all resources have.
#[derive(Debug)]
pub(super) struct Meta {
    pub(super) name: Arc<str>,
    /// Empty for a Mesh.
    pub(super) mesh: Arc<str>,
    pub(super) created: Created,
    pub(super) places: Places,
}

/// The resources of a text and all that is wrong with it. They are of use if
/// nothing is an error.
pub(super) fn read(text: &str) -> (Vec<Placed>, Vec<Finding>) {
    let findings = Findings::default();
    let (documents, problems) = yaml::read(text);
    for problem in problems {
        let at = At {
            field: String::new(),
            span: problem.span,
        };
        findings.error(&at, problem.message, problem.hint);
    }
    let mut found = Vec::new();
    for node in &documents {
        document(node, "", &findings, &mut found);
    }
    (found, findings.into_sorted())
}

/// A document, or an item of a list at `path`.
fn document(node: &Node, path: &str, findings: &Findings, found: &mut Vec<Placed>) {
    let Value::Map(entries) = &node.value else {
        let at = At {
            field: path.to_owned(),
            span: node.span.clone(),
        };
        let message = format!("this is {}, wanted a resource", node.value.name());
        findings.error(&at, message, "write `type: Mesh` or `kind: Mesh` and so on");
        return;
    };
    let first = entries.first();
    let at = At {
        field: path.to_owned(),
        span: first.map_or(node.span.clone(), |entry| entry.key_span.clone()),
    };
    let fields = Fields::new(entries, at, findings);
    // Kuma's and Kubernetes' lists; a list in a list is none.
    if path.is_empty() && is_list(entries) {
        for (n, item) in items(entries).iter().enumerate() {
            document(item, &format!("items[{n}]"), findings, found);
        }
        return;
    }
    let resource = if fields.has("kind") {
        kubernetes(fields)
    } else if fields.has("type") {
        universal(fields)
    } else {
        let message = "this is no resource: it has neither `kind` nor `type`";
        findings.error(&fields.at, message, "a Universal resource begins with `type: Mesh`, a Kubernetes one with `apiVersion: kuma.io/v1alpha1` and `kind: Mesh`");
        return;
    };
    found.extend(resource);
}

/// `kind: List` or `TrafficTraceList`, as `kubectl get -o yaml` prints, or
/// `total` and `items`, as Kuma's API answers.
pub(super) fn is_list(entries: &[Entry]) -> bool {
    let get = |key| entries.iter().find(|entry| entry.key == key);
    let has_items = get("items").is_some_and(|entry| matches!(entry.value.value, Value::List(_)));
    match get("kind").or(get("type")).map(|entry| &entry.value.value) {
        Some(Value::Text(kind)) => has_items && kind.ends_with("List"),
        Some(_) => false,
        None => has_items,
    }
}

pub(super) fn items(entries: &[Entry]) -> &[Node] {
    let items = entries.iter().find(|entry| entry.key == "items");
    match items.map(|entry| &entry.value.value) {
        Some(Value::List(items)) => items,
        _ => &[],
    }
}

/// `apiVersion`, `kind`, `metadata`, `spec`, and `mesh` beside them
/// (`deployments/charts/kuma/crds`).
fn kubernetes(mut fields: Fields<'_>) -> Option<Placed> {
    let findings = fields.findings();
    let kind = fields.text("kind")?;
    let version = fields.text("apiVersion");
    let group = version.as_ref().map(|version| version.value);
    match group {
        Some("kuma.io/v1alpha1") => {}
        None if Kind::ALL.iter().any(|known| known.as_str() == kind.value) => {
            let hint = "write `apiVersion: kuma.io/v1alpha1`; without `apiVersion` and `kind`, but with `type`, it is the Universal form";
            fields.error("apiVersion", "cannot be empty", hint);
        }
        _ => {
            let message = format!("resource of kind {} is skipped", kind.value);
            let hint = format!("of apiVersion {}; {READ}", group.unwrap_or("none"));
            findings.warning(&kind.at, message, &hint);
            return None;
        }
    }
    let kind = known(kind.value, &kind.at, findings)?;

    let metadata = fields.map("metadata");
    let mut name_at = fields.place("metadata");
    name_at.field.push_str(".name");
    let mut label = None;
    let (mut name, mut namespace, mut created) = (None, None, Created::default());
    if let Some(mut metadata) = metadata {
        name = metadata.text("name").map(|name| name.value);
        name_at = metadata.place("name");
        namespace = metadata.text("namespace").map(|namespace| namespace.value);
        created = creation(&mut metadata, "creationTimestamp");
        let labels = metadata.strings("labels");
        label = labels
            .into_iter()
            .find(|(name, _)| name.value == "kuma.io/mesh")
            .map(|(_, value)| value);
        metadata.ignore(&[
            "annotations",
            "uid",
            "resourceVersion",
            "generation",
            "generateName",
            "deletionTimestamp",
            "deletionGracePeriodSeconds",
            "managedFields",
            "ownerReferences",
            "finalizers",
            "selfLink",
        ]);
        metadata.finish();
    }
    // `NAME.NAMESPACE` is what Kuma calls a namespaced resource.
    let name = name.unwrap_or_default();
    let full = match namespace.filter(|namespace| !namespace.is_empty()) {
        Some(namespace) if kind == Kind::Dataplane && !name.is_empty() => {
            format!("{name}.{namespace}")
        }
        _ => name.to_owned(),
    };
    identifier(&full, &name_at, findings);

    let mesh_field = fields.text("mesh").or(label);
    let mesh_at = mesh_field
        .as_ref()
        .map_or_else(|| fields.place("mesh"), |mesh| mesh.at.clone());
    let mesh = mesh_field.map_or("", |mesh| mesh.value);
    if kind != Kind::Mesh {
        mesh_name(mesh, &mesh_at, findings);
    }
    let spec = fields.map("spec");
    fields.ignore(&["status"]);
    let spec_at = fields.place("spec");
    fields.finish();
    let spec = spec.unwrap_or_else(|| Fields::new(&[], spec_at, findings));
    let meta = Meta {
        name: full.into(),
        mesh: mesh.into(),
        created,
        places: Places::new(name_at, mesh_at),
    };
    specification(kind, meta, spec)
}

/// `type`, `name`, `mesh` and what is `spec` in the other form, side by side.
fn universal(mut fields: Fields<'_>) -> Option<Placed> {
    let findings = fields.findings();
    let kind = fields.text("type")?;
    let kind = known(kind.value, &kind.at, findings)?;
    let name = fields.text("name").map_or("", |name| name.value);
    let name_at = fields.place("name");
    identifier(name, &name_at, findings);
    let mesh = fields.text("mesh").map_or("", |mesh| mesh.value);
    let mesh_at = fields.place("mesh");
    if kind != Kind::Mesh {
        mesh_name(mesh, &mesh_at, findings);
    }
    let created = creation(&mut fields, "creationTime");
    fields.ignore(&["modificationTime", "labels", "kri"]);
    let meta = Meta {
        name: name.into(),
        mesh: mesh.into(),
        created,
        places: Places::new(name_at, mesh_at),
    };
    specification(kind, meta, fields)
}

fn specification(kind: Kind, meta: Meta, fields: Fields<'_>) -> Option<Placed> {
    Some(match kind {
        Kind::Mesh => mesh::read(meta, fields),
        Kind::TrafficTrace => traffic_trace::read(meta, fields),
        Kind::Dataplane => dataplane::read(meta, fields),
    })
}

impl Places {
    const fn new(name: At, mesh: At) -> Self {
        Self {
            name,
            mesh,
            tracing: None,
            backends: Vec::new(),
            backend: None,
            inbounds: Vec::new(),
        }
    }
}

const READ: &str = "nodespan reads Mesh, TrafficTrace and Dataplane of kuma.io/v1alpha1";

/// The kind of this name; what is not known is skipped with a warning.
fn known(name: &str, at: &At, findings: &Findings) -> Option<Kind> {
    let kind = Kind::ALL.into_iter().find(|kind| kind.as_str() == name);
    if kind.is_none() {
        let message = format!("resource of kind {name} is skipped");
        // Kuma's other kinds are not far from these, but not misspelt.
        let is_near = |kind: &Kind| {
            let (name, kind) = (name.to_lowercase(), kind.as_str().to_lowercase());
            strsim::damerau_levenshtein(&name, &kind) <= 2
        };
        let hint = match Kind::ALL.iter().find(|kind| is_near(kind)) {
            _ if name == "MeshTrace" => {
                "this version does not read MeshTrace; write a TrafficTrace".to_owned()
            }
            Some(near) => format!("did you mean {near}?"),
            None => READ.to_owned(),
        };
        findings.warning(at, message, &hint);
    }
    kind
}

/// A name (`meta_validator.go`).
fn identifier(name: &str, at: &At, findings: &Findings) {
    let message = if name.is_empty() {
        "cannot be empty"
    } else if name.len() > 253 {
        "value length must less or equal 253"
    } else if !name.split('.').all(is_label) {
        "invalid characters. A lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must start and end with an alphanumeric character"
    } else {
        return;
    };
    findings.error(at, message, "");
}

/// `[a-z0-9]([-a-z0-9]*[a-z0-9])?`
fn is_label(label: &str) -> bool {
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    label.chars().all(|c| inner(c) || c == '-')
        && label.starts_with(inner)
        && label.ends_with(inner)
}

/// The mesh that a resource is of (`ValidateMesh`, `meta_validator.go`).
fn mesh_name(mesh: &str, at: &At, findings: &Findings) {
    let allowed = |c: char| matches!(c, '0'..='9' | 'a'..='z' | '-' | '_' | '.');
    if mesh.is_empty() {
        let hint = "write `mesh: default`";
        findings.error(at, "cannot be empty", hint);
    } else if mesh.len() > 253 {
        findings.error(at, "value length must less or equal 253", "");
    } else if !mesh.chars().all(allowed) {
        let message = "invalid characters. Valid characters are numbers, lowercase latin letters and '-', '_', '.' symbols.";
        findings.error(at, message, "");
    }
}

fn creation(fields: &mut Fields<'_>, key: &'static str) -> Created {
    let Some(text) = fields.text(key) else {
        return Created::default();
    };
    match OffsetDateTime::parse(text.value, &Rfc3339) {
        Ok(time) => Created(time.unix_timestamp_nanos()),
        Err(error) => {
            let message = format!("\"{}\" is not a time: {error}", text.value);
            let hint = "write it as in RFC 3339: \"2024-05-31T12:00:00Z\"";
            fields.findings().error(&text.at, message, hint);
            Created::default()
        }
    }
}
