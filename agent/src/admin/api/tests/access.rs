//! Who may ask for what, and in which form.

use bytes::Bytes;
use hyper::Request;
use hyper::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, WWW_AUTHENTICATE};
use proptest::prelude::*;
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Agent, dataplane, mesh, request, trace};
use crate::admin::api::{KUBERNETES_IS_READ_ONLY, MAX_BODY, Token};
use crate::config::resources;

#[test]
fn methods_that_mean_nothing_are_405_and_paths_404() {
    let agent = Agent::filled();
    for (method, path, status, allow) in [
        ("POST", "/meshes", 405, Some("GET, HEAD")),
        ("PUT", "/meshes", 405, Some("GET, HEAD")),
        ("DELETE", "/", 405, Some("GET, HEAD")),
        (
            "PATCH",
            "/meshes/default",
            405,
            Some("GET, HEAD, PUT, DELETE"),
        ),
        (
            "PUT",
            "/meshes/default/dataplanes/web/policies",
            405,
            Some("GET, HEAD"),
        ),
        ("GET", "/meshes/default/traffic-permissions", 404, None),
        ("PUT", "/meshes/default/retries/x", 404, None),
        ("GET", "/config", 404, None),
    ] {
        let request = request(method, path, Bytes::new());
        let response = agent.api.answer(&request, OffsetDateTime::now_utc());
        let found = response
            .headers()
            .get(ALLOW)
            .map(|allow| allow.to_str().unwrap());
        assert_eq!(
            (response.status().as_u16(), found),
            (status, allow),
            "{method} {path}"
        );
    }
    let request = request("HEAD", "/meshes/default", Bytes::new());
    let response = agent.api.answer(&request, OffsetDateTime::now_utc());
    assert_eq!(response.status(), 200);
}

#[test]
fn on_kubernetes_nothing_is_changed() {
    let mut agent = Agent::filled();
    agent.api.read_only = Some(KUBERNETES_IS_READ_ONLY);
    for (status, error) in [
        agent.put("/meshes/default", mesh("default")),
        agent.delete("/meshes/default"),
    ] {
        assert_eq!(status, 405);
        assert!(
            error["title"].as_str().unwrap().contains("kubectl"),
            "{error}"
        );
    }
    assert_eq!(agent.get("/meshes/default").0, 200);
}

#[test]
fn a_resource_of_a_file_is_in_conflict() {
    let agent = Agent::filled();
    let given = tempfile::tempdir().unwrap();
    let file = given.path().join("given.yaml");
    std::fs::write(&file, "{type: Mesh, name: given}").unwrap();
    agent.api.store.set_files(&[&file]);
    assert_eq!(agent.get("/meshes/given").0, 200);
    for (status, error) in [
        agent.put("/meshes/given", json!({"type": "Mesh", "name": "given"})),
        agent.delete("/meshes/given"),
    ] {
        assert_eq!(status, 409);
        let reason = error["causes"][0]["message"].as_str().unwrap();
        assert!(reason.contains("given.yaml"), "{error}");
    }
}

#[test]
fn a_token_is_asked_for_everywhere_but_at_the_index() {
    let mut agent = Agent::filled();
    agent.api.token = Some(Token::new(b"0123456789abcdef").unwrap());
    let with = |path: &str, header: &str| {
        let mut request = request("GET", path, Bytes::new());
        // A name that others know, too.
        request
            .headers_mut()
            .insert(HOST, HeaderValue::from_static("node-1:5681"));
        if !header.is_empty() {
            let header = header.parse().unwrap();
            request.headers_mut().insert(AUTHORIZATION, header);
        }
        agent.api.answer(&request, OffsetDateTime::now_utc())
    };
    assert_eq!(with("/", "").status(), 200);
    for header in ["Bearer 0123456789abcdef", "bearer  0123456789abcdef "] {
        assert_eq!(with("/meshes", header).status(), 200, "{header}");
    }
    for header in [
        "",
        "Bearer",
        "Bearer ",
        "Bearer 0123456789abcdeF",
        "Bearer 0123456789abcde",
        "Bearer 0123456789abcdef0",
        "Basic 0123456789abcdef",
        "0123456789abcdef",
    ] {
        for path in ["/meshes", "/meshes/default", "/nothing"] {
            let response = with(path, header);
            assert_eq!(response.status(), 401, "{path} {header}");
            assert_eq!(response.headers()[WWW_AUTHENTICATE], "Bearer");
            let body = String::from_utf8_lossy(response.body()).into_owned();
            assert!(!body.contains("0123456789"), "{body}");
        }
    }
}

#[test]
fn a_page_that_calls_the_agent_by_another_name_is_refused() {
    let agent = Agent::filled();
    let as_host = |host: &str| {
        let mut request = request("DELETE", "/meshes/default/traffic-traces/c", Bytes::new());
        request.headers_mut().insert(HOST, host.parse().unwrap());
        let response = agent.api.answer(&request, OffsetDateTime::now_utc());
        response.status().as_u16()
    };
    for host in [
        "evil.example:5681",
        "evil.example",
        "",
        "localhost.evil.example",
        "127.0.0.1.evil.example:5681",
    ] {
        assert_eq!(as_host(host), 421, "{host}");
    }
    assert_eq!(as_host("127.0.0.1:5681"), 200);
    for host in ["localhost", "LOCALHOST:5681", "[::1]:5681", "10.0.0.1"] {
        assert_eq!(as_host(host), 404, "{host}");
    }
}

#[test]
fn a_body_may_be_yaml_and_of_kubernetes_form() {
    let agent = Agent::filled();
    let put = |path: &str, of_type: &str, body: &str| {
        let mut request = request("PUT", path, body.to_owned().into());
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, of_type.parse().unwrap());
        agent.answer(request)
    };
    let yaml = "apiVersion: kuma.io/v1alpha1\nkind: TrafficTrace\nmesh: default\nmetadata: {name: k}\nspec: {selectors: [{match: {a: b}}]}\n";
    let path = "/meshes/default/traffic-traces/k";
    assert_eq!(put(path, "application/yaml", yaml), (201, json!({})));
    let (_, item) = agent.get(path);
    assert_eq!(item["selectors"], json!([{"match": {"a": "b"}}]));
    assert_eq!(item["type"], "TrafficTrace");
    for wrong in ["a: [", "- 1", "", "{a: b}\n---\n{a: c}", "\u{0}"] {
        let (status, error) = put(path, "application/x-yaml; charset=utf-8", wrong);
        assert_eq!(status, 400, "{wrong}: {error}");
    }
}

#[test]
fn what_is_no_json_object_is_refused() {
    let agent = Agent::filled();
    for wrong in [
        "",
        "nothing",
        "[]",
        "{\"type\": \"Mesh\"",
        "\"Mesh\"",
        "{}{}",
    ] {
        let body = Bytes::from(wrong.to_owned());
        let request = request("PUT", "/meshes/default", body);
        let (status, error) = agent.answer(request);
        assert_eq!(status, 400, "{wrong}");
        let detail = error["detail"].as_str().unwrap();
        assert!(detail.starts_with("invalid Mesh object"), "{detail}");
    }
    let deep = format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000));
    assert_eq!(
        agent
            .answer(request("PUT", "/meshes/default", deep.into()))
            .0,
        400
    );
    let long = Bytes::from(vec![b' '; MAX_BODY + 1]);
    assert_eq!(agent.answer(request("PUT", "/meshes/default", long)).0, 413);
}

/// Something of a value is changed: any of its parts becomes something else.
fn broken(value: Value) -> BoxedStrategy<Value> {
    let other = prop_oneof![
        Just(Value::Null),
        any::<i64>().prop_map(Value::from),
        (-1e12..1e12_f64).prop_map(Value::from),
        any::<bool>().prop_map(Value::from),
        ".{0,8}".prop_map(Value::from),
        prop::sample::select(vec![
            "*", "..", "a/b", "\u{0}", "<<", "---", "{{", "#", "&a", "!!int 1", "\u{85}",
            "\u{feff}",
        ])
        .prop_map(Value::from),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[[1]], {"a": "b", "c": {"d": 1}}])),
    ];
    let mut paths = vec![String::new()];
    let mut all = vec![(String::new(), value.clone())];
    while let Some((path, value)) = all.pop() {
        let inside: Vec<(String, Value)> = match value {
            Value::Object(fields) => fields.into_iter().collect(),
            Value::Array(items) => (0..).map(|n: usize| n.to_string()).zip(items).collect(),
            _ => Vec::new(),
        };
        for (name, value) in inside {
            let path = format!("{path}/{}", name.replace('/', "~1"));
            paths.push(path.clone());
            all.push((path, value));
        }
    }
    let change = (
        prop::sample::select(paths),
        other,
        prop::option::of(".{0,4}"),
    );
    prop::collection::vec(change, 0..3)
        .prop_map(move |changes| {
            let mut value = value.clone();
            for (path, other, added) in changes {
                match (added, value.pointer_mut(&path)) {
                    (Some(name), Some(Value::Object(fields))) => {
                        fields.insert(name, other);
                    }
                    (_, Some(part)) => *part = other,
                    (_, None) => {}
                }
            }
            value
        })
        .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is asked is answered, and whatever is taken is given back and
    /// is read by `load`: one resource must not keep the agent from all.
    #[test]
    fn what_is_taken_can_be_loaded(
        bodies in prop::collection::vec(
            prop_oneof![
                broken(mesh("default")).prop_map(|body| ("/meshes/default", body)),
                broken(trace("a")).prop_map(|body| ("/meshes/default/traffic-traces/a", body)),
                broken(dataplane("web")).prop_map(|body| ("/meshes/default/dataplanes/web", body)),
            ],
            1..4,
        ),
    ) {
        let agent = Agent::new();
        agent.apply("/meshes/default", mesh("default"));
        for (path, body) in bodies {
            let (status, answer) = agent.put(path, body.clone());
            prop_assert!(matches!(status, 200 | 201 | 400), "{status} {answer}");
            if status != 400 {
                let (_, item) = agent.get(path);
                let mut applied = body;
                for name in ["creationTime", "modificationTime"] {
                    applied[name] = item[name].clone();
                }
                prop_assert_eq!(item, applied);
            }
            let store = &agent.api.store;
            let loaded = resources::load(&[store.folder().unwrap()]);
            let loaded = loaded.unwrap_or_else(|refused| panic!("{refused}"));
            prop_assert_eq!(&*loaded.resources, &store.resources());
        }
    }

}

fn any_request() -> impl Strategy<Value = Option<Request<Bytes>>> {
    let methods = vec!["GET", "HEAD", "PUT", "DELETE", "POST", "OPTIONS", "X"];
    let words = vec![
        "meshes",
        "traffic-traces",
        "dataplanes",
        "default",
        "a",
        "web",
        "policies",
    ];
    let segment = prop_oneof![
        3 => prop::sample::select(words).prop_map(str::to_owned),
        1 => "%[0-9a-g]{2}",
        1 => "[a-z%.]{0,4}",
    ];
    (
        prop::sample::select(methods),
        prop::collection::vec(segment, 0..6),
        "(size|offset|name|format|[a-z%+]{1,4})?=?[0-9a-z%+&=]{0,12}",
        prop::collection::vec(any::<u8>(), 0..64),
        any::<bool>(),
    )
        .prop_map(|(method, segments, query, body, yaml)| {
            let path = format!("/{}?{query}", segments.join("/"));
            let mut request = request(method, "/", Bytes::from(body));
            *request.uri_mut() = path.parse().ok()?;
            if yaml {
                let yaml = HeaderValue::from_static("application/yaml");
                request.headers_mut().insert(CONTENT_TYPE, yaml);
            }
            Some(request)
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// No request makes it panic, or say that it is broken.
    #[test]
    fn every_request_has_an_answer(requests in prop::collection::vec(any_request(), 40)) {
        let agent = Agent::filled();
        for request in requests.into_iter().flatten() {
            let (status, answer) = agent.answer(request);
            prop_assert!(status < 500, "{status} {answer}");
            prop_assert!(status < 400 || answer["title"].is_string(), "{answer}");
        }
    }
}
