//! Every bad way in which a server can answer, one at a time.

use super::*;

#[tokio::test(start_paused = true)]
async fn batches_arrive_over_one_connection_with_the_right_headers() {
    let (server, ledger) = deliver(&[]).await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!((ledger.batches.get(), ledger.retries.get()), (3, 0));
    assert_eq!(server.seen.lock().unwrap().connections, 1);
    let head = &server.requests()[0].head;
    assert!(
        head.starts_with("POST /api/v2/spans HTTP/1.1\r\n"),
        "{head}"
    );
    for line in [
        &format!("host: {}", server.address),
        "content-type: application/json",
        concat!("user-agent: nodespan/", env!("CARGO_PKG_VERSION")),
        "b3: 0",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{head}");
    }
}

#[tokio::test(start_paused = true)]
async fn server_errors_are_repeated() {
    let (server, ledger) = deliver(&[TEMPORARY, Accept, TEMPORARY, TEMPORARY]).await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!((ledger.retries.get(), ledger.repeated.get()), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn retry_after_is_honoured() {
    let start = Instant::now();
    let busy = Say("429 Slow down\r\nretry-after: 17\r\ncontent-length: 0\r\n\r\n");
    let server = Server::start(&[busy]).await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(10);
    while rig.ledger.sent.get() == 0 {
        sleep(Duration::from_millis(100)).await;
    }
    let took = start.elapsed();
    assert!((17.0..18.0).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(rig.end().await.retries.get(), 1);
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_haste_are_repeated_too() {
    let slow = Say("408 Request Timeout\r\ncontent-length: 0\r\n\r\n");
    let early = Say("425 Too Early\r\ncontent-length: 0\r\n\r\n");
    let (server, ledger) = deliver(&[slow, early]).await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!((ledger.retries.get(), ledger.failures.get()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_not_about_spans_drops_the_batch_at_once() {
    for answer in [
        "301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n",
        "401 Unauthorized\r\ncontent-length: 0\r\n\r\n",
        "404 Not Found\r\ncontent-length: 0\r\n\r\n",
        "415 Unsupported\r\ncontent-length: 0\r\n\r\n",
    ] {
        let (server, ledger) = deliver(&[Say(answer)]).await;
        assert_eq!((ledger.sent.get(), server.spans()), (15, 15), "{answer}");
        assert_eq!(dropped(&ledger, Undelivered::Rejected), 10);
        assert_eq!((ledger.retries.get(), ledger.splits.get()), (0, 0));
        assert_eq!(server.requests().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_comes_up_later_gets_everything() {
    let free = Server::start(&[]).await;
    let address = free.address;
    drop(free);
    tokio::task::yield_now().await;
    let mut rig = Rig::new(address, |_| {});
    rig.push(25);
    sleep(Duration::from_mins(1)).await;
    assert!(rig.ledger.retries.get() > 3);
    assert_eq!((rig.ledger.sent.get(), rig.ledger.queued()), (0, 25));
    let server = Server::start_at(address, &[]).await;
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!(ledger.repeated.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_reset_in_mid_body_is_repeated_and_counted() {
    let (server, ledger) = deliver(&[Reset(100), Accept, Reset(0)]).await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!((ledger.retries.get(), ledger.repeated.get()), (2, 20));
}

#[tokio::test(start_paused = true)]
async fn silence_is_repeated_after_the_timeout() {
    let start = Instant::now();
    let (server, ledger) = deliver(&[Silence]).await;
    assert!(start.elapsed() >= Duration::from_secs(10));
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!((ledger.retries.get(), ledger.repeated.get()), (1, 10));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_drips_counts_as_none() {
    let (server, ledger) = deliver(&[Drip]).await;
    assert_eq!(ledger.sent.get(), 25);
    assert_eq!((server.spans(), ledger.repeated.get()), (35, 10));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_reads_a_byte_a_second_counts_as_silent() {
    let server = Server::start(&[Sip]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        // More than the buffers of a connection hold.
        delivery.batch.spans = 20_000;
        delivery.batch.bytes = usize::MAX;
        delivery.queue.spans = 100_000;
        delivery.queue.bytes = 1 << 30;
    });
    rig.push(20_000);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (20_000, 20_000));
    assert_eq!((ledger.retries.get(), ledger.repeated.get()), (1, 20_000));
}

#[tokio::test(start_paused = true)]
async fn a_name_that_nobody_knows_is_asked_for_again_and_given_up() {
    let mut rig = Rig::to(&format!("http://{NOBODY}:9411/"), |delivery| {
        delivery.retry.give_up_after = Duration::from_secs(20);
    });
    rig.push(25);
    let ledger = Arc::clone(&rig.ledger);
    while ledger.queued() > 5 {
        sleep(Duration::from_secs(1)).await;
    }
    assert_eq!(dropped(&ledger, Undelivered::GaveUp), 20);
    let ledger = rig.end().await;
    assert!(ledger.failures.get() > 4);
    assert_eq!((ledger.sent.get(), ledger.repeated.get()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn garbage_is_no_answer() {
    let (server, ledger) = deliver(&[Say("garbage\r\n"), Say("2x2 ?\r\n\r\n")]).await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!(ledger.retries.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_status_decides_even_if_the_body_never_ends() {
    let endless = Say("202 Accepted\r\ncontent-length: 9\r\n\r\nabc");
    let (server, ledger) = deliver(&[endless]).await;
    assert_eq!((ledger.sent.get(), ledger.retries.get()), (25, 0));
    assert_eq!(server.seen.lock().unwrap().connections, 2);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_that_was_closed_is_no_failure() {
    let server = Server::start(&[AcceptAndClose; 3]).await;
    let mut rig = Rig::new(server.address, |_| {});
    for _ in 0..3 {
        rig.push(10);
        sleep(Duration::from_secs(30)).await;
    }
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (30, 30));
    assert_eq!((ledger.retries.get(), ledger.repeated.get()), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_batch_that_is_never_taken_is_given_up() {
    let server = Server::start(&[TEMPORARY; 1000]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.retry.give_up_after = Duration::from_secs(20);
    });
    rig.push(25);
    sleep(Duration::from_mins(3)).await;
    assert_eq!(dropped(&rig.ledger, Undelivered::GaveUp), 20);
    let ledger = rig.end().await;
    assert_eq!(ledger.sent.get(), 0);
    let attempts = server.requests().len();
    assert!(attempts < 60, "{attempts}");
}

#[tokio::test(start_paused = true)]
async fn a_dead_backend_costs_no_more_than_the_queue() {
    let server = Server::start(&[Silence; 1000]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.queue.spans = 100;
    });
    for _ in 0..50 {
        rig.push(10);
        sleep(Duration::from_millis(10)).await;
        assert!(rig.ledger.queued() <= 100);
    }
    assert_eq!(dropped(&rig.ledger, Undelivered::QueueFull), 400);
    rig.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_batch_fits_twice_into_the_queue_whatever_is_configured() {
    let server = Server::start(&[]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.batch = BatchLimits::default();
        delivery.queue = QueueLimits {
            spans: 1000,
            bytes: 100_000,
        };
    });
    for _ in 0..100 {
        rig.push(20);
        sleep(Duration::from_millis(1)).await;
    }
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (2000, 2000));
}

#[tokio::test(start_paused = true)]
async fn what_is_left_after_the_grace_time_is_counted() {
    let server = Server::start(&[Accept, Silence, Silence]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.grace = Duration::from_secs(3);
    });
    rig.push(35);
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let ledger = rig.end().await;
    let took = start.elapsed();
    assert!((3.0..3.5).contains(&took.as_secs_f64()), "{took:?}");
    assert_eq!(
        (ledger.sent.get(), dropped(&ledger, Undelivered::Shutdown)),
        (10, 25)
    );
}

#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_does_not_wait_for_the_backoff() {
    let server = Server::start(&[TEMPORARY; 7]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.grace = Duration::from_secs(3);
    });
    rig.push(10);
    sleep(Duration::from_secs(14)).await;
    let ledger = rig.end().await;
    assert_eq!(ledger.sent.get(), 10);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_is_cancelled_accounts_for_its_spans() {
    let server = Server::start(&[Silence]).await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(25);
    sleep(Duration::from_secs(1)).await;
    rig.worker.abort();
    let _ = (&mut rig.worker).await;
    rig.push(10);
    drop(rig.batcher);
    let ledger = rig.ledger;
    assert_eq!(ledger.pushed.get(), 35);
    assert_eq!(dropped(&ledger, Undelivered::Shutdown), 35);
    assert_eq!(ledger.queued_bytes.get(), 0);
}
