//! The encoder against the format's rules and against a JSON parser.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::super::content::error;
use super::super::testing::{any_span, endpoint, span_of, typical};
use super::*;
use crate::assemble::{BodySize, Failure};
use crate::export::NameLimit;
use crate::sample::SamplerTag;
use crate::units::{TraceId, UnixMicros};

fn encode(span: &Span) -> Vec<u8> {
    let mut out = Vec::new();
    Zipkin::default().object(span, &mut out);
    out
}

fn parse(span: &Span) -> Json {
    serde_json::from_slice(&encode(span)).unwrap()
}

#[test]
fn a_typical_span_is_written_like_this() {
    let wanted = concat!(
        r#"{"traceId":"5af7183fb1d4cf5f6b221d5bc9e6496c","parentId":"6b221d5bc9e6496c","id":"352bff9a74ca9ad2","#,
        r#""kind":"SERVER","name":"GET orders.shop.svc:8080","timestamp":1794000000123456,"duration":1431,"#,
        r#""localEndpoint":{"serviceName":"orders","ipv4":"10.244.1.17"},"#,
        r#""remoteEndpoint":{"ipv4":"10.244.2.9","port":51234},"#,
        r#""annotations":[{"timestamp":1794000000124400,"value":"first response byte"}],"#,
        r#""tags":{"http.protocol":"HTTP/1.1","http.method":"GET","#,
        r#""http.url":"http://orders.shop.svc:8080/api/orders/4711?limit=***&token=***","http.status_code":"200","#,
        r#""guid:x-request-id":"5f2a1c3e-9a77-4c1b-8d2e-0f6b7a8c9d10","#,
        r#""user_agent":"Mozilla/5.0 (X11; Linux x86_64) shop-frontend/2.4","#,
        r#""request_size":"0","response_size":"1843","peer.address":"10.244.2.9","node_id":"node-7.example"}}"#,
    );
    assert_eq!(String::from_utf8(encode(&typical())).unwrap(), wanted);
}

#[test]
fn sixty_four_bit_trace_ids_stay_sixteen_digits() {
    let mut span = typical();
    span.trace = TraceId::new(0, 0xabc).unwrap();
    span.parent = None;
    let json = parse(&span);
    assert_eq!(json["traceId"], "0000000000000abc");
    assert_eq!(json.get("parentId"), None);
}

#[test]
fn the_sampler_is_told_in_strings() {
    let mut span = typical();
    assert_eq!(parse(&span)["tags"].get("sampler.type"), None);
    for (sampler, kind, param) in [
        (SamplerTag::Const(true), "const", "true"),
        (SamplerTag::Const(false), "const", "false"),
        (SamplerTag::Probabilistic(1.0), "probabilistic", "1"),
        (SamplerTag::Probabilistic(0.25), "probabilistic", "0.25"),
        (SamplerTag::RateLimiting(42.5), "ratelimiting", "42.5"),
        (SamplerTag::LowerBound(0.000_001), "lowerbound", "0.000001"),
    ] {
        span.sampler = Some(sampler);
        let tags = &parse(&span)["tags"];
        assert_eq!(
            (&tags["sampler.type"], &tags["sampler.param"]),
            (&json!(kind), &json!(param))
        );
    }
}

#[test]
fn a_name_can_have_a_limit() {
    let wording = Wording {
        name_limit: NameLimit::new(21),
        ..Wording::default()
    };
    for host in [
        "orders.shop.svc.cluster.local",
        "or\u{e9}ers.shop.svc.cluster.local",
        "\"rders.shop.svc.cluster.local",
    ] {
        let mut out = Vec::new();
        Zipkin::new(wording).object(&span_of("GET", "/", host), &mut out);
        let json: Json = serde_json::from_slice(&out).unwrap();
        let name = json["name"].as_str().unwrap();
        assert!(
            name.starts_with("GET ") && name.contains("... ") && name.len() <= 21,
            "{name}"
        );
    }
}

#[test]
fn flags_are_written_only_when_set() {
    let mut span = typical();
    assert_eq!(parse(&span).get("shared"), None);
    (span.shared, span.debug) = (true, true);
    let json = parse(&span);
    assert_eq!(
        (&json["shared"], &json["debug"]),
        (&json!(true), &json!(true))
    );
}

#[test]
fn the_local_endpoint_is_the_workloads_or_else_the_connections() {
    let mut span = typical();
    let set = |span: &mut Span, service: &str, address: Option<IpAddr>| {
        let workload = Arc::make_mut(&mut span.workload);
        (workload.service, workload.address) = (service.into(), address);
    };
    set(&mut span, "a", None);
    assert_eq!(
        parse(&span)["localEndpoint"],
        json!({"serviceName": "a", "ipv4": "10.244.1.17"})
    );
    set(&mut span, "", None);
    assert_eq!(
        parse(&span)["localEndpoint"],
        json!({"ipv4": "10.244.1.17"})
    );
    set(&mut span, "a", Some("2001:db8::1".parse().unwrap()));
    assert_eq!(
        parse(&span)["localEndpoint"],
        json!({"serviceName": "a", "ipv6": "2001:db8::1"})
    );
    span.exchange.began.local = None;
    set(&mut span, "a", None);
    assert_eq!(parse(&span)["localEndpoint"], json!({"serviceName": "a"}));
    set(&mut span, "", None);
    assert_eq!(parse(&span).get("localEndpoint"), None);
}

#[test]
fn one_encoder_keeps_workloads_apart() {
    let mut encoder = Zipkin::default();
    for n in 0..3000 {
        let mut span = typical();
        Arc::make_mut(&mut span.workload).service = format!("s{}", n % 1500).into();
        let mut out = Vec::new();
        encoder.object(&span, &mut out);
        let json: Json = serde_json::from_slice(&out).unwrap();
        assert_eq!(
            json["localEndpoint"]["serviceName"],
            format!("s{}", n % 1500)
        );
    }
}

#[test]
fn one_encoder_keeps_peers_apart() {
    let mut encoder = Zipkin::default();
    for n in 0..5000_u16 {
        let mut span = typical();
        span.exchange.began.peer = Some(endpoint([10, 0, (n % 7) as u8, 1], n % 1000));
        if n % 5 == 0 {
            let ip = IpAddr::from([u16::from(n % 3 == 0), 0, 0, 0, 0, 0, 0, n % 9 + 1]);
            span.exchange.began.peer = Some(endpoint(ip, n % 1000));
        }
        let mut out = Vec::new();
        encoder.object(&span, &mut out);
        assert_eq!(out, encode(&span));
    }
}

#[test]
fn a_peer_without_a_port_has_none() {
    let mut span = typical();
    span.exchange.began.peer = Some(endpoint("2001:db8::9".parse::<IpAddr>().unwrap(), 0));
    let json = parse(&span);
    assert_eq!(json["remoteEndpoint"], json!({"ipv6": "2001:db8::9"}));
    assert_eq!(json["tags"]["peer.address"], "2001:db8::9");
    span.exchange.began.peer = None;
    let json = parse(&span);
    assert_eq!(json.get("remoteEndpoint"), None);
    assert_eq!(json["tags"].get("peer.address"), None);
}

#[test]
fn errors_are_failures_and_statuses_from_500_on() {
    let mut span = span_of("GET", "/", "h");
    let with = |span: &mut Span, status, failure| {
        (span.exchange.status, span.exchange.failure) = (status, failure);
        parse(span)["tags"].clone()
    };
    let error = |tags: &Json| tags.get("error").cloned();
    assert_eq!(error(&with(&mut span, Some(499), None)), None);
    assert_eq!(
        error(&with(&mut span, Some(500), None)),
        Some(json!("true"))
    );
    let cut = with(&mut span, Some(200), Some(Failure::ResponseCut));
    assert_eq!(error(&cut), Some(json!("response cut short")));
    assert_eq!(cut["http.status_code"], "200");
    let none = with(&mut span, None, Some(Failure::NoResponse));
    assert_eq!(error(&none), Some(json!("no response")));
    assert_eq!(none.get("http.status_code"), None);
}

#[test]
fn sizes_that_count_framing_say_so() {
    let mut span = typical();
    span.exchange.response_body = BodySize {
        bytes: 10_485_760,
        wire: true,
    };
    let tags = &parse(&span)["tags"];
    assert_eq!(tags["response_size"], "10485760");
    assert_eq!(tags["response_size.wire"], "true");
    assert_eq!(tags.get("request_size.wire"), None);
}

#[test]
fn times_have_their_limits() {
    let mut span = typical();
    span.duration = 0;
    span.timestamp = UnixMicros(0);
    span.first_byte = None;
    let json = parse(&span);
    assert_eq!(json["duration"], 1);
    assert_eq!(json.get("timestamp"), None);
    assert_eq!(json.get("annotations"), None);
}

#[test]
fn a_batch_is_a_list() {
    let mut encoder = Zipkin::default();
    let mut batch = Vec::new();
    for _ in 0..3 {
        Encoder::encode(&mut encoder, &typical(), &mut batch).unwrap();
    }
    encoder.finish(&mut batch);
    let json: Json = serde_json::from_slice(&batch).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 3);
}

/// What Zipkin's reader refuses or misunderstands, anywhere in a value.
fn check_rules(json: &Json) {
    match json {
        Json::Object(members) => {
            assert!(!members.is_empty());
            members.values().for_each(check_rules);
        }
        Json::Array(items) => {
            assert!(!items.is_empty());
            items.iter().for_each(check_rules);
        }
        Json::String(text) => assert!(!text.is_empty()),
        Json::Bool(flag) => assert!(flag),
        Json::Number(n) => assert!(n.is_u64()),
        Json::Null => panic!("null"),
    }
}

proptest! {
    #[test]
    fn any_span_is_one_valid_object(span in any_span()) {
        let bytes = encode(&span);
        let text = std::str::from_utf8(&bytes).unwrap();
        let json: Json = serde_json::from_str(text).unwrap();
        check_rules(&json);
        let known: HashSet<_> = [
            "traceId", "parentId", "id", "kind", "name", "timestamp", "duration", "debug",
            "shared", "localEndpoint", "remoteEndpoint", "annotations", "tags",
        ].into();
        prop_assert!(json.as_object().unwrap().keys().all(|k| known.contains(k.as_str())));
        prop_assert!(json["duration"].as_u64().unwrap() >= 1);
        prop_assert!(json["tags"].as_object().unwrap().values().all(Json::is_string));
        prop_assert_eq!(&json["traceId"], &span.trace.to_string());
        prop_assert_eq!(&json["id"], &span.id.to_string());
        prop_assert_eq!(json.get("parentId").cloned(), span.parent.map(|id| json!(id.to_string())));
        prop_assert_eq!(json["tags"].get("error").cloned(), error(&span.exchange).map(|e| json!(e)));
        prop_assert_eq!(text.matches("Endpoint\"").count(),
            usize::from(json.get("localEndpoint").is_some()) + usize::from(json.get("remoteEndpoint").is_some()));
        prop_assert_eq!(text.matches("\"tags\"").count(), 1);
        prop_assert!(!text.contains("yAnnotations\""));
        prop_assert!(json["tags"].as_object().unwrap().values().all(|v| v.as_str().unwrap().len() < 3 * 4200));
    }
}
