//! Memory stays under the configured bound with every backend dead. A process
//! of its own, because what is measured is its resident memory.
#![expect(clippy::unwrap_used, reason = "helpers of a test")]

use std::fs;
use std::net::{IpAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use nodespan::assemble::{Began, BodySize, Exchange, Seed, Text};
use nodespan::export::delivery::DeliveryConfig;
use nodespan::export::{
    BackendConfig, Exporter, Limits, Overflow, Protocol, QueueLimits, Span, Wording,
};
use nodespan::http::context::TraceContext;
use nodespan::identify::{Workload, WorkloadKind};
use nodespan::ledger::{Ledger, Undelivered};
use nodespan::units::{Endpoint, MonoNanos, OwnerId, Side, SpanId, TraceId, UnixMicros, WireId};

const MIB: usize = 1 << 20;
/// Of each backend.
const QUEUE: usize = 8 * MIB;
/// Spans pushed at each backend: several times what the queue holds.
const SPANS: u64 = 120_000;

/// Not twice the queue: buffers that were made for a batch and are not full,
/// the batch being filled, and the spare ones.
const SLACK: usize = 5 * MIB;

#[test]
fn memory_stays_within_the_queues_with_every_backend_dead() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let handle = runtime.handle().clone();
    let guard = handle.enter();
    // Takes connections and never reads from them.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = silent.local_addr().map(|at| (silent, at)).unwrap();
    let gone = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap();
    // Longer than a label can be, so no resolver asks for it.
    let nobody = format!("{}.invalid", "x".repeat(70));
    let ledger = Ledger::new();
    let targets = [
        (
            Protocol::ZipkinJson,
            format!("http://{}/", silent.1),
            Overflow::Newest,
        ),
        (
            Protocol::Otlp,
            format!("https://{}/", silent.1),
            Overflow::Oldest,
        ),
        (
            Protocol::ZipkinV1Thrift,
            format!("http://{gone}/"),
            Overflow::Oldest,
        ),
        (
            Protocol::ZipkinProto,
            format!("http://{nobody}/"),
            Overflow::Newest,
        ),
        (
            Protocol::JaegerCompact,
            format!("{nobody}:6831"),
            Overflow::Oldest,
        ),
    ];
    let mut exporters: Vec<Box<dyn Exporter>> = Vec::new();
    let mut workers = Vec::new();
    for (n, (protocol, target, overflow)) in targets.iter().enumerate() {
        let backend = BackendConfig {
            name: format!("dead-{n}").into(),
            protocol: *protocol,
            target: target.clone(),
            wording: Wording::default(),
            limits: Limits::default(),
            delivery: DeliveryConfig {
                queue: QueueLimits {
                    spans: u64::MAX,
                    bytes: QUEUE,
                },
                overflow: *overflow,
                grace: Duration::from_millis(200),
                ..DeliveryConfig::default()
            },
        };
        let (exporter, worker) = backend.open(&ledger).unwrap();
        exporters.push(exporter);
        workers.push(handle.spawn(worker.run()));
    }
    drop(guard);
    let workers = std::thread::spawn(move || {
        runtime.block_on(async {
            for worker in workers {
                worker.await.unwrap();
            }
        });
    });
    let mut span = typical();
    // What any run needs once.
    for exporter in &mut exporters {
        exporter.export(&span);
    }
    let before = resident();
    let bound = before + targets.len() * (QUEUE + SLACK);
    let mut most = 0;
    for n in 1..SPANS {
        span.duration = n;
        for exporter in &mut exporters {
            exporter.export(&span);
        }
        if n % 1000 == 0 {
            most = most.max(resident());
            assert!(most <= bound, "{most} of {bound} bytes after {n} spans");
            for backend in ledger.snapshot().backends {
                assert!(backend.queued_bytes <= QUEUE as u64, "{backend:?}");
            }
        }
    }
    // The queues were full indeed, and their memory was seen.
    let full = targets.len() * QUEUE / 2;
    assert!(most > before + full, "{most} {before}");
    for (n, _) in targets.iter().enumerate() {
        let account = ledger.backend(&format!("dead-{n}"));
        assert!(account.dropped.get(Undelivered::QueueFull) > SPANS / 2);
    }
    drop(exporters);
    workers.join().unwrap();
    for backend in ledger.snapshot().backends {
        let dropped: u64 = backend.dropped.values().sum();
        assert_eq!((backend.pushed, backend.sent, dropped), (SPANS, 0, SPANS));
        assert_eq!(backend.queued_bytes, 0);
    }
    println!(
        "resident: {} KiB before, {} KiB at most, bound {} KiB",
        before / 1024,
        most / 1024,
        bound / 1024
    );
}

/// Bytes of memory that this process has now (`proc_pid_statm(5)`).
fn resident() -> usize {
    let statm = fs::read_to_string("/proc/self/statm").unwrap();
    let pages: usize = statm.split(' ').nth(1).unwrap().parse().unwrap();
    pages * 4096
}

fn typical() -> Span {
    let endpoint = |ip: [u8; 4], port| Endpoint {
        ip: IpAddr::from(ip),
        port,
    };
    Span {
        trace: TraceId::new(0x5af7_183f_b1d4_cf5f, 0x6b22_1d5b_c9e6_496c).unwrap(),
        id: SpanId::new(0x352b_ff9a_74ca_9ad2).unwrap(),
        parent: SpanId::new(0x6b22_1d5b_c9e6_496c),
        shared: false,
        debug: false,
        sampler: None,
        remote: None,
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
                b"/api/orders/4711",
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
    }
}
