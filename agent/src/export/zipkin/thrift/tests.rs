//! The encoder against v2 JSON, read by Apache's crate.

use std::net::Ipv6Addr;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::super::v1::tests::{tame, to_v2};
use super::*;
use crate::export::testing::thrift::{Val, binary_list};
use crate::export::testing::{any_span, in_json, span_of, typical};

fn encode(spans: &[&Span]) -> Vec<u8> {
    let mut encoder = ZipkinThrift::default();
    let mut batch = Vec::new();
    for span in spans {
        encoder.encode(span, &mut batch).unwrap();
    }
    encoder.finish(&mut batch);
    batch
}

/// A span of `zipkinCore.thrift` as v1 JSON.
fn to_v1(span: &Val) -> Json {
    let hex = |n: i64| format!("{n:016x}");
    let id = |field| span.get(field).map(|id| hex(id.int()));
    let mut v1 = Map::new();
    let mut put = |name: &str, value: Option<Json>| {
        if let Some(value) = value {
            v1.insert(name.into(), value);
        }
    };
    let trace = id(12).unwrap_or_default() + &id(1).unwrap();
    put("traceId", Some(trace.into()));
    put("name", span.get(3).map(|name| name.text().into()));
    put("id", id(4).map(Json::from));
    put("parentId", id(5).map(Json::from));
    put(
        "debug",
        span.get(9).map(|debug| json!(debug == &Val::Bool(true))),
    );
    put("timestamp", span.get(10).map(|time| time.int().into()));
    put("duration", span.get(11).map(|time| time.int().into()));
    let list = |field, each: fn(&Val) -> Json| {
        let items = span.get(field).unwrap().list();
        Some(items.iter().map(each).collect::<Json>())
    };
    put("annotations", list(6, annotation));
    put("binaryAnnotations", list(8, binary_annotation));
    v1.into()
}

fn annotation(annotation: &Val) -> Json {
    json!({
        "timestamp": annotation.get(1).unwrap().int(),
        "value": annotation.get(2).unwrap().text(),
        "endpoint": endpoint(annotation.get(3).unwrap()),
    })
}

fn binary_annotation(annotation: &Val) -> Json {
    let value = annotation.get(2).unwrap();
    let value = match annotation.get(3).unwrap().int() {
        0 => json!(value.bytes() == [1]),
        6 => json!(value.text()),
        other => panic!("type {other}"),
    };
    json!({
        "key": annotation.get(1).unwrap().text(),
        "value": value,
        "endpoint": endpoint(annotation.get(4).unwrap()),
    })
}

fn endpoint(endpoint: &Val) -> Json {
    let mut json = Map::new();
    let v4 = endpoint.get(1).unwrap().int() as i32;
    if v4 != 0 {
        let ip = std::net::Ipv4Addr::from_bits(v4.cast_unsigned());
        json.insert("ipv4".into(), ip.to_string().into());
    }
    let port = endpoint.get(2).unwrap().int() as i16;
    if port != 0 {
        json.insert("port".into(), port.cast_unsigned().into());
    }
    let name = endpoint.get(3).unwrap().text();
    json.insert("serviceName".into(), name.into());
    if let Some(v6) = endpoint.get(4) {
        let ip = Ipv6Addr::from(<[u8; 16]>::try_from(v6.bytes()).unwrap());
        json.insert("ipv6".into(), ip.to_string().into());
    }
    json.into()
}

/// Thrift's address `0.0.0.0` is none.
fn tame_for_thrift(span: Span) -> Span {
    let mut span = tame(span);
    let zero = IpAddr::from([0; 4]);
    let began = &mut span.exchange.began;
    began.peer = began.peer.filter(|end| end.ip != zero);
    began.local = began.local.filter(|end| end.ip != zero);
    span
}

#[test]
fn a_typical_span_reads_back() {
    let mut span = typical();
    let check = |span: &Span| {
        let list = binary_list(&encode(&[span]));
        assert_eq!(list.len(), 1);
        assert_eq!(to_v2(&to_v1(&list[0])), in_json(span));
    };
    check(&span);
    (span.shared, span.debug) = (true, true);
    let list = binary_list(&encode(&[&span]));
    assert_eq!((list[0].get(10), list[0].get(11)), (None, None));
    check(&span);
    span.parent = None;
    check(&span);
    check(&span_of("POST", "/ä\u{1}\"", "h"));
}

#[test]
fn the_number_of_spans_is_that_of_the_batch() {
    let mut encoder = ZipkinThrift::default();
    for count in [1, 15, 300] {
        let mut batch = Vec::new();
        for _ in 0..count {
            encoder.encode(&typical(), &mut batch).unwrap();
        }
        encoder.finish(&mut batch);
        assert_eq!(batch[..5], [&[12][..], &i32::to_be_bytes(count)].concat());
        assert_eq!(binary_list(&batch).len(), count as usize);
        // What was refused by the server can be cut.
        let cut = encoder.cut()(&batch, 0..1).unwrap();
        assert_eq!(binary_list(&cut).len(), 1);
    }
}

#[test]
fn large_durations_stay_positive() {
    let mut span = typical();
    span.duration = u64::MAX;
    let list = binary_list(&encode(&[&span]));
    assert_eq!(list[0].get(11).unwrap().int(), i64::MAX);
}

proptest! {
    #[test]
    fn any_span_says_what_it_says_in_v2(
        spans in prop::collection::vec(any_span().prop_map(tame_for_thrift), 1..4)
    ) {
        let list = binary_list(&encode(&spans.iter().collect::<Vec<_>>()));
        prop_assert_eq!(list.len(), spans.len());
        for (value, span) in list.iter().zip(&spans) {
            prop_assert_eq!(to_v2(&to_v1(value)), in_json(span));
        }
    }
}
