//! Every encoding through its delivery: what is cut, what a partial success
//! says, and datagrams of a real encoder.

use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::UdpSocket;

use super::*;
use crate::export::{BackendConfig, Limits, Protocol, Span, Wording};

const POSTED: [Protocol; 5] = [
    Protocol::ZipkinV1Json,
    Protocol::ZipkinV1Thrift,
    Protocol::ZipkinJson,
    Protocol::ZipkinProto,
    Protocol::Otlp,
];

/// Spans of three workloads, each of another duration.
fn spans(count: u64) -> Vec<Span> {
    let workloads = [0, 1, 2].map(|n| {
        let mut workload = (*typical().workload).clone();
        workload.service = format!("service-{n}").into();
        Arc::new(workload)
    });
    let numbered = |n| {
        let mut span = typical();
        span.duration = n;
        span.workload = Arc::clone(&workloads[n as usize % 3]);
        span
    };
    (1..=count).map(numbered).collect()
}

fn body(protocol: Protocol, spans: &[Span]) -> Vec<u8> {
    let mut encoder = protocol.encoder(Wording::default(), Limits::default());
    let mut body = Vec::new();
    for span in spans {
        encoder.encode(span, &mut body).unwrap();
    }
    encoder.finish(&mut body);
    body
}

#[test]
fn every_encoders_bodies_are_cut_into_bodies_of_the_same_spans() {
    let spans = spans(7);
    for protocol in POSTED {
        let encoder = protocol.encoder(Wording::default(), Limits::default());
        let cut = encoder.cut();
        let whole = body(protocol, &spans);
        assert_eq!(
            cut(&whole, 0..7).as_deref(),
            Some(&whole[..]),
            "{protocol:?}"
        );
        assert_eq!(cut(&whole, 0..8), None, "{protocol:?}");
        // Grouping changes the order, not the set.
        let mut parts: Vec<_> = (0..7).map(|n| cut(&whole, n..n + 1).unwrap()).collect();
        let mut alone: Vec<_> = spans
            .iter()
            .map(|span| body(protocol, std::slice::from_ref(span)))
            .collect();
        parts.sort();
        alone.sort();
        assert_eq!(parts, alone, "{protocol:?}");
    }
}

/// A server that refuses any body in which these bytes stand, and knows no
/// more of formats. Counts the bodies it takes.
async fn refusing(bytes: &'static [u8], answer: &'static [u8]) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let taken = Arc::new(AtomicU64::new(0));
    let shared = Arc::clone(&taken);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let taken = Arc::clone(&shared);
            let serve = service_fn(move |request: hyper::Request<Incoming>| {
                let taken = Arc::clone(&taken);
                async move {
                    let body = request.into_body().collect().await?.to_bytes();
                    let bad = body.windows(bytes.len()).any(|window| window == bytes);
                    let mut response =
                        hyper::Response::new(Full::new(bytes::Bytes::from_static(answer)));
                    if bad {
                        *response.status_mut() = hyper::StatusCode::BAD_REQUEST;
                    } else {
                        taken.fetch_add(1, Ordering::Relaxed);
                    }
                    Ok::<_, hyper::Error>(response)
                }
            });
            tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), serve));
        }
    });
    (address, taken)
}

fn backend(protocol: Protocol, target: String) -> BackendConfig {
    BackendConfig {
        name: "backend".into(),
        protocol,
        target,
        wording: Wording::default(),
        limits: Limits::default(),
        delivery: DeliveryConfig::default(),
    }
}

/// Sends 50 spans, of which the 31st has a name of its own.
async fn deliver_fifty(config: &BackendConfig) -> Arc<BackendLedger> {
    let ledger = Ledger::new();
    let (mut exporter, worker) = config.open(&ledger).unwrap();
    let worker = tokio::spawn(worker.run());
    let mut spans = spans(50);
    spans[30].exchange.text = crate::assemble::Text::new(b"GET", b"/poison", b"h", b"", b"");
    for span in &spans {
        exporter.export(span);
    }
    drop(exporter);
    worker.await.unwrap();
    let account = ledger.backend("backend");
    assert_eq!(account.pushed.get(), 50);
    assert_eq!(account.queued(), 0);
    assert_eq!(account.queued_bytes.get(), 0);
    account
}

#[tokio::test(start_paused = true)]
async fn the_bad_span_is_found_in_every_encoding() {
    for protocol in POSTED {
        let (address, taken) = refusing(b"/poison", b"").await;
        let account = deliver_fifty(&backend(protocol, format!("http://{address}/"))).await;
        assert_eq!(account.sent.get(), 49, "{protocol:?}");
        assert_eq!(dropped(&account, Undelivered::Rejected), 1, "{protocol:?}");
        assert!(taken.load(Ordering::Relaxed) <= 6, "{protocol:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_partial_success_is_no_success_for_all() {
    // partial_success { rejected_spans: 3, error_message: "odd" }
    let answer = b"\x0a\x07\x08\x03\x12\x03odd";
    let (address, _) = refusing(b"nothing of the kind", answer).await;
    let url = format!("http://{address}/v1/traces");
    let account = deliver_fifty(&backend(Protocol::Otlp, url.clone())).await;
    assert_eq!(account.sent.get(), 47);
    assert_eq!(dropped(&account, Undelivered::Rejected), 3);
    let error = account.last_error().unwrap().text;
    assert!(error.contains("3 spans refused: odd"), "{error}");
    // Zipkin's answers say nothing of the kind.
    let account = deliver_fifty(&backend(Protocol::ZipkinProto, url)).await;
    assert_eq!(account.sent.get(), 50);
}

#[tokio::test]
async fn jaegers_datagrams_arrive_one_for_each_service() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let target = socket.local_addr().unwrap().to_string();
    let account = deliver_fifty(&backend(Protocol::JaegerCompact, target)).await;
    assert_eq!((account.sent.get(), account.dropped.total()), (50, 0));
    let mut buffer = [0; 65_536];
    for _ in 0..3 {
        let read = socket.recv(&mut buffer).await.unwrap();
        assert!(
            buffer[..read].starts_with(b"\x82\x81"),
            "{:?}",
            &buffer[..16]
        );
    }
    let none = tokio::time::timeout(Duration::from_millis(50), socket.recv(&mut buffer)).await;
    assert!(none.is_err());
    let wrong = backend(Protocol::JaegerCompact, "http://jaeger:6831".into());
    let error = wrong
        .open(&Ledger::new())
        .map(drop)
        .unwrap_err()
        .to_string();
    assert!(error.contains("not of the form HOST:PORT"), "{error}");
}
