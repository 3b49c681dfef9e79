//! The encoder against v2 JSON, read by Apache's crate, and against known
//! bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Map, Value as Json, json};

use super::compact::{push_bits, push_i32, push_u64};
use super::span::{ERROR_MESSAGE, PEER_PORT, PEER_SERVICE};
use super::*;
use crate::assemble::Failure;
use crate::export::testing::thrift::{Val, compact_call};
use crate::export::testing::{any_span, in_json, span_of, typical};

fn encode(encoder: &mut Jaeger, spans: &[Span]) -> Vec<u8> {
    let mut batch = Vec::new();
    for span in spans {
        encoder.encode(span, &mut batch).unwrap();
        assert!(batch.is_empty());
    }
    encoder.finish(&mut batch);
    assert_eq!(encoder.pending(), 0);
    batch
}

/// Process and spans of each datagram.
fn read(batch: &[u8]) -> Vec<(Val, Vec<Val>)> {
    datagrams::iter(batch)
        .map(|datagram| {
            let (name, arguments) = compact_call(datagram.payload);
            assert_eq!(name, "emitBatch");
            let batch = arguments.get(1).unwrap();
            let spans = batch.get(2).unwrap().list().to_vec();
            assert_eq!(spans.len(), datagram.spans as usize);
            (batch.get(1).unwrap().clone(), spans)
        })
        .collect()
}

/// Tags by name; numbers are JSON numbers, booleans are JSON booleans.
fn tag_map(list: Option<&Val>) -> BTreeMap<String, Json> {
    let mut tags = BTreeMap::new();
    for tag in list.map(Val::list).unwrap_or_default() {
        let value = match tag.get(2).unwrap().int() {
            0 => json!(tag.get(3).unwrap().text()),
            1 => match tag.get(4) {
                Some(Val::Double(number)) => json!(number),
                other => panic!("{other:?}"),
            },
            2 => json!(tag.get(5) == Some(&Val::Bool(true))),
            3 => json!(tag.get(6).unwrap().int()),
            other => panic!("type {other}"),
        };
        let key = tag.get(1).unwrap().text().to_owned();
        assert_eq!(tags.insert(key, value), None);
    }
    tags
}

/// A span as v2 JSON has it, without endpoints' names and without addresses of
/// the local one.
fn to_json(span: &Val) -> Json {
    let int = |field| span.get(field).unwrap().int();
    let hex = |n: i64| format!("{n:016x}");
    let mut json = Map::new();
    let high = if int(2) == 0 {
        String::new()
    } else {
        hex(int(2))
    };
    json.insert("traceId".into(), (high + &hex(int(1))).into());
    json.insert("id".into(), hex(int(3)).into());
    let references = span.get(6).map(Val::list).unwrap_or_default();
    if int(4) == 0 {
        assert!(references.is_empty());
    } else {
        json.insert("parentId".into(), hex(int(4)).into());
        let [reference] = references else {
            panic!("{references:?}");
        };
        let same = [(2, 1), (3, 2), (4, 4)].map(|(a, b)| reference.get(a) == span.get(b));
        assert_eq!((reference.get(1), same), (Some(&Val::Int(0)), [true; 3]));
    }
    json.insert("name".into(), span.get(5).unwrap().text().into());
    match int(7) {
        1 => {}
        3 => drop(json.insert("debug".into(), true.into())),
        other => panic!("flags {other}"),
    }
    json.insert("timestamp".into(), int(8).into());
    json.insert("duration".into(), int(9).into());
    let mut tags = tag_map(span.get(10));
    let kind = tags.remove("span.kind").unwrap();
    json.insert("kind".into(), kind.as_str().unwrap().to_uppercase().into());
    let port = tags.remove(PEER_PORT);
    let service = tags.remove(PEER_SERVICE);
    if let Some(ip) = tags.get("peer.address") {
        let mut remote = Map::new();
        let family = if ip.as_str().unwrap().contains(':') {
            "ipv6"
        } else {
            "ipv4"
        };
        remote.insert(family.into(), ip.clone());
        remote.extend(port.map(|port| ("port".into(), port)));
        remote.extend(service.map(|name| ("serviceName".into(), name)));
        json.insert("remoteEndpoint".into(), remote.into());
    }
    if let Some(message) = tags.remove(ERROR_MESSAGE) {
        assert_eq!(tags.insert("error".into(), message), Some(json!(true)));
    }
    for value in tags.values_mut().filter(|value| !value.is_string()) {
        *value = match &value {
            Json::Number(number) if number.is_f64() => number.as_f64().unwrap().to_string(),
            value => value.to_string(),
        }
        .into();
    }
    json.insert("tags".into(), json!(tags));
    if let Some(logs) = span.get(11) {
        let [log] = logs.list() else {
            panic!("{logs:?}")
        };
        let event = tag_map(log.get(2)).remove("event").unwrap();
        let annotation = json!({"timestamp": log.get(1).unwrap().int(), "value": event});
        json.insert("annotations".into(), json!([annotation]));
    }
    json.into()
}

/// What Zipkin says of the same span, without what Jaeger says elsewhere or
/// not at all.
fn wanted(span: &Span) -> Json {
    let mut json = in_json(span);
    let members = json.as_object_mut().unwrap();
    members.remove("localEndpoint");
    members.remove("shared");
    // They are the process's.
    let tags = members["tags"].as_object_mut().unwrap();
    tags.retain(|name, _| !name.starts_with("k8s."));
    members.entry("timestamp").or_insert(json!(0));
    json
}

/// Numbers that a signed one can hold.
fn tame(mut span: Span) -> Span {
    span.duration >>= 1;
    span.exchange.request_body.bytes >>= 1;
    span.exchange.response_body.bytes >>= 1;
    span
}

fn of_service(mut span: Span, service: &str) -> Span {
    Arc::make_mut(&mut span.workload).service = service.into();
    span
}

#[test]
fn known_bytes_come_out() {
    // Read back by Jaeger's own classes, see research/backends.md 4.2.
    const WANTED: &str = "82810009656d697442617463681c1c18037376630019 1c
        16021600160416001802 6f70 2502 16 80909191e0b1ab05 16 ac02 19 1c
        18016115001801 62 00 00 00 00";
    let mut out = envelope("svc", &[]);
    push_list_head(&mut out, 1);
    for number in [1, 0, 2, 0] {
        push_bits(&mut out, 1, number);
    }
    push_string(&mut out, 1, |out| out.extend_from_slice(b"op"));
    push_i32(&mut out, 2, 1);
    push_u64(&mut out, 1, 1_502_787_600_000_000);
    push_u64(&mut out, 1, 150);
    push_list(&mut out, 1, |out| {
        push_text(out, "a", |out| out.push(b'b'));
        1
    });
    out.push(STOP);
    out.extend_from_slice(&END);
    let hex: String = out.iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(hex, WANTED.split_whitespace().collect::<String>());
    assert_eq!(out.len(), 63);
}

#[test]
fn a_typical_span_says_who_and_what() {
    let batch = encode(&mut Jaeger::default(), &[typical()]);
    let datagrams = read(&batch);
    let [(process, spans)] = &datagrams[..] else {
        panic!("{datagrams:?}");
    };
    assert_eq!(process.get(1).unwrap().text(), "orders");
    assert_eq!(
        json!(tag_map(process.get(2))),
        json!({
            "hostname": "node-7.example",
            "ip": "10.244.1.17",
            "nodespan.version": env!("CARGO_PKG_VERSION"),
        })
    );
    let [span] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(to_json(span), wanted(&typical()));
    let tags = tag_map(span.get(10));
    assert_eq!(tags["http.status_code"], 200);
    assert_eq!(
        (&tags["response_size"], &tags[PEER_PORT]),
        (&json!(1843), &json!(51234))
    );
    assert_eq!(tags.get("error"), None);
}

#[test]
fn errors_are_booleans_with_their_text_beside() {
    let mut span = span_of("GET", "/", "h");
    let mut of = |status, failure| {
        (span.exchange.status, span.exchange.failure) = (status, failure);
        let datagrams = read(&encode(&mut Jaeger::default(), std::slice::from_ref(&span)));
        let mut tags = tag_map(datagrams[0].1[0].get(10));
        (tags.remove("error"), tags.remove(ERROR_MESSAGE))
    };
    assert_eq!(of(Some(499), None), (None, None));
    assert_eq!(of(Some(503), None), (Some(json!(true)), None));
    let reset = (Some(json!(true)), Some(json!("connection reset")));
    assert_eq!(of(None, Some(Failure::Reset)), reset);
}

#[test]
fn ids_and_lists_of_every_size() {
    let mut span = typical();
    span.trace = crate::units::TraceId::new(0, u64::MAX).unwrap();
    span.id = crate::units::SpanId::new(1 << 63).unwrap();
    span.parent = None;
    span.debug = true;
    let exchange = &mut *span.exchange;
    exchange.failure = Some(Failure::ResponseCut);
    (exchange.request_body.wire, exchange.response_body.wire) = (true, true);
    let workload = Arc::clone(&span.workload);
    for count in [1, 14, 15, 100] {
        let spans: Vec<Span> = (0..count)
            .map(|_| {
                let exchange = Box::new(crate::assemble::Exchange {
                    text: span.exchange.text.clone(),
                    ..*typical().exchange
                });
                Span {
                    workload: Arc::clone(&workload),
                    exchange,
                    ..typical()
                }
            })
            .collect();
        let datagrams = read(&encode(&mut Jaeger::default(), &spans));
        assert_eq!(datagrams[0].1.len(), count);
    }
    let datagrams = read(&encode(&mut Jaeger::default(), std::slice::from_ref(&span)));
    let got = &datagrams[0].1[0];
    assert!(got.get(10).unwrap().list().len() > 15);
    assert_eq!(to_json(got), wanted(&span));
}

#[test]
fn each_service_has_its_datagrams() {
    let spans: Vec<Span> = (0..9)
        .map(|n| of_service(typical(), ["a", "b", "c"][n % 3]))
        .collect();
    let mut encoder = Jaeger::default();
    for _ in 0..2 {
        let mut names = BTreeMap::<_, usize>::new();
        for (process, spans) in read(&encode(&mut encoder, &spans)) {
            *names
                .entry(process.get(1).unwrap().text().to_owned())
                .or_default() += spans.len();
        }
        assert_eq!(names.into_values().collect::<Vec<_>>(), [3, 3, 3]);
    }
}

#[test]
fn datagrams_are_filled_to_the_byte() {
    let workload = typical().workload;
    let spans: Vec<Span> = (0..300)
        .map(|n| {
            let mut span = span_of("GET", &format!("/{}", "x".repeat(n % 37)), "h");
            span.workload = Arc::clone(&workload);
            span
        })
        .collect();
    for limit in [2000, 2001, 2002, 20_000, 20_001, MAX_DATAGRAM] {
        let batch = encode(&mut Jaeger::new(Wording::default(), limit), &spans);
        let sizes: Vec<usize> = datagrams::iter(&batch).map(|d| d.payload.len()).collect();
        let counts: Vec<usize> = datagrams::iter(&batch).map(|d| d.spans as usize).collect();
        assert!(sizes.iter().all(|&size| size <= limit), "{sizes:?}");
        assert_eq!(counts.iter().sum::<usize>(), spans.len());
        let mut sent = 0;
        for (size, count) in sizes.iter().zip(&counts) {
            sent += count;
            let Some(next) = spans.get(sent) else { break };
            // One more would not have fitted.
            let alone = encode(&mut Jaeger::default(), std::slice::from_ref(next));
            let envelope = Process::render(&workload).envelope.len();
            let next = datagrams::iter(&alone).next().unwrap().payload.len() - envelope - 3;
            let heads = list_head(count + 1) - list_head(*count);
            assert!(size + next + heads > limit, "{size} {next} {limit}");
        }
        let got: Vec<Json> = read(&batch)
            .iter()
            .flat_map(|(_, spans)| spans.iter().map(to_json))
            .collect();
        assert_eq!(got, spans.iter().map(wanted).collect::<Vec<_>>());
    }
}

#[test]
fn a_span_that_is_too_large_goes_alone() {
    let workload = typical().workload;
    let span = |target: &str| Span {
        workload: Arc::clone(&workload),
        ..span_of("GET", target, "h")
    };
    let size = |span: &Span| {
        let batch = encode(
            &mut Jaeger::default(),
            &[Span {
                workload: Arc::clone(&span.workload),
                exchange: Box::new(crate::assemble::Exchange {
                    text: span.exchange.text.clone(),
                    ..*span_of("GET", "/", "h").exchange
                }),
                ..span_of("GET", "/", "h")
            }],
        );
        datagrams::iter(&batch).next().unwrap().payload.len()
    };
    let long = span(&format!("/{}", "x".repeat(1000)));
    let limit = size(&long);
    let longer = span(&format!("/{}", "x".repeat(1001)));
    let mut encoder = Jaeger::new(Wording::default(), limit);
    let mut batch = Vec::new();
    for (span, taken) in [(&span("/1"), true), (&longer, false), (&long, true)] {
        let before = encoder.pending();
        let result = encoder.encode(span, &mut batch);
        if taken {
            assert_eq!(result, Ok(()));
        } else {
            assert_eq!(result, Err(Refused::TooLarge { limit }));
            assert_eq!(encoder.pending(), before);
        }
    }
    encoder.finish(&mut batch);
    let sizes: Vec<usize> = datagrams::iter(&batch).map(|d| d.payload.len()).collect();
    assert_eq!(sizes.len(), 2);
    assert_eq!(sizes[1], limit);
}

proptest! {
    #[test]
    fn any_span_says_what_it_says_to_zipkin(
        spans in prop::collection::vec(any_span().prop_map(tame), 1..5)
    ) {
        let mut left: Vec<_> = spans.iter().map(|span| (&*span.workload.service, wanted(span))).collect();
        let batch = encode(&mut Jaeger::default(), &spans);
        for datagram in datagrams::iter(&batch) {
            prop_assert!(datagram.payload.len() <= MAX_DATAGRAM);
        }
        for (process, spans) in read(&batch) {
            let service = process.get(1).unwrap().text().to_owned();
            for span in spans.iter().map(to_json) {
                let found = left.iter().position(|(name, json)| *name == service && *json == span);
                prop_assert!(found.is_some(), "{} {span}\n{left:?}", service);
                left.remove(found.unwrap());
            }
        }
        prop_assert!(left.is_empty());
    }
}
