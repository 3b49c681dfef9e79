//! Encodes one typical span N times: `valgrind --tool=callgrind` on two values
//! of N gives the instructions a span costs.

use std::net::IpAddr;
use std::sync::Arc;

use nodespan::assemble::{Began, BodySize, Exchange, Seed, Text};
use nodespan::export::zipkin::Zipkin;
use nodespan::export::{Queries, Span};
use nodespan::http::context::TraceContext;
use nodespan::identify::{Workload, WorkloadKind};
use nodespan::units::{Endpoint, MonoNanos, OwnerId, Side, SpanId, TraceId, UnixMicros, WireId};

fn main() -> Result<(), &'static str> {
    let mut arguments = std::env::args().skip(1);
    let times: u64 = arguments
        .next()
        .and_then(|n| n.parse().ok())
        .ok_or("usage: encode N [TARGET]")?;
    let target = arguments
        .next()
        .unwrap_or_else(|| "/api/orders/4711".to_owned());
    let mut span = typical(&target).ok_or("zero id")?;
    let mut encoder = Zipkin::new(Queries::Redacted);
    let mut out = Vec::new();
    let mut bytes = 0;
    for n in 0..times {
        span.timestamp = UnixMicros(1_794_000_000_000_000 + n);
        out.clear();
        encoder.object(std::hint::black_box(&span), &mut out);
        bytes += out.len();
    }
    if std::hint::black_box(bytes) == 0 {
        return Err("nothing was encoded");
    }
    Ok(())
}

fn typical(target: &str) -> Option<Span> {
    let endpoint = |ip: [u8; 4], port| Endpoint {
        ip: IpAddr::from(ip),
        port,
    };
    Some(Span {
        trace: TraceId::new(0x5af7_183f_b1d4_cf5f, 0x6b22_1d5b_c9e6_496c)?,
        id: SpanId::new(0x352b_ff9a_74ca_9ad2)?,
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
        }),
        exchange: Box::new(Exchange {
            began: Began {
                serial: 1,
                side: Side::Server,
                wire: WireId::default(),
                context: TraceContext::default(),
                seed: Seed::Carried,
                owner: OwnerId(1),
                pid: 1,
                local: Some(endpoint([10, 244, 1, 17], 8080)),
                peer: Some(endpoint([10, 244, 2, 9], 51234)),
                start: MonoNanos(1),
            },
            text: Text::new(
                b"GET",
                target.as_bytes(),
                b"orders.shop.svc:8080",
                b"Mozilla/5.0 (X11; Linux x86_64) shop-frontend/2.4",
                b"5f2a1c3e-9a77-4c1b-8d2e-0f6b7a8c9d10",
            ),
            first_byte: Some(MonoNanos(2)),
            end: MonoNanos(3),
            status: Some(200),
            minor_version: 1,
            request_body: BodySize::default(),
            response_body: BodySize {
                bytes: 1843,
                wire: false,
            },
            failure: None,
            lenient: false,
        }),
    })
}
