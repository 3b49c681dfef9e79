//! Requests as `kumactl` and Kuma's own tests make them.

mod access;
mod killed;
mod sockets;

use std::sync::Arc;

use serde_json::json;
use tempfile::TempDir;

use super::*;

struct Agent {
    api: Api,
    _folder: TempDir,
}

impl Agent {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let api = Api {
            store: Arc::new(Store::open(folder.path()).unwrap()),
            token: None,
            hostname: "node-1".to_owned(),
            read_only: None,
        };
        Self {
            api,
            _folder: folder,
        }
    }

    /// An agent with a mesh, three policies and two workloads.
    fn filled() -> Self {
        let agent = Self::new();
        agent.apply("/meshes/default", mesh("default"));
        for name in ["a", "b", "c"] {
            agent.apply(
                &format!("/meshes/default/traffic-traces/{name}"),
                trace(name),
            );
        }
        for name in ["web", "db"] {
            agent.apply(
                &format!("/meshes/default/dataplanes/{name}"),
                dataplane(name),
            );
        }
        agent
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better so")]
    fn answer(&self, request: Request<Bytes>) -> (u16, Value) {
        let response = self.api.answer(&request, OffsetDateTime::now_utc());
        let json = response.headers()[CONTENT_TYPE] == "application/json";
        assert!(json, "{response:?}");
        let body = serde_json::from_slice(response.body()).unwrap();
        (response.status().as_u16(), body)
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.answer(request("GET", path, Bytes::new()))
    }

    fn delete(&self, path: &str) -> (u16, Value) {
        self.answer(request("DELETE", path, Bytes::new()))
    }

    #[expect(clippy::needless_pass_by_value, reason = "calls read better so")]
    fn put(&self, path: &str, value: Value) -> (u16, Value) {
        self.answer(request("PUT", path, value.to_string().into()))
    }

    fn apply(&self, path: &str, value: Value) {
        assert_eq!(self.put(path, value), (201, json!({})), "{path}");
    }
}

/// As `kumactl`'s store sends it (`pkg/plugins/resources/remote/store.go`).
fn request(method: &str, path: &str, body: Bytes) -> Request<Bytes> {
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "localhost:5681")
        .header("accept", "application/json");
    let request = match body.is_empty() {
        true => request,
        false => request.header("content-type", "application/json"),
    };
    request.body(body).unwrap()
}

fn mesh(name: &str) -> Value {
    json!({"type": "Mesh", "name": name, "tracing": {"defaultBackend": "z", "backends": [
        {"name": "z", "type": "zipkin", "sampling": 100.0, "conf": {"url": "http://z:9411/api/v2/spans"}}]}})
}

fn trace(name: &str) -> Value {
    json!({"type": "TrafficTrace", "mesh": "default", "name": name,
        "selectors": [{"match": {"kuma.io/service": name}}], "conf": {"backend": "z"}})
}

fn dataplane(name: &str) -> Value {
    json!({"type": "Dataplane", "mesh": "default", "name": name, "networking": {
        "address": "10.0.0.1", "inbound": [
            {"port": 80, "tags": {"kuma.io/service": name, "kuma.io/protocol": "http"}}]}})
}

/// The fields of an item that the server sets.
fn without_times(mut item: Value) -> Value {
    let fields = item.as_object_mut().unwrap();
    for name in ["creationTime", "modificationTime"] {
        let time = fields.remove(name).unwrap();
        OffsetDateTime::parse(
            time.as_str().unwrap(),
            &time::format_description::well_known::Rfc3339,
        )
        .unwrap();
    }
    item
}

#[test]
fn the_index_says_that_this_is_kuma_of_the_2_line() {
    let (status, index) = Agent::new().get("/");
    assert_eq!(status, 200);
    for field in ["tagline", "product"] {
        assert_eq!(index[field], "Kuma");
    }
    assert!(index["version"].as_str().unwrap().starts_with("2."));
    assert_eq!(index["hostname"], "node-1");
    for field in ["instanceId", "clusterId", "gui"] {
        assert!(index[field].is_string(), "{field}");
    }
}

/// `kumactl apply -f` asks `GET /`, `GET item`, `PUT item` for each resource
/// (`app/kumactl/cmd/apply/apply.go`).
#[test]
fn the_requests_of_kumactl_apply() {
    let agent = Agent::new();
    for (path, body) in [
        ("/meshes/default", mesh("default")),
        ("/meshes/default/traffic-traces/a", trace("a")),
        ("/meshes/default/dataplanes/web", dataplane("web")),
    ] {
        assert_eq!(agent.get("/").0, 200);
        let (status, error) = agent.get(path);
        assert_eq!(status, 404);
        assert_eq!(error["title"], "Could not retrieve a resource");
        assert_eq!(error["details"], "Not found");
        assert_eq!(agent.put(path, body.clone()), (201, json!({})));
        // The second time it is there, and is updated with what `GET` gave,
        // times and all.
        let (status, item) = agent.get(path);
        assert_eq!((status, without_times(item.clone())), (200, body));
        assert_eq!(agent.put(path, item.clone()), (200, json!({})));
        let (_, again) = agent.get(path);
        assert_eq!(again["creationTime"], item["creationTime"]);
        assert!(again["modificationTime"].as_str() > item["modificationTime"].as_str());
    }
}

#[test]
fn everything_that_was_applied_is_given_back() {
    let agent = Agent::new();
    let mut full = mesh("default");
    full["labels"] = json!({"team": "a"});
    full["mtls"] =
        json!({"enabledBackend": "ca-1", "backends": [{"name": "ca-1", "type": "builtin"}]});
    full["routing"] = json!({"localityAwareLoadBalancing": true});
    full["metrics"] = json!({"backends": [{"conf": {"port": 5670, "ratio": 0.25, "none": null}}]});
    full["constraints"] = json!({"dataplaneProxy": {"requirements": [{"tags": {"ü": "*"}}]}});
    let (status, _) = agent.put("/meshes/default", full.clone());
    assert_eq!(status, 201);
    assert_eq!(without_times(agent.get("/meshes/default").1), full);
}

#[test]
fn lists_have_pages() {
    let agent = Agent::filled();
    let names = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().unwrap().iter();
        items
            .map(|item| item["name"].as_str().unwrap().to_owned())
            .collect()
    };
    let (status, all) = agent.get("/meshes/default/traffic-traces");
    assert_eq!(
        (status, names(&all)),
        (200, vec!["a".into(), "b".into(), "c".into()])
    );
    assert_eq!((&all["total"], &all["next"]), (&json!(3), &Value::Null));
    assert_eq!(agent.get("/traffic-traces").1, all);

    let (_, first) = agent.get("/meshes/default/traffic-traces?size=2");
    assert_eq!(
        (names(&first), &first["total"]),
        (vec!["a".into(), "b".into()], &json!(3))
    );
    let next = first["next"].as_str().unwrap();
    let path = next.strip_prefix("http://localhost:5681").unwrap();
    assert_eq!(path, "/meshes/default/traffic-traces?offset=2&size=2");
    let (_, second) = agent.get(path);
    assert_eq!(
        (names(&second), &second["next"]),
        (vec!["c".into()], &Value::Null)
    );

    let (_, beyond) = agent.get("/meshes?offset=9");
    assert_eq!(beyond, json!({"total": 1, "items": [], "next": null}));
    let (_, named) = agent.get("/dataplanes?name=e");
    assert_eq!(
        (names(&named), &named["total"]),
        (vec!["web".into()], &json!(1))
    );
    assert_eq!(names(&agent.get("/meshes?size=0").1), ["default"]);
    assert_eq!(names(&agent.get("/meshes?size=1000").1), ["default"]);
}

#[test]
fn wrong_pages_are_told() {
    let agent = Agent::filled();
    for (query, detail, field, reason) in [
        (
            "offset=invalid",
            "Invalid offset",
            "offset",
            "Invalid format",
        ),
        ("offset=-1", "Invalid offset", "offset", "Invalid format"),
        (
            "size=invalid",
            "Invalid page size",
            "size",
            "Invalid format",
        ),
        ("size=-1", "Invalid page size", "size", "Invalid format"),
        (
            "size=2000",
            "Invalid page size",
            "size",
            "invalid page size of 2000. Maximum page size is 1000",
        ),
    ] {
        let (status, error) = agent.get(&format!("/meshes?{query}"));
        let wanted = json!({
            "type": "/std-errors", "status": 400, "title": "Could not retrieve resources",
            "detail": detail, "details": detail,
            "invalid_parameters": [{"field": field, "reason": reason}],
            "causes": [{"field": field, "message": reason}],
        });
        assert_eq!((status, error), (400, wanted), "{query}");
    }
}

/// Kuma's own expectations: `pkg/api-server/resource_endpoints_test.go`.
#[test]
fn body_and_url_must_agree() {
    let agent = Agent::filled();
    let causes = |error: &Value| error["causes"].clone();
    let cause = |field: &str| {
        let message = format!("{field} from the URL has to be the same as in body");
        json!([{"field": field, "message": message}])
    };
    for (change, field) in [
        (json!({"name": "other"}), "name"),
        (json!({"mesh": "other"}), "mesh"),
        (json!({"type": "Mesh"}), "type"),
        (json!({"name": null}), "name"),
        (json!({"type": 3}), "type"),
    ] {
        let mut body = trace("a");
        let fields = body.as_object_mut().unwrap();
        fields.extend(change.as_object().unwrap().clone());
        let (status, error) = agent.put("/meshes/default/traffic-traces/a", body);
        assert_eq!((status, causes(&error)), (400, cause(field)));
        assert_eq!(error["title"], "Could not process a resource");
        assert_eq!(error["detail"], "Resource is not valid");
    }
    let (_, error) = agent.put("/meshes/default/traffic-traces/a", json!({}));
    assert_eq!(causes(&error).as_array().unwrap().len(), 3);
}

#[test]
fn every_violation_is_told_at_once() {
    let agent = Agent::filled();
    let mut wrong = mesh("default");
    wrong["tracing"]["defaultBackend"] = json!("nothing");
    wrong["tracing"]["backends"][0]["sampling"] = json!(100.1);
    wrong["tracing"]["backends"][0]["conf"]["url"] = json!("http://zipkin.local/v2/spans");
    let (status, error) = agent.put("/meshes/default", wrong.clone());
    assert_eq!(
        (status, &error["title"]),
        (400, &json!("Failed to update a resource"))
    );
    let mut fields: Vec<_> = error["invalid_parameters"].as_array().unwrap().clone();
    fields.sort_by_key(ToString::to_string);
    let parameter = |field: &str, reason: &str| json!({"field": field, "reason": reason});
    assert_eq!(
        fields,
        [
            parameter(
                "tracing.backends[0].config.url",
                "port has to be explicitly specified"
            ),
            parameter(
                "tracing.backends[0].sampling",
                "has to be in [0.0 - 100.0] range"
            ),
            parameter(
                "tracing.defaultBackend",
                "has to be set to one of the tracing backend in mesh"
            ),
        ]
    );
    assert_eq!(
        agent.get("/meshes/default").1["tracing"],
        mesh("default")["tracing"]
    );
    wrong["name"] = json!("new");
    let (_, error) = agent.put("/meshes/new", wrong);
    assert_eq!(error["title"], "Failed to create a resource");
    // What is not of the specification comes before it.
    let (status, error) = agent.put("/meshes/UPPER", mesh("UPPER"));
    assert_eq!(
        (status, &error["title"]),
        (400, &json!("Could not process a resource"))
    );
    assert_eq!(error["causes"][0]["field"], "name");
}

#[test]
fn an_unknown_mesh_is_a_wrong_resource_and_no_list() {
    let agent = Agent::new();
    let (status, error) = agent.put("/meshes/default/traffic-traces/a", trace("a"));
    assert_eq!(
        (status, &error["detail"]),
        (400, &json!("Mesh is not found"))
    );
    assert_eq!(
        error["invalid_parameters"],
        json!([{"field": "mesh", "reason": "mesh of name default is not found"}])
    );
    let (status, error) = agent.get("/meshes/default/traffic-traces");
    assert_eq!(
        (status, &error["title"]),
        (404, &json!("Failed to retrieve Mesh"))
    );
    let empty = json!({"total": 0, "items": [], "next": null});
    assert_eq!(agent.get("/traffic-traces"), (200, empty));
}

#[test]
fn unknown_fields_are_kept_with_a_warning() {
    let agent = Agent::filled();
    let mut body = trace("a");
    body["selecters"] = json!([]);
    let (status, answer) = agent.put("/meshes/default/traffic-traces/a", body);
    assert_eq!(status, 200);
    let warnings = answer["warnings"].as_array().unwrap();
    let [warning] = &**warnings else {
        panic!("{answer}");
    };
    assert!(warning.as_str().unwrap().contains("selectors"), "{warning}");
    let (_, item) = agent.get("/meshes/default/traffic-traces/a");
    assert_eq!(item["selecters"], json!([]));
}

#[test]
fn deleting_is_told_and_done() {
    let agent = Agent::filled();
    let path = "/meshes/default/traffic-traces/a";
    assert_eq!(agent.delete(path), (200, json!({})));
    let (status, error) = agent.delete(path);
    assert_eq!(
        (status, &error["title"]),
        (404, &json!("Could not delete a resource"))
    );
    let (status, error) = agent.delete("/meshes/default");
    assert_eq!(
        (status, &error["detail"]),
        (400, &json!("Resource is not valid"))
    );
    assert_eq!(
        error["causes"],
        json!([{"field": "mesh", "message": "unable to delete mesh, there are still some dataplanes attached"}])
    );
    for name in ["web", "db"] {
        assert_eq!(
            agent
                .delete(&format!("/meshes/default/dataplanes/{name}"))
                .0,
            200
        );
    }
    assert_eq!(agent.delete("/meshes/default").0, 200);
    assert_eq!(agent.get("/traffic-traces").1["total"], 0);
}

#[test]
fn items_are_exported_for_kubectl() {
    let agent = Agent::filled();
    let path = "/meshes/default/traffic-traces/a";
    let (status, item) = agent.get(&format!("{path}?format=k8s"));
    assert_eq!(status, 200);
    assert_eq!(
        item,
        json!({
            "apiVersion": "kuma.io/v1alpha1", "kind": "TrafficTrace", "mesh": "default",
            "metadata": {"name": "a"},
            "spec": {"selectors": [{"match": {"kuma.io/service": "a"}}], "conf": {"backend": "z"}},
        })
    );
    assert_eq!(
        without_times(agent.get(&format!("{path}?format=universal")).1),
        trace("a")
    );
    assert_eq!(agent.get(&format!("{path}?format=xml")).0, 400);
}

#[test]
fn inspecting_shows_who_wins() {
    let agent = Agent::filled();
    let mut all = trace("b");
    all["selectors"] = json!([{"match": {"kuma.io/service": "*"}}]);
    assert_eq!(
        agent.put("/meshes/default/traffic-traces/b", all.clone()).0,
        200
    );
    let mut web = trace("a");
    web["selectors"] = json!([{"match": {"kuma.io/service": "web"}}]);
    assert_eq!(agent.put("/meshes/default/traffic-traces/a", web).0, 200);

    let entry = |name: &str| {
        json!({"kind": "SidecarDataplane", "dataplane": {"mesh": "default", "name": name},
            "attachments": [{"type": "dataplane"}]})
    };
    for (policy, selected) in [
        ("a", vec![entry("web")]),
        ("b", vec![entry("db")]),
        ("c", vec![]),
    ] {
        let path = format!("/meshes/default/traffic-traces/{policy}/dataplanes");
        let wanted = json!({"total": selected.len(), "items": selected, "next": null});
        assert_eq!(agent.get(&path), (200, wanted), "{policy}");
    }
    let (status, policies) = agent.get("/meshes/default/dataplanes/db/policies");
    assert_eq!(
        (status, &policies["kind"]),
        (200, &json!("SidecarDataplane"))
    );
    let matched = policies["items"][0]["matchedPolicies"]["TrafficTrace"][0].clone();
    assert_eq!(without_times(matched), all);
    for path in ["traffic-traces/x/dataplanes", "dataplanes/x/policies"] {
        assert_eq!(agent.get(&format!("/meshes/default/{path}")).0, 404);
    }
}
