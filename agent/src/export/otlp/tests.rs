//! The encoder against v2 JSON, read by `opentelemetry-proto`.

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, Span as ProtoSpan};
use proptest::prelude::*;
use prost::Message;
use serde_json::{Value as Json, json};

use super::resource::{NO_NAME, SCOPE};
use super::*;
use crate::export::testing::{any_span, in_json, span_of, typical};
use crate::identify::{PodTags, WorkloadKind};

fn encode(encoder: &mut Otlp, spans: &[Span]) -> Vec<u8> {
    let mut batch = Vec::new();
    for span in spans {
        encoder.encode(span, &mut batch).unwrap();
        assert!(batch.is_empty());
    }
    encoder.finish(&mut batch);
    assert_eq!(encoder.pending(), 0);
    batch
}

fn read(batch: &[u8]) -> Vec<ResourceSpans> {
    let request = ExportTraceServiceRequest::decode(batch).unwrap();
    // Every length is written in its own width, and nothing is unknown.
    assert_eq!(request.encoded_len(), batch.len());
    request.resource_spans
}

fn one(span: &Span) -> ProtoSpan {
    let mut encoder = Otlp::default();
    let mut batch = Vec::new();
    encoder.encode(span, &mut batch).unwrap();
    encoder.finish(&mut batch);
    let mut resources = read(&batch);
    assert_eq!(resources.len(), 1);
    resources.remove(0).scope_spans.remove(0).spans.remove(0)
}

fn value(value: Option<AnyValue>) -> Json {
    match value.unwrap().value.unwrap() {
        Value::StringValue(text) => text.into(),
        Value::BoolValue(flag) => flag.into(),
        Value::IntValue(number) => number.into(),
        Value::DoubleValue(number) => number.into(),
        Value::ArrayValue(list) => list
            .values
            .into_iter()
            .map(|v| self::value(Some(v)))
            .collect(),
        other => panic!("{other:?}"),
    }
}

fn attributes(list: Vec<KeyValue>) -> BTreeMap<String, Json> {
    let mut map = BTreeMap::new();
    for attribute in list {
        let value = value(attribute.value);
        assert_eq!(map.insert(attribute.key, value), None);
    }
    map
}

/// Checks a span against what Zipkin gets.
fn check(got: ProtoSpan, span: &Span) {
    let json = in_json(span);
    let hex = |id: &[u8]| -> Json {
        id.iter()
            .map(|b| format!("{b:02x}"))
            .collect::<String>()
            .into()
    };
    let trace = json["traceId"].as_str().unwrap();
    assert_eq!(hex(&got.trace_id), format!("{trace:0>32}"));
    assert_eq!(hex(&got.span_id), json["id"]);
    assert_eq!(
        hex(&got.parent_span_id),
        *json.get("parentId").unwrap_or(&json!(""))
    );
    assert_eq!(got.trace_state, "");
    assert_eq!(got.name, json["name"].as_str().unwrap());
    let server = json["kind"] == "SERVER";
    assert_eq!(got.kind, if server { 2 } else { 3 });
    let remote = server && span.parent.is_some();
    assert_eq!(got.flags, if remote { 0x301 } else { 0x101 });
    let start = json.get("timestamp").map_or(0, |t| t.as_u64().unwrap());
    assert_eq!(got.start_time_unix_nano, start.saturating_mul(1000));
    let end = start.saturating_add(json["duration"].as_u64().unwrap());
    assert_eq!(got.end_time_unix_nano, end.saturating_mul(1000));
    let events: Json = got
        .events
        .iter()
        .map(|event| json!({"timestamp": event.time_unix_nano / 1000, "value": event.name}))
        .collect();
    assert_eq!(events, *json.get("annotations").unwrap_or(&json!([])));
    let status = got.status.unwrap_or_default();
    let error = json["tags"].get("error");
    assert_eq!(status.code, if error.is_some() { 2 } else { 0 });
    let message = error.filter(|text| **text != "true");
    assert_eq!(json!(status.message), *message.unwrap_or(&json!("")));
    check_attributes(attributes(got.attributes), &json, span);
}

fn check_attributes(mut got: BTreeMap<String, Json>, json: &Json, span: &Span) {
    let tags = &json["tags"];
    let server = json["kind"] == "SERVER";
    let mut take = |name: &str| got.remove(name).unwrap_or_default();
    let tag = |name: &str| tags.get(name).cloned().unwrap_or_default();
    let number = |name: &str| -> Json {
        let number = tags
            .get(name)
            .map(|n| n.as_str().unwrap().parse::<u64>().unwrap());
        number.map(|n| n.min(i64::MAX as u64)).into()
    };
    let version = format!(
        "HTTP/{}",
        take("network.protocol.version").as_str().unwrap()
    );
    assert_eq!(version, tag("http.protocol"));
    let method = take("http.request.method");
    if method == "_OTHER" {
        assert_eq!(take("http.request.method_original"), tag("http.method"));
    } else {
        assert_eq!(method, tag("http.method"));
    }
    let id = tags.get("guid:x-request-id").map(|id| json!([id]));
    assert_eq!(
        take("http.request.header.x-request-id"),
        id.unwrap_or_default()
    );
    assert_eq!(take("user_agent.original"), tag("user_agent"));
    assert_eq!(
        take("http.response.status_code"),
        number("http.status_code")
    );
    assert_eq!(take("http.request.body.size"), number("request_size"));
    assert_eq!(take("http.response.body.size"), number("response_size"));
    for wire in ["request_size.wire", "response_size.wire"] {
        assert_eq!(take(wire), json!(tags.get(wire).map(|_| true)));
    }
    assert_eq!(take("network.peer.address"), tag("peer.address"));
    let port = json["remoteEndpoint"].get("port").cloned();
    assert_eq!(take("network.peer.port"), port.unwrap_or_default());
    let service = json["remoteEndpoint"].get("serviceName").cloned();
    assert_eq!(take("peer.service"), service.unwrap_or_default());
    let error = match tag("error") {
        error if error == "true" => tag("http.status_code"),
        error => error,
    };
    assert_eq!(take("error.type"), error);
    assert_eq!(take("sampler.type"), tag("sampler.type"));
    let param = match take("sampler.param") {
        Json::Null => Json::Null,
        Json::Number(number) => number.as_f64().unwrap().to_string().into(),
        flag => flag.to_string().into(),
    };
    assert_eq!(param, tag("sampler.param"));
    if server {
        assert_eq!(take("client.address"), tag("peer.address"));
        let scheme = take("url.scheme");
        assert_eq!(scheme.is_null(), tag("http.url").is_null());
        let (path, query) = (take("url.path"), take("url.query"));
        let url = tag("http.url");
        let url = url.as_str().unwrap_or_default();
        // A cut URL has lost its end, and what a character lost at a cut.
        if url.len() < 4000 && span.exchange.text.all().is_ascii() {
            let mut parts = path.as_str().unwrap_or_default().to_owned();
            if let Some(query) = query.as_str() {
                assert!(!query.is_empty());
                parts = format!("{parts}?{query}");
            }
            let shown = url.strip_suffix("#***").unwrap_or(url);
            let shown = shown.strip_suffix('?').unwrap_or(shown);
            let connect = tag("http.method") == "CONNECT";
            assert!(connect || shown.ends_with(&parts), "{url} {parts}");
        }
    } else {
        assert_eq!(take("url.full"), tag("http.url"));
    }
    let (address, port) = (take("server.address"), take("server.port"));
    assert!(address.is_null() || address.as_str().is_some_and(|text| !text.is_empty()));
    assert!(
        port.is_null()
            || port
                .as_u64()
                .is_some_and(|port| (1..65_536).contains(&port))
    );
    assert_eq!(got, BTreeMap::new());
}

#[test]
fn a_typical_span_says_who_and_what() {
    let mut resources = read(&encode(&mut Otlp::default(), &[typical()]));
    let mut resource = resources.remove(0);
    assert_eq!(
        json!(attributes(resource.resource.unwrap().attributes)),
        json!({
            "service.name": "orders",
            "service.instance.id": "10.244.1.17",
            "host.name": "node-7.example",
        })
    );
    let mut scope = resource.scope_spans.remove(0);
    let names = scope.scope.map(|scope| (scope.name, scope.version));
    let version = env!("CARGO_PKG_VERSION").to_owned();
    assert_eq!(names, Some((SCOPE.to_owned(), version)));
    let span = scope.spans.remove(0);
    check(span.clone(), &typical());
    assert_eq!(
        json!(attributes(span.attributes)),
        json!({
            "network.protocol.version": "1.1",
            "http.request.method": "GET",
            "url.scheme": "http",
            "url.path": "/api/orders/4711",
            "url.query": "limit=***&token=***",
            "http.response.status_code": 200,
            "http.request.header.x-request-id": ["5f2a1c3e-9a77-4c1b-8d2e-0f6b7a8c9d10"],
            "user_agent.original": "Mozilla/5.0 (X11; Linux x86_64) shop-frontend/2.4",
            "http.request.body.size": 0,
            "http.response.body.size": 1843,
            "server.address": "orders.shop.svc",
            "server.port": 8080,
            "client.address": "10.244.2.9",
            "network.peer.address": "10.244.2.9",
            "network.peer.port": 51234,
        })
    );
}

#[test]
fn a_client_has_the_whole_url_and_its_server() {
    let mut span = span_of("BREW", "/pot?a=b", "");
    let got = attributes(one(&span).attributes);
    assert_eq!(got["url.full"], "/pot?a=***");
    assert_eq!(got["http.request.method"], "_OTHER");
    assert_eq!(got["http.request.method_original"], "BREW");
    // Nobody was named, so it is whoever was called.
    assert_eq!(
        (&got["server.address"], &got["server.port"]),
        (&json!("10.244.2.9"), &json!(51234))
    );
    assert_eq!(got.get("client.address"), None);
    span = span_of("GET", "/", "[2001:db8::1]:99");
    let got = attributes(one(&span).attributes);
    assert_eq!(
        (&got["server.address"], &got["server.port"]),
        (&json!("2001:db8::1"), &json!(99))
    );
}

#[test]
fn errors_have_a_status_and_a_kind() {
    let mut span = typical();
    let mut of = |status, failure| {
        (span.exchange.status, span.exchange.failure) = (status, failure);
        let got = one(&span);
        let status = got.status.map(|status| (status.code, status.message));
        (status, attributes(got.attributes).remove("error.type"))
    };
    assert_eq!(of(Some(499), None), (None, None));
    assert_eq!(
        of(Some(503), None),
        (Some((2, String::new())), Some(json!("503")))
    );
    let reset = "connection reset";
    assert_eq!(
        of(Some(200), Some(Failure::Reset)),
        (Some((2, reset.to_owned())), Some(json!(reset)))
    );
}

#[test]
fn each_workload_is_a_resource() {
    let spans: Vec<Span> = (0..9)
        .map(|n| {
            let mut span = typical();
            let workload = Arc::make_mut(&mut span.workload);
            workload.service = ["a", "", "c"][n % 3].into();
            workload.kind = WorkloadKind::Container("4711".into());
            workload.node = "".into();
            if n % 3 == 2 {
                workload.kind = WorkloadKind::Pod;
                workload.pod = Some(PodTags {
                    name: "web-1".into(),
                    namespace: "shop".into(),
                    uid: "8a4f".into(),
                    node: Some("node-1".into()),
                    container: Some("app".into()),
                    container_id: "4711".into(),
                });
            }
            span
        })
        .collect();
    let mut encoder = Otlp::default();
    for _ in 0..2 {
        let batch = encode(&mut encoder, &spans);
        let mut names = BTreeMap::<_, usize>::new();
        for resource in read(&batch) {
            let mut who = attributes(resource.resource.unwrap().attributes);
            assert_eq!(who["container.id"], "4711");
            assert_eq!(who["service.instance.id"], "4711");
            assert_eq!(who.get("host.name"), None);
            let of_pod = who.iter().filter(|(name, _)| name.starts_with("k8s."));
            let of_pod: Vec<_> = of_pod
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            assert_eq!(
                of_pod.join(" "),
                match who["service.name"].as_str() {
                    Some("c") => {
                        "k8s.container.name=\"app\" k8s.namespace.name=\"shop\" \
                         k8s.node.name=\"node-1\" k8s.pod.name=\"web-1\" k8s.pod.uid=\"8a4f\""
                    }
                    _ => "",
                }
            );
            let name = who.remove("service.name").unwrap();
            *names.entry(name.as_str().unwrap().to_owned()).or_default() +=
                resource.scope_spans[0].spans.len();
        }
        let wanted = [("a", 3), ("c", 3), (NO_NAME, 3)];
        assert_eq!(names, wanted.map(|(name, n)| (name.to_owned(), n)).into());
        let cut = encoder.cut()(&batch, 0..4).unwrap();
        let left: usize = read(&cut)
            .iter()
            .map(|r| r.scope_spans[0].spans.len())
            .sum();
        assert_eq!(left, 4);
    }
}

proptest! {
    #[test]
    fn any_span_says_what_it_says_to_zipkin(spans in prop::collection::vec(any_span(), 1..5)) {
        let batch = encode(&mut Otlp::default(), &spans);
        let mut got = Vec::new();
        for resource in read(&batch) {
            let who = attributes(resource.resource.unwrap().attributes);
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                got.push((who["service.name"].clone(), span));
            }
        }
        prop_assert_eq!(got.len(), spans.len());
        for span in &spans {
            let found = got.iter().position(|(_, got)| got.span_id == span.id.get().to_be_bytes());
            let (name, got) = got.remove(found.unwrap());
            let service = &*span.workload.service;
            prop_assert_eq!(name, if service.is_empty() { NO_NAME } else { service });
            check(got, span);
        }
    }
}
