//! The encoder against v2 JSON, through the server's conversion.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::export::testing::{any_span, in_json, span_of, typical};

fn encode(spans: &[&Span]) -> Vec<u8> {
    let mut encoder = ZipkinV1::default();
    let mut batch = Vec::new();
    for span in spans {
        encoder.encode(span, &mut batch).unwrap();
    }
    encoder.finish(&mut batch);
    batch
}

fn parse(span: &Span) -> Json {
    let list: Vec<Json> = serde_json::from_slice(&encode(&[span])).unwrap();
    assert_eq!(list.len(), 1);
    list.into_iter().next().unwrap()
}

/// What Zipkin's `V1SpanConverter` makes of the span of one host.
pub(in crate::export::zipkin) fn to_v2(v1: &Json) -> Json {
    let mut v2 = Map::new();
    for field in [
        "traceId",
        "parentId",
        "id",
        "name",
        "timestamp",
        "duration",
        "debug",
    ] {
        if let Some(value) = v1.get(field) {
            v2.insert(field.into(), value.clone());
        }
    }
    let annotations = v1["annotations"].as_array().unwrap();
    let find = |value: &str| annotations.iter().find(|a| a["value"] == value);
    let (kind, start, end) = match (find("cs"), find("sr")) {
        (Some(start), None) => ("CLIENT", start, find("cr").unwrap()),
        (None, Some(start)) => ("SERVER", start, find("ss").unwrap()),
        other => panic!("{other:?}"),
    };
    v2.insert("kind".into(), kind.into());
    if kind == "SERVER" && v1.get("timestamp").is_none() && v1.get("duration").is_none() {
        v2.insert("shared".into(), true.into());
    }
    let [start_at, end_at] = [start, end].map(|a| a["timestamp"].as_u64().unwrap());
    v2.entry("timestamp").or_insert(start_at.into());
    v2.entry("duration").or_insert((end_at - start_at).into());

    let local = &start["endpoint"];
    assert!(annotations.iter().all(|a| a["endpoint"] == *local));
    insert_endpoint(&mut v2, "localEndpoint", local);
    let mut rest = Vec::new();
    for annotation in annotations {
        if !["cs", "cr", "sr", "ss"].contains(&annotation["value"].as_str().unwrap()) {
            let mut annotation = annotation.clone();
            annotation.as_object_mut().unwrap().remove("endpoint");
            rest.push(annotation);
        }
    }
    if !rest.is_empty() {
        v2.insert("annotations".into(), rest.into());
    }
    let mut tags = Map::new();
    for annotation in v1["binaryAnnotations"].as_array().unwrap() {
        let key = annotation["key"].as_str().unwrap();
        if key == if kind == "CLIENT" { "sa" } else { "ca" } {
            // In thrift, which is read by this as well, it is a boolean.
            let value = &annotation["value"];
            assert!(*value == "true" || *value == true, "{value}");
            insert_endpoint(&mut v2, "remoteEndpoint", &annotation["endpoint"]);
        } else {
            assert_eq!(annotation["endpoint"], *local);
            tags.insert(key.into(), annotation["value"].clone());
        }
    }
    v2.insert("tags".into(), tags.into());
    v2.into()
}

fn insert_endpoint(span: &mut Map<String, Json>, name: &str, endpoint: &Json) {
    let mut endpoint = endpoint.as_object().unwrap().clone();
    endpoint.retain(|_, value| value != "");
    if !endpoint.is_empty() {
        span.insert(name.into(), endpoint.into());
    }
}

/// What v1 cannot say: that a client's span is shared (no server believes it),
/// and that nothing is known of the time.
pub(in crate::export::zipkin) fn tame(mut span: Span) -> Span {
    span.shared &= span.exchange.began.side == Side::Server;
    span.timestamp.0 = span.timestamp.0.max(1);
    span.duration %= 1 << 50;
    span
}

#[test]
fn a_typical_span_is_written_like_this() {
    let json = parse(&typical());
    let local = json!({"serviceName": "orders", "ipv4": "10.244.1.17"});
    assert_eq!(json["timestamp"], 1_794_000_000_123_456_u64);
    assert_eq!(json["duration"], 1431);
    assert_eq!(
        json["annotations"],
        json!([
            {"timestamp": 1_794_000_000_123_456_u64, "value": "sr", "endpoint": local},
            {"timestamp": 1_794_000_000_124_400_u64, "value": "first response byte", "endpoint": local},
            {"timestamp": 1_794_000_000_124_887_u64, "value": "ss", "endpoint": local},
        ])
    );
    let peer = json!({"serviceName": "", "ipv4": "10.244.2.9", "port": 51234});
    assert_eq!(
        json["binaryAnnotations"][0],
        json!({"key": "ca", "value": "true", "endpoint": peer})
    );
    assert_eq!(
        json["binaryAnnotations"][1],
        json!({"key": "http.protocol", "value": "HTTP/1.1", "endpoint": local})
    );
    assert_eq!(json.get("debug"), None);
    assert_eq!(to_v2(&json), in_json(&typical()));
}

#[test]
fn the_shared_half_leaves_its_times_to_the_client() {
    let mut span = typical();
    span.shared = true;
    let json = parse(&span);
    assert_eq!((json.get("timestamp"), json.get("duration")), (None, None));
    assert_eq!(to_v2(&json), in_json(&span));
    let mut span = span_of("GET", "/", "h");
    span.shared = true;
    assert_eq!(parse(&span)["duration"], 1431);
}

#[test]
fn a_span_without_a_peer_begins_with_its_tags() {
    let mut span = typical();
    span.exchange.began.peer = None;
    assert_eq!(to_v2(&parse(&span)), in_json(&span));
}

#[test]
fn nothing_makes_the_server_refuse_a_batch() {
    let mut span = span_of("GET", "/api/userEndpoint", "tags");
    Arc::make_mut(&mut span.workload).service = "anEndpoint".into();
    Arc::make_mut(&mut span.workload).node = "tags".into();
    let text = String::from_utf8(encode(&[&span, &typical(), &span])).unwrap();
    assert!(!text.contains("Endpoint\"") && !text.contains("\"tags\""));
    let list: Vec<Json> = serde_json::from_str(&text).unwrap();
    assert_eq!(list.len(), 3);
    assert_eq!(to_v2(&list[2]), in_json(&span));
}

proptest! {
    #[test]
    fn any_span_says_what_it_says_in_v2(spans in prop::collection::vec(any_span().prop_map(tame), 1..4)) {
        let bytes = encode(&spans.iter().collect::<Vec<_>>());
        let text = std::str::from_utf8(&bytes).unwrap();
        prop_assert!(!text.contains("Endpoint\"") && !text.contains("\"tags\""));
        let list: Vec<Json> = serde_json::from_str(text).unwrap();
        prop_assert_eq!(list.len(), spans.len());
        for (json, span) in list.iter().zip(&spans) {
            prop_assert_eq!(to_v2(json), in_json(span));
        }
    }
}
