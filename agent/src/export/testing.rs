//! Spans for tests: one typical, and generated ones with any bytes.

pub(crate) mod thrift;

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::Span;
use crate::assemble::{Began, BodySize, Exchange, Failure, Seed, Text};
use crate::http::context::TraceContext;
use crate::identify::{PodTags, Workload, WorkloadKind};
use crate::sample::SamplerTag;
use crate::units::{Endpoint, MonoNanos, OwnerId, Side, SpanId, TraceId, UnixMicros, WireId};

/// A server span as a mesh with B3 makes them by the thousand.
pub(crate) fn typical() -> Span {
    let text = Text::new(
        b"GET",
        b"/api/orders/4711?limit=20&token=secret",
        b"orders.shop.svc:8080",
        b"Mozilla/5.0 (X11; Linux x86_64) shop-frontend/2.4",
        b"5f2a1c3e-9a77-4c1b-8d2e-0f6b7a8c9d10",
    );
    span(Side::Server, text, Some(200))
}

/// A span of this request line and `Host` header.
pub(crate) fn span_of(method: &str, target: &str, host: &str) -> Span {
    let text = Text::new(
        method.as_bytes(),
        target.as_bytes(),
        host.as_bytes(),
        b"",
        b"",
    );
    span(Side::Client, text, Some(200))
}

fn span(side: Side, text: Text, status: Option<u16>) -> Span {
    Span {
        trace: TraceId::new(0x5af7_183f_b1d4_cf5f, 0x6b22_1d5b_c9e6_496c).unwrap(),
        id: SpanId::new(0x352b_ff9a_74ca_9ad2).unwrap(),
        parent: SpanId::new(0x6b22_1d5b_c9e6_496c),
        shared: false,
        debug: false,
        sampler: None,
        timestamp: UnixMicros(1_794_000_000_123_456),
        first_byte: Some(UnixMicros(1_794_000_000_124_400)),
        duration: 1431,
        workload: Arc::new(Workload {
            service: "orders".into(),
            kind: WorkloadKind::Command,
            node: "node-7.example".into(),
            address: Some(IpAddr::from([10, 244, 1, 17])),
            pod: None,
        }),
        remote: None,
        exchange: Box::new(Exchange {
            began: Began {
                serial: 1,
                side,
                wire: WireId::default(),
                context: TraceContext::default(),
                seed: Seed::Carried,
                owner: OwnerId(1),
                pid: 1,
                local: Some(endpoint([10, 244, 1, 17], 8080)),
                peer: Some(endpoint([10, 244, 2, 9], 51234)),
                start: MonoNanos(1),
            },
            text,
            first_byte: Some(MonoNanos(2)),
            end: MonoNanos(3),
            status,
            minor_version: 1,
            request_body: BodySize::default(),
            response_body: BodySize {
                bytes: 1843,
                wire: false,
            },
            failure: None,
            lenient: false,
        }),
    }
}

/// What Zipkin's v2 JSON says of a span: every encoding says the same.
pub(crate) fn in_json(span: &Span) -> serde_json::Value {
    let mut out = Vec::new();
    super::zipkin::Zipkin::default().object(span, &mut out);
    serde_json::from_slice(&out).unwrap()
}

pub(crate) fn endpoint(ip: impl Into<IpAddr>, port: u16) -> Endpoint {
    Endpoint {
        ip: ip.into(),
        port,
    }
}

/// What a cluster may say of a pod.
fn any_pod() -> impl Strategy<Value = PodTags> {
    let texts = ("\\PC{0,12}", "\\PC{0,12}", prop::option::of("\\PC{0,12}"));
    texts.prop_map(|(namespace, name, container)| PodTags {
        name: name.into(),
        namespace: namespace.into(),
        uid: "8a4f9c1e-2b7d-4d3a-9f60-5c1b2e7d8f90".into(),
        node: Some("node-1".into()),
        container: container.map(Into::into),
        container_id: "4711".into(),
    })
}

/// Spans with anything a wire can hold in them.
pub(crate) fn any_span() -> impl Strategy<Value = Span> {
    let ids = (any::<[u64; 2]>(), any::<u64>(), any::<Option<u64>>());
    let flags = any::<(bool, bool, bool, bool, bool)>();
    let times = (
        0..2_000_000_000_000_000_u64,
        any::<Option<u32>>(),
        0..u64::MAX,
    );
    let who = (
        "\\PC{0,12}",
        "\\PC{0,12}",
        prop::option::of(any_pod()),
        any_ip(),
        any_endpoint(),
        any_endpoint(),
    );
    let outcome = (
        any::<Option<u16>>(),
        any_failure(),
        any::<[u64; 2]>(),
        0_u8..2,
        prop::option::of("\\PC{1,12}"),
    );
    (ids, flags, times, any_text(), who, outcome).prop_map(
        |(ids, flags, times, text, who, outcome)| {
            let side = if flags.0 { Side::Client } else { Side::Server };
            let mut span = span(side, text, outcome.0);
            span.trace = TraceId::new(ids.0[0], ids.0[1].max(1)).unwrap();
            span.id = SpanId::new(ids.1.max(1)).unwrap();
            span.parent = ids.2.and_then(SpanId::new);
            (span.shared, span.debug) = (flags.1, flags.2);
            span.timestamp = UnixMicros(times.0);
            span.first_byte = times.1.map(|d| UnixMicros(times.0 + u64::from(d)));
            span.duration = times.2;
            span.workload = Arc::new(Workload {
                service: who.0.into(),
                kind: WorkloadKind::Command,
                node: who.1.into(),
                address: who.3,
                pod: who.2,
            });
            span.remote = outcome.4.map(Into::into);
            span.sampler = any_sampler(ids.1, flags.3);
            let exchange = &mut *span.exchange;
            (exchange.began.local, exchange.began.peer) = (who.4, who.5);
            exchange.failure = outcome.1;
            let [request, response] = outcome.2;
            exchange.request_body = BodySize {
                bytes: request,
                wire: flags.3,
            };
            exchange.response_body = BodySize {
                bytes: response,
                wire: flags.4,
            };
            exchange.minor_version = outcome.3;
            span
        },
    )
}

fn any_sampler(n: u64, always: bool) -> Option<SamplerTag> {
    let rate = (n >> 8) as f64 / 2_f64.powi(56);
    match n % 8 {
        0 => Some(SamplerTag::Const(always)),
        1 => Some(SamplerTag::Probabilistic(rate)),
        2 => Some(SamplerTag::RateLimiting(rate * 1e4)),
        3 => Some(SamplerTag::LowerBound(rate / 1e9)),
        _ => None,
    }
}

fn any_text() -> impl Strategy<Value = Text> {
    let bytes = || {
        prop_oneof![
            "[a-zA-Z0-9./:?&=#@%-]{0,60}".prop_map(String::into_bytes),
            "(/x?|.{0,4})(Endpoint|\"?tags|binaryAnnotations|\u{e9}\u{20ac})"
                .prop_map(String::into_bytes),
            any::<Vec<u8>>(),
            (1000_usize..9000).prop_map(|n| "/ä€x\u{1}".repeat(n / 4).into_bytes()),
        ]
    };
    let method = prop_oneof![
        4 => "(GET|POST|CONNECT|OPTIONS)".prop_map(String::into_bytes),
        1 => bytes(),
    ];
    (method, bytes(), bytes(), bytes(), bytes())
        .prop_map(|(m, t, h, u, r)| Text::new(&m, &t, &h, &u, &r))
}

fn any_ip() -> impl Strategy<Value = Option<IpAddr>> {
    prop_oneof![
        Just(None),
        any::<[u8; 4]>().prop_map(|ip| Some(ip.into())),
        any::<[u8; 16]>().prop_map(|ip| Some(ip.into())),
    ]
}

fn any_endpoint() -> impl Strategy<Value = Option<Endpoint>> {
    (any_ip(), any::<u16>()).prop_map(|(ip, port)| ip.map(|ip| endpoint(ip, port)))
}

fn any_failure() -> impl Strategy<Value = Option<Failure>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Failure::Reset)),
        1 => Just(Some(Failure::ResponseCut)),
        1 => Just(Some(Failure::NoResponse)),
    ]
}
