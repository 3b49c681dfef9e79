//! Backends that are opened and closed while spans come.

use super::*;
use crate::export::{BackendConfig, Limits, OpenError, Protocol, Wording};

fn backend(target: &str) -> BackendConfig {
    BackendConfig {
        name: "mesh/zipkin".into(),
        protocol: Protocol::ZipkinJson,
        target: target.to_owned(),
        wording: Wording::default(),
        limits: Limits::default(),
        delivery: DeliveryConfig {
            batch: BatchLimits {
                spans: 10,
                ..BatchLimits::default()
            },
            ..DeliveryConfig::default()
        },
    }
}

#[tokio::test(start_paused = true)]
async fn moving_to_another_backend_loses_nothing() {
    // The old one is just not well.
    let old = Server::start(&[TEMPORARY, TEMPORARY, Reset(10)]).await;
    let new = Server::start(&[]).await;
    let ledger = Ledger::new();
    let mut workers = Vec::new();
    for server in [&old, &new] {
        let config = backend(&format!("http://{}/", server.address));
        let (mut exporter, worker) = config.open(&ledger).unwrap();
        workers.push(tokio::spawn(worker.run()));
        for _ in 0..25 {
            exporter.export(&typical());
        }
        // Closes the queue; the worker goes on.
    }
    for worker in workers {
        worker.await.unwrap();
    }
    assert_eq!((old.spans(), new.spans()), (25, 25));
    let account = ledger.backend("mesh/zipkin");
    assert_eq!((account.pushed.get(), account.sent.get()), (50, 50));
    assert_eq!(account.queued_bytes.get(), 0);
    assert_eq!(ledger.snapshot().backends.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_is_closed_within_its_grace() {
    let dead = Server::start(&[Silence; 100]).await;
    let ledger = Ledger::new();
    let config = backend(&format!("http://{}/", dead.address));
    let (mut exporter, worker) = config.open(&ledger).unwrap();
    let worker = tokio::spawn(worker.run());
    for _ in 0..25 {
        exporter.export(&typical());
    }
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    drop(exporter);
    worker.await.unwrap();
    let took = start.elapsed();
    assert!((5.0..5.5).contains(&took.as_secs_f64()), "{took:?}");
    let account = ledger.backend("mesh/zipkin");
    assert_eq!(dropped(&account, Undelivered::Shutdown), 25);
}

#[tokio::test]
async fn what_cannot_be_opened_says_whose_fault_it_is() {
    let ledger = Ledger::new();
    let error = |config: BackendConfig| config.open(&ledger).map(drop).unwrap_err();
    let target = error(backend("zipkin:9411"));
    assert!(matches!(target, OpenError::Target { .. }));
    assert!(
        target
            .to_string()
            .starts_with("backend mesh/zipkin: `zipkin:9411`")
    );
    let mut secure = backend("https://zipkin/");
    secure.delivery.ca = Some("/no/such/ca.pem".into());
    let tls = error(secure.clone());
    assert!(tls.to_string().contains("/no/such/ca.pem"));
    assert!(ledger.snapshot().backends.is_empty());
    assert_ne!(secure, backend("https://zipkin/"));
    assert_eq!(secure, secure.clone());
}
