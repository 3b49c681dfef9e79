//! `TrafficTrace` (`pkg/core/resources/apis/mesh/traffic_trace_validator.go`,
//! `validators.go`).

use std::sync::Arc;

use super::document::{Meta, Placed};
use super::fields::Fields;
use crate::config::table::{self, At};
use crate::policy::{ANY, Resource, Selector, Tags, TrafficTrace};

pub(super) fn read(mut meta: Meta, mut fields: Fields<'_>) -> Placed {
    let is_list = fields.has("selectors");
    let errors = fields.findings().errors();
    let mut selectors = Vec::new();
    let maps = fields.maps("selectors");
    // What is no list of mappings has been told.
    if maps.is_empty() && !(is_list && fields.findings().errors() > errors) {
        let hint = "for all workloads write `- match: {kuma.io/service: '*'}`";
        fields.error("selectors", "must have at least one element", hint);
    }
    for mut selector in maps {
        let errors = selector.findings().errors();
        let tags = selector.strings("match");
        if tags.is_empty() && selector.findings().errors() == errors {
            selector.error("match", "must have at least one tag", "");
        }
        check(&selector, &tags);
        selector.finish();
        let tags: Tags = tags
            .into_iter()
            .map(|(name, value)| (name.value, value.value))
            .collect();
        selectors.push(Selector::new(tags));
    }
    let mut backend = None;
    let mut at = meta.places.name.clone();
    if let Some(mut conf) = fields.map("conf") {
        let named = conf
            .text("backend")
            .filter(|backend| !backend.value.is_empty());
        at = conf.place("backend");
        backend = named.map(|backend| Arc::from(backend.value));
        conf.finish();
    }
    meta.places.backend = Some(at);
    fields.finish();
    Placed {
        resource: Resource::TrafficTrace(Arc::new(TrafficTrace {
            mesh: meta.mesh,
            name: meta.name,
            created: meta.created,
            selectors,
            backend,
        })),
        places: meta.places,
    }
}

type Pair<'d> = (table::Placed<&'d str>, table::Placed<&'d str>);

/// The rules of a selector's tags, in the order of their names.
fn check(selector: &Fields<'_>, tags: &[Pair<'_>]) {
    let findings = selector.findings();
    let mut tags: Vec<_> = tags.iter().collect();
    tags.sort_by_key(|(name, _)| name.value);
    for (name, value) in tags {
        name_rules(selector, "match", name);
        if value.value.is_empty() {
            let hint = "for any value write '*'";
            findings.error(&value.at, "tag value must be non-empty", hint);
        }
        if value.value != ANY && !value.value.chars().all(is_name_char) {
            let message = "tag value must consist of alphanumeric characters, dots, dashes, slashes and underscores or be \"*\"";
            let hint = match value.value.contains('*') {
                true => "there are no patterns: '*' alone is any value",
                false => "",
            };
            findings.error(&value.at, message, hint);
        }
    }
}

/// The rules of a tag's name.
pub(super) fn name_rules(fields: &Fields<'_>, key: &str, name: &table::Placed<&str>) {
    if name.value.is_empty() {
        let at = At {
            field: fields.place(key).field,
            span: name.at.span.clone(),
        };
        fields
            .findings()
            .error(&at, "tag name must be non-empty", "");
    }
    if !name.value.chars().all(is_name_char) {
        let message = "tag name must consist of alphanumeric characters, dots, dashes, slashes and underscores";
        fields.findings().error(&name.at, message, "");
    }
}

/// `[a-zA-Z0-9.\-_:/]`
pub(super) const fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '/')
}
