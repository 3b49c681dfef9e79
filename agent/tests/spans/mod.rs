//! Spans as a mesh makes them by the thousand, for tests and benchmarks that
//! are not part of the crate.

use std::net::IpAddr;
use std::sync::Arc;

use nodespan::assemble::{Began, BodySize, Exchange, Seed, Text};
use nodespan::export::Span;
use nodespan::http::context::TraceContext;
use nodespan::identify::{Workload, WorkloadKind};
use nodespan::units::{Endpoint, MonoNanos, OwnerId, Side, SpanId, TraceId, UnixMicros, WireId};

/// A workload of this number.
pub(crate) fn workload(n: usize) -> Arc<Workload> {
    Arc::new(Workload {
        service: format!("orders-{n}").into(),
        kind: WorkloadKind::Command,
        node: "node-7.example".into(),
        address: Some(IpAddr::from([10, 244, 1, n as u8])),
        pod: None,
    })
}

/// A server's span, or for an odd number a client's, with its number in ids,
/// time and addresses.
pub(crate) fn span(n: usize, target: &str, workload: &Arc<Workload>) -> Option<Span> {
    let id = (n as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let endpoint = |ip: [u8; 4], port| Endpoint {
        ip: IpAddr::from(ip),
        port,
    };
    let side = [Side::Server, Side::Client].get(n % 2).copied()?;
    Some(Span {
        trace: TraceId::new(0x5af7_183f_b1d4_cf5f ^ id, 0x6b22_1d5b_c9e6_496c)?,
        id: SpanId::new(0x352b_ff9a_74ca_9ad3 ^ (id << 1))?,
        parent: SpanId::new(0x6b22_1d5b_c9e6_496c),
        shared: false,
        debug: false,
        sampler: None,
        remote: None,
        timestamp: UnixMicros(1_794_000_000_123_456 + n as u64),
        first_byte: Some(UnixMicros(1_794_000_000_124_400 + n as u64)),
        duration: 1431 + n as u64 % 100,
        workload: Arc::clone(workload),
        exchange: Box::new(Exchange {
            began: Began {
                serial: n as u64,
                side,
                wire: WireId::default(),
                context: TraceContext::default(),
                seed: Seed::Carried,
                owner: OwnerId(1),
                pid: 1,
                local: Some(endpoint([10, 244, 1, 17], 8080)),
                peer: Some(endpoint([10, 244, 2, n as u8], 51234)),
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
            status: Some(if n % 50 == 7 { 503 } else { 200 }),
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
