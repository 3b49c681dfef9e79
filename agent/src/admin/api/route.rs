//! What a URL means.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use crate::policy::{Kind, ResourceKey};

/// What a path leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Route {
    Index,
    /// All of a kind, or those of a mesh.
    List {
        kind: Kind,
        mesh: Option<Arc<str>>,
    },
    Item(ResourceKey),
    /// The workloads that a policy selects.
    PolicyDataplanes(ResourceKey),
    /// The policies of a workload.
    DataplanePolicies(ResourceKey),
}

/// The segment of a kind in URLs.
pub(super) const fn collection(kind: Kind) -> &'static str {
    match kind {
        Kind::Mesh => "meshes",
        Kind::TrafficTrace => "traffic-traces",
        Kind::Dataplane => "dataplanes",
    }
}

impl Route {
    /// The route of a path, if it leads anywhere.
    pub(super) fn of(path: &str) -> Option<Self> {
        let path = path.strip_prefix('/').unwrap_or(path);
        let path = path.strip_suffix('/').unwrap_or(path);
        if path.is_empty() {
            return Some(Self::Index);
        }
        let segments: Vec<String> = path.split('/').map(decode).collect::<Option<_>>()?;
        let segments: Vec<&str> = segments.iter().map(|segment| &**segment).collect();
        if segments.iter().any(|segment| segment.is_empty()) {
            return None;
        }
        let kind = |name: &str| Kind::ALL.into_iter().find(|kind| collection(*kind) == name);
        let of_mesh = |name: &str| kind(name).filter(|kind| *kind != Kind::Mesh);
        let key = |kind, mesh: &str, name: &str| ResourceKey {
            kind,
            mesh: mesh.into(),
            name: name.into(),
        };
        Some(match *segments {
            [all] => Self::List {
                kind: kind(all)?,
                mesh: None,
            },
            ["meshes", name] => Self::Item(key(Kind::Mesh, name, name)),
            ["meshes", mesh, all] => Self::List {
                kind: of_mesh(all)?,
                mesh: Some(mesh.into()),
            },
            ["meshes", mesh, all, name] => Self::Item(key(of_mesh(all)?, mesh, name)),
            ["meshes", mesh, "traffic-traces", name, "dataplanes"] => {
                Self::PolicyDataplanes(key(Kind::TrafficTrace, mesh, name))
            }
            ["meshes", mesh, "dataplanes", name, "policies"] => {
                Self::DataplanePolicies(key(Kind::Dataplane, mesh, name))
            }
            _ => return None,
        })
    }
}

/// The parameters of a query; of one that comes twice the first counts, as in
/// Go's `Query().Get`.
#[derive(Clone, Debug, Default)]
pub(super) struct Query(BTreeMap<String, String>);

impl Query {
    pub(super) fn of(query: &str) -> Self {
        let mut parameters = BTreeMap::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let text = |text: &str| decode(&text.replace('+', " "));
            if let (Some(name), Some(value)) = (text(name), text(value)) {
                parameters.entry(name).or_insert(value);
            }
        }
        Self(parameters)
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|value| &**value)
    }

    /// The query with this parameter, sorted as Go writes it.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        let mut parameters = self.0.clone();
        parameters.insert(name.to_owned(), value.to_owned());
        let pairs = parameters
            .iter()
            .map(|(name, value)| format!("{}={}", encode(name), encode(value)));
        pairs.collect::<Vec<_>>().join("&")
    }
}

/// A part of a URL without its percent signs (RFC 3986, 2.1); nothing if they
/// do not make text.
fn decode(part: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(part.len());
    let mut rest = part.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        rest = behind;
        if first != b'%' {
            bytes.push(first);
            continue;
        }
        let (digits, behind) = rest.split_at_checked(2)?;
        let digits = std::str::from_utf8(digits).ok()?;
        // `from_str_radix` would take a sign.
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = behind;
    }
    String::from_utf8(bytes).ok()
}

/// A part of a URL in which nothing means anything else.
pub(super) fn encode(part: &str) -> String {
    let mut encoded = String::with_capacity(part.len());
    for byte in part.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _infallible = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

/// The path of a resource.
pub(super) fn item(key: &ResourceKey) -> String {
    match key.kind {
        Kind::Mesh => format!("/meshes/{}", encode(&key.name)),
        kind => format!("{}/{}", list(kind, Some(&key.mesh)), encode(&key.name)),
    }
}

/// The path of a list, of one mesh or all.
pub(super) fn list(kind: Kind, mesh: Option<&str>) -> String {
    match mesh.filter(|_| kind != Kind::Mesh) {
        Some(mesh) => format!("/meshes/{}/{}", encode(mesh), collection(kind)),
        None => format!("/{}", collection(kind)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_where_kumas_lead() {
        let item = |kind, mesh: &str, name: &str| {
            let (mesh, name) = (mesh.into(), name.into());
            ResourceKey { kind, mesh, name }
        };
        let list = |kind, mesh: Option<&str>| {
            let mesh = mesh.map(Arc::from);
            Some(Route::List { kind, mesh })
        };
        let trace = item(Kind::TrafficTrace, "m", "t");
        let dataplane = item(Kind::Dataplane, "m", "d.ns");
        for (path, route) in [
            ("/", Some(Route::Index)),
            ("", Some(Route::Index)),
            ("/meshes", list(Kind::Mesh, None)),
            ("/meshes/", list(Kind::Mesh, None)),
            ("/meshes/m", Some(Route::Item(item(Kind::Mesh, "m", "m")))),
            ("/traffic-traces", list(Kind::TrafficTrace, None)),
            ("/dataplanes", list(Kind::Dataplane, None)),
            (
                "/meshes/m/traffic-traces",
                list(Kind::TrafficTrace, Some("m")),
            ),
            (
                "/meshes/m/traffic-traces/t",
                Some(Route::Item(trace.clone())),
            ),
            (
                "/meshes/m/dataplanes/d%2ens",
                Some(Route::Item(dataplane.clone())),
            ),
            (
                "/meshes/m/traffic-traces/t/dataplanes",
                Some(Route::PolicyDataplanes(trace)),
            ),
            (
                "/meshes/m/dataplanes/d.ns/policies",
                Some(Route::DataplanePolicies(dataplane)),
            ),
            ("/meshes/m/meshes", None),
            ("/meshes/m/meshes/x", None),
            ("/meshes//traffic-traces", None),
            ("/meshes/m/traffic-permissions", None),
            ("/traffic-traces/t", None),
            ("/meshes/%zz", None),
            ("/meshes/%+1", None),
            ("/meshes/%ff", None),
            ("/meshes/%", None),
            ("/config", None),
        ] {
            assert_eq!(Route::of(path), route, "{path}");
        }
    }

    #[test]
    fn every_item_is_found_by_its_path() {
        for kind in Kind::ALL {
            let name: Arc<str> = "a b/ü%".into();
            let mesh = match kind {
                Kind::Mesh => Arc::clone(&name),
                _ => "..".into(),
            };
            let key = ResourceKey { kind, mesh, name };
            assert_eq!(Route::of(&item(&key)), Some(Route::Item(key)));
        }
    }

    #[test]
    fn queries_are_read_and_written() {
        let query = Query::of("size=2&name=a%20b+c&size=9&empty&=x");
        assert_eq!(query.get("size"), Some("2"));
        assert_eq!(query.get("name"), Some("a b c"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(
            Query::of("size=2&name=a%26b").with("offset", "4"),
            "name=a%26b&offset=4&size=2"
        );
    }
}
