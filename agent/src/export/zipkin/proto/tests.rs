//! The encoder against v2 JSON, read by `prost` with the schema of
//! `zipkin.proto`.

use std::collections::HashMap;
use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use prost::Message;
use serde_json::{Map, Value as Json, json};

use super::*;
use crate::export::testing::{any_span, in_json, span_of, typical};

#[derive(Clone, PartialEq, Message)]
struct ListOfSpans {
    #[prost(message, repeated, tag = "1")]
    spans: Vec<ProtoSpan>,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoSpan {
    #[prost(bytes = "vec", tag = "1")]
    trace_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    parent_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    id: Vec<u8>,
    #[prost(int32, tag = "4")]
    kind: i32,
    #[prost(string, tag = "5")]
    name: String,
    #[prost(fixed64, tag = "6")]
    timestamp: u64,
    #[prost(uint64, tag = "7")]
    duration: u64,
    #[prost(message, tag = "8")]
    local_endpoint: Option<ProtoEndpoint>,
    #[prost(message, tag = "9")]
    remote_endpoint: Option<ProtoEndpoint>,
    #[prost(message, repeated, tag = "10")]
    annotations: Vec<Annotation>,
    #[prost(map = "string, string", tag = "11")]
    tags: HashMap<String, String>,
    #[prost(bool, tag = "12")]
    debug: bool,
    #[prost(bool, tag = "13")]
    shared: bool,
}

#[derive(Clone, PartialEq, Message)]
struct ProtoEndpoint {
    #[prost(string, tag = "1")]
    service_name: String,
    #[prost(bytes = "vec", tag = "2")]
    ipv4: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    ipv6: Vec<u8>,
    #[prost(int32, tag = "4")]
    port: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Annotation {
    #[prost(fixed64, tag = "1")]
    timestamp: u64,
    #[prost(string, tag = "2")]
    value: String,
}

fn encode(spans: &[&Span]) -> Vec<u8> {
    let mut encoder = ZipkinProto::default();
    let mut batch = Vec::new();
    for span in spans {
        encoder.encode(span, &mut batch).unwrap();
    }
    encoder.finish(&mut batch);
    batch
}

fn to_json(span: ProtoSpan) -> Json {
    let hex = |id: &[u8]| -> String { id.iter().map(|b| format!("{b:02x}")).collect() };
    assert!(span.trace_id.len() == 16 && span.id.len() == 8);
    // As Zipkin's server reads it.
    let trace = hex(&span.trace_id);
    let trace = trace.strip_prefix("0000000000000000").unwrap_or(&trace);
    let mut json = Map::new();
    let mut put = |name: &str, value: Json| {
        let empty = ["", "[]", "{}", "false", "0", "\"\"", "null"];
        if !empty.contains(&&*value.to_string()) {
            json.insert(name.into(), value);
        }
    };
    put("traceId", trace.into());
    put("parentId", hex(&span.parent_id).into());
    put("id", hex(&span.id).into());
    put("kind", ["", "CLIENT", "SERVER"][span.kind as usize].into());
    put("name", span.name.into());
    put("timestamp", span.timestamp.into());
    put("duration", span.duration.into());
    put("localEndpoint", endpoint(span.local_endpoint));
    put("remoteEndpoint", endpoint(span.remote_endpoint));
    let annotation = |a: Annotation| json!({"timestamp": a.timestamp, "value": a.value});
    put(
        "annotations",
        span.annotations.into_iter().map(annotation).collect(),
    );
    put("tags", json!(span.tags));
    put("debug", span.debug.into());
    put("shared", span.shared.into());
    json.into()
}

fn endpoint(endpoint: Option<ProtoEndpoint>) -> Json {
    let mut json = Map::new();
    let Some(endpoint) = endpoint else {
        return Json::Null;
    };
    // An empty one would be refused.
    assert_ne!(endpoint, ProtoEndpoint::default());
    if !endpoint.service_name.is_empty() {
        json.insert("serviceName".into(), endpoint.service_name.into());
    }
    if let Ok(ip) = <[u8; 4]>::try_from(endpoint.ipv4) {
        json.insert("ipv4".into(), Ipv4Addr::from(ip).to_string().into());
    }
    if let Ok(ip) = <[u8; 16]>::try_from(endpoint.ipv6) {
        json.insert("ipv6".into(), Ipv6Addr::from(ip).to_string().into());
    }
    if endpoint.port != 0 {
        json.insert("port".into(), endpoint.port.into());
    }
    json.into()
}

#[track_caller]
fn check(spans: &[&Span]) {
    let bytes = encode(spans);
    let list = ListOfSpans::decode(&*bytes).unwrap();
    assert_eq!(list.spans.len(), spans.len());
    // As short as it can be: every length is written in its own width. (Maps
    // have no order, so only the size is compared.)
    assert_eq!(list.encoded_len(), bytes.len());
    for (got, span) in list.spans.into_iter().zip(spans) {
        assert_eq!(to_json(got), in_json(span));
    }
}

#[test]
fn spans_of_every_kind_read_back() {
    let mut span = typical();
    check(&[&span, &span_of("GET", "/a", "h")]);
    (span.parent, span.shared, span.debug) = (None, true, true);
    span.trace = crate::units::TraceId::new(0, 7).unwrap();
    check(&[&span]);
    std::sync::Arc::make_mut(&mut span.workload).address = None;
    check(&[&span]);
    span.exchange.began.local = None;
    std::sync::Arc::make_mut(&mut span.workload).service = "".into();
    check(&[&span]);
    check(&[&span_of("GET", &"/long".repeat(900), "h"), &span]);
    let mut encoder = ZipkinProto::default();
    let mut batch = Vec::new();
    for target in ["/0", "/1", "/2"] {
        let span = span_of("GET", target, "h");
        encoder.encode(&span, &mut batch).unwrap();
    }
    let cut = encoder.cut()(&batch, 1..2).unwrap();
    let list = ListOfSpans::decode(&*cut).unwrap();
    assert_eq!(list.spans.len(), 1);
    assert_eq!(list.spans[0].tags["http.url"], "http://h/1");
}

proptest! {
    #[test]
    fn any_span_says_what_it_says_in_json(spans in prop::collection::vec(any_span(), 1..4)) {
        check(&spans.iter().collect::<Vec<_>>());
    }
}
