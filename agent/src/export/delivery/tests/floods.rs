//! Load on backends that are away: everything is accounted for, and nobody
//! else notices.

use super::*;

/// Spans a second.
const RATE: u64 = 2000;
const STEP: Duration = Duration::from_millis(10);

/// Pushes at the rate for so long.
async fn flood(rigs: &mut [Rig], duration: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < duration {
        for rig in &mut *rigs {
            rig.push(RATE * STEP.as_millis() as u64 / 1000);
        }
        sleep(STEP).await;
    }
}

/// An address where nobody listens yet.
async fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    listener.local_addr().unwrap()
}

async fn counting_at(address: SocketAddr) -> Server {
    let server = Server::start_at(address, &[]).await;
    server.seen.lock().unwrap().counting = true;
    server
}

fn full_batches(delivery: &mut DeliveryConfig) {
    delivery.batch = BatchLimits::default();
}

#[tokio::test(start_paused = true)]
async fn a_minute_without_a_backend_loses_nothing_that_the_queue_holds() {
    let address = free_address().await;
    let rig = Rig::new(address, |delivery| {
        full_batches(delivery);
        delivery.queue.spans = 200_000;
        delivery.queue.bytes = 200 << 20;
    });
    let mut rigs = [rig];
    flood(&mut rigs, Duration::from_mins(1)).await;
    assert_eq!(rigs[0].ledger.sent.get(), 0);
    let server = counting_at(address).await;
    flood(&mut rigs, Duration::from_secs(40)).await;
    let [rig] = rigs;
    let pushed = rig.ledger.pushed.get();
    assert!(pushed >= 199_000, "{pushed}");
    // It has caught up under load.
    assert!(rig.ledger.queued() <= 2 * RATE, "{}", rig.ledger.queued());
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), ledger.dropped.total()), (pushed, 0));
    assert_eq!(server.spans(), pushed);
    assert_eq!(ledger.repeated.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_the_default_queue_does_not_hold_is_counted_to_the_span() {
    for overflow in [Overflow::Newest, Overflow::Oldest] {
        let address = free_address().await;
        let rig = Rig::new(address, |delivery| {
            full_batches(delivery);
            delivery.overflow = overflow;
        });
        let mut rigs = [rig];
        flood(&mut rigs, Duration::from_mins(1)).await;
        let queue = QueueLimits::default();
        let ledger = &rigs[0].ledger;
        assert!(ledger.queued() <= queue.spans + 1000);
        assert!(ledger.queued_bytes.get() <= queue.bytes as u64);
        let lost = dropped(ledger, Undelivered::QueueFull);
        assert!(lost > 90_000, "{overflow:?} {lost}");
        let server = counting_at(address).await;
        let [rig] = rigs;
        let ledger = rig.end().await;
        assert_eq!(ledger.sent.get(), server.spans());
        assert_eq!(
            ledger.sent.get(),
            ledger.pushed.get() - ledger.dropped.total()
        );
        assert!(ledger.sent.get() >= 15_000);
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_slows_no_other() {
    let dead = Server::start(&[Silence; 1000]).await;
    let gone = free_address().await;
    let well = counting_at("127.0.0.1:0".parse().unwrap()).await;
    let small = |delivery: &mut DeliveryConfig| delivery.queue.spans = 100;
    let mut rigs = [
        Rig::new(dead.address, small),
        Rig::new(gone, small),
        Rig::new(well.address, small),
    ];
    for _ in 0..200 {
        flood(&mut rigs, STEP).await;
        // What was handed over is there within the same instant.
        tokio::time::advance(Duration::from_millis(1)).await;
        let [_, _, well] = &rigs;
        assert!(well.ledger.queued() <= 40, "{}", well.ledger.queued());
    }
    let [a, b, c] = rigs;
    for rig in [a, b] {
        let ledger = Arc::clone(&rig.ledger);
        rig.worker.abort();
        let _ = rig.worker.await;
        drop(rig.batcher);
        assert_eq!(ledger.sent.get(), 0);
        assert_eq!(ledger.pushed.get(), ledger.dropped.total());
        assert!(dropped(&ledger, Undelivered::QueueFull) > 0);
    }
    let ledger = c.end().await;
    assert_eq!(
        (ledger.dropped.total(), well.spans()),
        (0, ledger.pushed.get())
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_under_load_is_accounted_for() {
    // Takes some, fails some, and falls silent in the end.
    let mut script = vec![Accept, TEMPORARY, Accept, Reset(1000), Accept];
    script.extend([Silence; 1000]);
    let server = Server::start(&script).await;
    let rig = Rig::new(server.address, |delivery| {
        full_batches(delivery);
        delivery.grace = Duration::from_secs(3);
    });
    let mut rigs = [rig];
    flood(&mut rigs, Duration::from_secs(4)).await;
    let [rig] = rigs;
    let start = Instant::now();
    let ledger = rig.end().await;
    let took = start.elapsed();
    assert!((3.0..3.5).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(ledger.sent.get(), server.spans());
    assert!(ledger.sent.get() > 1500);
    let left = dropped(&ledger, Undelivered::Shutdown);
    assert_eq!(left, ledger.dropped.total());
    assert!(left > 4000, "{left}");
}
