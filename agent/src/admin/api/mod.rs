//! Kuma's HTTP API for meshes, traffic-traces and dataplanes.
//!
//! Paths, bodies and status codes are those of Kuma 2.x on Universal
//! (`pkg/api-server/resource_endpoints.go`), so that its `kumactl` can `apply`,
//! `get` and `delete` against the agent. [`Api::answer`] is a function from
//! request to response over a [`Store`]; [`Server`] puts it on a port.
//!
//! | path | methods |
//! |---|---|
//! | `/` | GET; needs no token, as in Kuma |
//! | `/meshes`, `/traffic-traces`, `/dataplanes` | GET, with `size`, `offset`, `name` |
//! | `/meshes/{mesh}/traffic-traces`, `…/dataplanes` | GET, the same of one mesh |
//! | `/meshes/{name}`, `/meshes/{mesh}/traffic-traces/{name}`, `…/dataplanes/{name}` | GET (`?format=k8s`), PUT, DELETE |
//! | `/meshes/{mesh}/traffic-traces/{name}/dataplanes` | GET: the workloads that it selects |
//! | `/meshes/{mesh}/dataplanes/{name}/policies` | GET: the policy that selects it |

pub mod client;
mod error;
mod inspect;
mod list;
mod route;
mod server;
mod start;
#[cfg(test)]
mod tests;
mod token;

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::Arc;

use bytes::Bytes;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use hyper::{Method, Request, Response, StatusCode};
use serde_json::{Map, Value, json};
use time::OffsetDateTime;

use self::error::{Problem, findings};
use self::route::{Query, Route};
use super::store::{Refusal, Store};
use crate::config::resources;
use crate::config::{Finding, Severity};
use crate::policy::{Kind, ResourceKey};

pub use server::{ApiError, Server};
pub use start::{Running, start, store};
pub use token::{Token, WrongToken};

/// Where the API listens if it is only switched on: `127.0.0.1:5681`, Kuma's
/// port.
pub const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 5681));

/// Bytes of a body at most.
pub const MAX_BODY: usize = 1 << 20;

/// The version of Kuma whose API this is.
const KUMA: &str = "2.14.3";

const COULD_NOT_PROCESS: &str = "Could not process a resource";
const COULD_NOT_DELETE: &str = "Could not delete a resource";
const COULD_NOT_RETRIEVE: &str = "Could not retrieve a resource";

/// What answers.
#[derive(Debug)]
pub struct Api {
    /// Where resources are kept.
    pub store: Arc<Store>,
    /// What a client must show to be answered.
    pub token: Option<Token>,
    /// The name of this host.
    pub hostname: String,
    /// Why nothing can be changed here, if so: on Kubernetes `kubectl` does.
    pub read_only: Option<&'static str>,
}

/// Why nothing is changed on Kubernetes.
pub const KUBERNETES_IS_READ_ONLY: &str =
    "The resources of this agent come from Kubernetes: change them with 'kubectl apply'.";

impl Api {
    /// Answers a request that came at `now`.
    #[must_use]
    pub fn answer(&self, request: &Request<Bytes>, now: OffsetDateTime) -> Response<Bytes> {
        match self.respond(request, now) {
            Ok((status, value)) => reply(status, &value),
            Err(problem) => {
                let mut response = reply(problem.status, &problem.body());
                let headers = response.headers_mut();
                if let Some(allow) = problem.allow {
                    headers.insert(ALLOW, HeaderValue::from_static(allow));
                }
                if problem.status == StatusCode::UNAUTHORIZED {
                    headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
                }
                response
            }
        }
    }

    fn respond(
        &self,
        request: &Request<Bytes>,
        now: OffsetDateTime,
    ) -> Result<(StatusCode, Value), Problem> {
        let route = Route::of(request.uri().path());
        if route != Some(Route::Index) {
            self.admit(request)?;
        } else if self.token.is_none() {
            local_host(request)?;
        }
        let Some(route) = route else {
            let detail = format!("{} is not served here", request.uri().path());
            return Err(
                Problem::new(StatusCode::NOT_FOUND, "Not found", detail).parameter(
                    "path",
                    "nodespan keeps meshes, traffic-traces and dataplanes",
                ),
            );
        };
        let is_item = matches!(route, Route::Item(_));
        match *request.method() {
            Method::GET | Method::HEAD => self.get(&route, request).map(ok),
            Method::PUT | Method::DELETE if is_item && self.read_only.is_some() => {
                let why = self.read_only.unwrap_or_default();
                Err(Problem::method_not_allowed(why, "GET, HEAD"))
            }
            Method::PUT => match route {
                Route::Item(key) => self.put(&key, request, now),
                _ => Err(Problem::method_not_allowed("", "GET, HEAD")),
            },
            Method::DELETE => match route {
                Route::Item(key) => self.delete(&key).map(ok),
                _ => Err(Problem::method_not_allowed("", "GET, HEAD")),
            },
            _ if is_item => Err(Problem::method_not_allowed("", "GET, HEAD, PUT, DELETE")),
            _ => Err(Problem::method_not_allowed("", "GET, HEAD")),
        }
    }

    /// Whether a client may ask.
    fn admit(&self, request: &Request<Bytes>) -> Result<(), Problem> {
        let Some(token) = &self.token else {
            return local_host(request);
        };
        let shown = request.headers().get(AUTHORIZATION);
        let shown = shown.and_then(|value| bearer(value.as_bytes()));
        match shown {
            Some(shown) if token.is(shown) => Ok(()),
            _ => {
                let detail = match shown {
                    Some(_) => "The token is not the right one",
                    None => "There is no header `Authorization: Bearer TOKEN`",
                };
                let status = StatusCode::UNAUTHORIZED;
                Err(Problem::new(status, "Invalid authentication data", detail))
            }
        }
    }

    fn get(&self, route: &Route, request: &Request<Bytes>) -> Result<Value, Problem> {
        let query = Query::of(request.uri().query().unwrap_or_default());
        match route {
            Route::Index => Ok(self.index()),
            Route::List { kind, mesh } => {
                if let Some(mesh) = mesh {
                    self.mesh_exists(mesh)?;
                }
                let items = self.store.list(*kind, mesh.as_deref());
                let page = list::page(items, &query)?;
                Ok(page.answer(|item| Value::Object(item.value.clone()), request))
            }
            Route::Item(key) => {
                let Some(item) = self.store.get(key) else {
                    return Err(Problem::not_found(COULD_NOT_RETRIEVE));
                };
                match query.get("format") {
                    None | Some("" | "universal") => Ok(Value::Object(item.value.clone())),
                    Some("k8s" | "kubernetes") => Ok(kubernetes(item.value.clone())),
                    Some(_) => Err(Problem::bad("invalid format", "Resource is not valid")
                        .parameter("format", "must be one of k8s, kubernetes, universal")),
                }
            }
            Route::PolicyDataplanes(key) => inspect::dataplanes(&self.store, key, &query, request),
            Route::DataplanePolicies(key) => inspect::policies(&self.store, key),
        }
    }

    /// Listing what is of a mesh that does not exist is an error in 2.x.
    fn mesh_exists(&self, mesh: &Arc<str>) -> Result<(), Problem> {
        match self.store.get(&super::store::mesh_key(mesh)) {
            Some(_) => Ok(()),
            None => Err(Problem::not_found("Failed to retrieve Mesh")),
        }
    }

    /// What `kumactl` asks for before anything else. It wants to hear that
    /// this is Kuma (`tagline`, `product`), and of which version.
    fn index(&self) -> Value {
        json!({
            "hostname": self.hostname,
            "tagline": "Kuma",
            "product": "Kuma",
            "version": KUMA,
            "instanceId": format!("{}-nodespan", self.hostname),
            "clusterId": self.hostname,
            "gui": "",
            "nodespan": env!("CARGO_PKG_VERSION"),
        })
    }

    fn put(
        &self,
        key: &ResourceKey,
        request: &Request<Bytes>,
        now: OffsetDateTime,
    ) -> Result<(StatusCode, Value), Problem> {
        let value = body(key.kind, request)?;
        same_as_url(key, &value)?;
        let title = match self.store.get(key) {
            Some(_) => "Failed to update a resource",
            None => "Failed to create a resource",
        };
        match self.store.put(key, value, now) {
            Ok(put) => {
                let status = match put.created {
                    true => StatusCode::CREATED,
                    false => StatusCode::OK,
                };
                let warnings: Vec<String> = put.warnings.iter().map(sentence).collect();
                let answer = match &*warnings {
                    [] => json!({}),
                    warnings => json!({ "warnings": warnings }),
                };
                Ok((status, answer))
            }
            Err(Refusal::Invalid(found)) => {
                // What is not of the specification Kuma says before it looks
                // at that.
                let of_meta = |finding: &Finding| {
                    finding.severity == Severity::Error
                        && matches!(&*finding.field, "name" | "mesh" | "type")
                };
                let title = match found.iter().any(of_meta) {
                    true => COULD_NOT_PROCESS,
                    false => title,
                };
                Err(findings(title, &found))
            }
            Err(refusal) => Err(Problem::of(&refusal, title)),
        }
    }

    fn delete(&self, key: &ResourceKey) -> Result<Value, Problem> {
        self.store
            .delete(key)
            .map(|()| json!({}))
            .map_err(|refusal| Problem::of(&refusal, COULD_NOT_DELETE))
    }
}

/// The object of a body: JSON as `kumactl` sends it, or YAML if it says so.
fn body(kind: Kind, request: &Request<Bytes>) -> Result<Map<String, Value>, Problem> {
    let wrong = |reason: String| {
        let detail = format!("invalid {kind} object: {reason:?}");
        Problem::bad(COULD_NOT_PROCESS, detail)
    };
    let bytes = request.body();
    if bytes.len() > MAX_BODY {
        return Err(Problem::too_long());
    }
    let of_type = request.headers().get(CONTENT_TYPE);
    let of_type = of_type.and_then(|of_type| of_type.to_str().ok());
    if of_type.is_some_and(|of_type| of_type.to_ascii_lowercase().contains("yaml")) {
        let text = std::str::from_utf8(bytes).map_err(|error| wrong(error.to_string()))?;
        let values = resources::values("body", text).map_err(|report| {
            let first = report.findings.first();
            wrong(first.map_or_else(String::new, |finding| finding.message.clone()))
        })?;
        return match <[_; 1]>::try_from(values) {
            Ok([value]) => Ok(value),
            Err(values) => Err(wrong(format!(
                "{} resources in the body, wanted one",
                values.len()
            ))),
        };
    }
    let value: Map<String, Value> =
        serde_json::from_slice(bytes).map_err(|error| wrong(error.to_string()))?;
    Ok(resources::universal(value))
}

/// Body and URL must speak of the same resource (`validateResourceRequest`,
/// `resource_endpoints.go`).
fn same_as_url(key: &ResourceKey, value: &Map<String, Value>) -> Result<(), Problem> {
    let is = |field: &str, wanted: &str| {
        let found = value.get(field).and_then(Value::as_str);
        found.unwrap_or_default() == wanted
    };
    let mut different = Vec::new();
    if !is("name", &key.name) {
        different.push("name");
    }
    if !is("type", key.kind.as_str()) {
        different.push("type");
    }
    if key.kind != Kind::Mesh && !is("mesh", &key.mesh) {
        different.push("mesh");
    }
    if different.is_empty() {
        return Ok(());
    }
    let problem = Problem::bad(COULD_NOT_PROCESS, "Resource is not valid");
    Err(different.into_iter().fold(problem, |problem, field| {
        let reason = format!("{field} from the URL has to be the same as in body");
        problem.parameter(field, reason)
    }))
}

/// Without a token only loopback is listened on, where a page in somebody's
/// browser could still speak as a name that leads here (DNS rebinding).
fn local_host(request: &Request<Bytes>) -> Result<(), Problem> {
    let host = request.headers().get(HOST).map(|host| host.to_str());
    let host = match host {
        None => return Ok(()),
        Some(host) => host.unwrap_or_default(),
    };
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_local = name.eq_ignore_ascii_case("localhost") || address.parse::<IpAddr>().is_ok();
    if is_local {
        return Ok(());
    }
    let detail = format!(
        "Without a token this is only answered as localhost or an address, not as {host:?}"
    );
    let status = StatusCode::MISDIRECTED_REQUEST;
    Err(Problem::new(status, "Not served under this name", detail))
}

/// The token of `Bearer TOKEN` (RFC 6750, 2.1).
fn bearer(header: &[u8]) -> Option<&[u8]> {
    let (scheme, token) = header.split_at_checked(7)?;
    let is_bearer = scheme.eq_ignore_ascii_case(b"bearer ");
    is_bearer.then(|| token.trim_ascii())
}

/// A resource as `kubectl` wants it.
fn kubernetes(mut value: Map<String, Value>) -> Value {
    let mut metadata = Map::new();
    let mut resource = Map::new();
    for (from, to) in [("name", "name"), ("labels", "labels")] {
        metadata.extend(value.remove(from).map(|value| (to.to_owned(), value)));
    }
    let kind = value.remove("type").unwrap_or_default();
    resource.insert("apiVersion".to_owned(), json!("kuma.io/v1alpha1"));
    resource.insert("kind".to_owned(), kind);
    resource.extend(value.remove("mesh").map(|mesh| ("mesh".to_owned(), mesh)));
    value.retain(|name, _| !matches!(&**name, "creationTime" | "modificationTime"));
    resource.insert("metadata".to_owned(), Value::Object(metadata));
    resource.insert("spec".to_owned(), Value::Object(value));
    Value::Object(resource)
}

/// A warning in one line.
fn sentence(finding: &Finding) -> String {
    let field = match &*finding.field {
        "" => String::new(),
        field => format!("{field}: "),
    };
    let hint = finding.hint.as_ref();
    let hint = hint.map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("{field}{}{hint}", finding.message)
}

fn ok(value: Value) -> (StatusCode, Value) {
    (StatusCode::OK, value)
}

fn reply(status: StatusCode, value: &Value) -> Response<Bytes> {
    // Keys are strings and numbers finite: this can always be written.
    let mut text = serde_json::to_vec_pretty(value).unwrap_or_default();
    text.push(b'\n');
    let mut response = Response::new(Bytes::from(text));
    *response.status_mut() = status;
    let json = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, json);
    response
}
