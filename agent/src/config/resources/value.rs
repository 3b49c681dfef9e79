//! Resources as JSON values, with every field that they have.
//!
//! What the agent does not use is kept: what was applied is given back whole.

use serde_json::{Map, Number, Value as Json};

use super::document;
use super::yaml::{self, Value};
use crate::config::Report;
use crate::config::report::{Finding, Severity};

/// Reads a text of resources as JSON values in the Universal form (`type`,
/// `name`, `mesh` and the fields of the specification side by side), in the
/// order of the text; lists (`items`) are taken apart. A document that is no
/// mapping is left out: [`super::parse`] says so of it.
///
/// # Errors
/// The syntax is wrong; `name` is what the text is called in the report.
pub fn values(name: &str, text: &str) -> Result<Vec<Map<String, Json>>, Box<Report>> {
    let (documents, problems) = yaml::read(text);
    if !problems.is_empty() {
        let findings = problems.into_iter().map(|problem| Finding {
            severity: Severity::Error,
            field: String::new(),
            message: problem.message,
            hint: (!problem.hint.is_empty()).then(|| problem.hint.to_owned()),
            span: problem.span,
        });
        return Err(Box::new(Report {
            file: name.to_owned(),
            text: text.to_owned(),
            findings: findings.collect(),
        }));
    }
    let mut found = Vec::new();
    for node in &documents {
        let Value::Map(entries) = &node.value else {
            continue;
        };
        if document::is_list(entries) {
            for item in document::items(entries) {
                found.extend(object(&item.value));
            }
        } else {
            found.extend(object(&node.value));
        }
    }
    Ok(found.into_iter().map(universal).collect())
}

/// The Universal form of a resource: that of Kubernetes is taken apart
/// (`pkg/plugins/resources/k8s/native`), any other is returned as it is.
#[must_use]
pub fn universal(mut resource: Map<String, Json>) -> Map<String, Json> {
    let Some(Json::String(kind)) = resource.get("kind").cloned() else {
        return resource;
    };
    let mut metadata = match resource.remove("metadata") {
        Some(Json::Object(metadata)) => metadata,
        _ => Map::new(),
    };
    let mut flat = match resource.remove("spec") {
        Some(Json::Object(spec)) => spec,
        _ => Map::new(),
    };
    let text = |value: Option<Json>| match value {
        Some(Json::String(text)) if !text.is_empty() => Some(text),
        _ => None,
    };
    let namespace = text(metadata.remove("namespace"));
    let name = text(metadata.remove("name")).map(|name| match namespace {
        Some(namespace) if kind == "Dataplane" => format!("{name}.{namespace}"),
        _ => name,
    });
    let labels = metadata.remove("labels");
    let mesh = text(resource.remove("mesh"));
    let label = labels
        .as_ref()
        .and_then(|labels| labels.get("kuma.io/mesh"));
    let mesh = mesh.or_else(|| text(label.cloned()));
    if kind != "Mesh" {
        flat.extend(mesh.map(|mesh| ("mesh".to_owned(), Json::String(mesh))));
    }
    flat.extend(name.map(|name| ("name".to_owned(), Json::String(name))));
    flat.extend(labels.map(|labels| ("labels".to_owned(), labels)));
    let created = text(metadata.remove("creationTimestamp"));
    flat.extend(created.map(|created| ("creationTime".to_owned(), Json::String(created))));
    flat.insert("type".to_owned(), Json::String(kind));
    flat
}

fn object(value: &Value) -> Option<Map<String, Json>> {
    match json(value) {
        Json::Object(object) => Some(object),
        _ => None,
    }
}

fn json(value: &Value) -> Json {
    match value {
        Value::Null => Json::Null,
        Value::Bool(value) => Json::Bool(*value),
        // What JSON has no number for is told by its text.
        Value::Number(text) => {
            number(text).map_or_else(|| Json::String(text.clone()), Json::Number)
        }
        Value::Text(text) => Json::String(text.clone()),
        Value::List(items) => Json::Array(items.iter().map(|item| json(&item.value)).collect()),
        Value::Map(entries) => entries
            .iter()
            .map(|entry| (entry.key.clone(), json(&entry.value.value)))
            .collect(),
    }
}

fn number(text: &str) -> Option<Number> {
    let radix = |digits: &str, radix| u64::from_str_radix(digits, radix).ok().map(Number::from);
    if let Some(digits) = text.strip_prefix("0o") {
        return radix(digits, 8);
    }
    if let Some(digits) = text.strip_prefix("0x") {
        return radix(digits, 16);
    }
    let whole = text.parse::<i64>().ok().map(Number::from);
    whole
        .or_else(|| text.parse::<u64>().ok().map(Number::from))
        .or_else(|| text.parse::<f64>().ok().and_then(Number::from_f64))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_forms_are_one() {
        let kubernetes = "
apiVersion: kuma.io/v1alpha1
kind: TrafficTrace
mesh: default
metadata: {name: all, creationTimestamp: '2024-05-31T12:00:00Z', labels: {team: a}}
spec:
  selectors: [{match: {kuma.io/service: '*'}}]
  conf: {backend: zipkin}
";
        let universal = "
type: TrafficTrace
name: all
mesh: default
creationTime: '2024-05-31T12:00:00Z'
labels: {team: a}
selectors: [{match: {kuma.io/service: '*'}}]
conf: {backend: zipkin}
";
        let one = values("a", kubernetes).unwrap();
        assert_eq!(one, values("b", universal).unwrap());
        assert_eq!(one[0]["conf"], json!({"backend": "zipkin"}));
    }

    #[test]
    fn a_dataplane_of_a_namespace_has_kumas_name_and_its_labels_mesh() {
        let text = "
apiVersion: kuma.io/v1alpha1
kind: Dataplane
metadata: {name: web, namespace: shop, labels: {kuma.io/mesh: demo}}
spec: {networking: {address: 10.0.0.1}}
";
        let found = values("a", text).unwrap();
        assert_eq!(found[0]["name"], "web.shop");
        assert_eq!(found[0]["mesh"], "demo");
    }

    #[test]
    fn documents_and_lists_are_taken_apart_and_numbers_kept() {
        let text = "
type: Mesh
name: a
tracing: {backends: [{name: z, sampling: 30.5, conf: {n: 0x10, m: -3, big: 18446744073709551615}}]}
---
{total: 1, next: null, items: [{type: Mesh, name: b}, {type: Mesh, name: c}]}
---
just text
";
        let found = values("a", text).unwrap();
        let names: Vec<_> = found.iter().map(|found| &found["name"]).collect();
        assert_eq!(names, ["a", "b", "c"]);
        let backend = &found[0]["tracing"]["backends"][0];
        assert_eq!(backend["sampling"], json!(30.5));
        assert_eq!(backend["conf"], json!({"n": 16, "m": -3, "big": u64::MAX}));
    }

    #[test]
    fn wrong_syntax_is_told_at_its_place() {
        let report = values("wrong.yaml", "type: Mesh\nname: [\n").unwrap_err();
        assert!(report.has_errors());
        assert!(report.to_string().contains("wrong.yaml:"), "{report}");
    }
}
