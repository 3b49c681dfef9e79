//! Refused batches: the bad spans are found, the rest arrives.

use super::*;

/// Refuses whatever holds a span whose number ends in 7.
fn no_sevens(request: &Request) -> Option<&'static str> {
    let seven = |span: &Value| span["duration"].as_u64().unwrap() % 10 == 7;
    request.spans().iter().any(seven).then_some(BAD_REQUEST)
}

/// Refuses more than three spans at once.
fn no_more_than_three(request: &Request) -> Option<&'static str> {
    let large = request.spans().len() > 3;
    large.then_some("413 Too Large\r\ncontent-length: 0\r\n\r\n")
}

fn nothing(_: &Request) -> Option<&'static str> {
    Some("422 No\r\ncontent-length: 0\r\n\r\n")
}

#[tokio::test(start_paused = true)]
async fn one_bad_span_is_found_and_the_rest_arrives() {
    let server = Server::judging(no_sevens).await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(25);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (23, 23));
    assert_eq!(dropped(&ledger, Undelivered::Rejected), 2);
    assert_eq!((ledger.retries.get(), ledger.repeated.get()), (0, 0));
    let numbers = server.seen.lock().unwrap().numbers.clone();
    let wanted: Vec<u64> = (1..=25).filter(|n| n % 10 != 7).collect();
    assert_eq!(numbers, wanted, "each once, in their order");
    // Ten spans are halved four times at most.
    let requests = server.requests().len();
    assert!(requests <= 2 * (1 + 2 * 4) + 1, "{requests}");
    // Nothing that was refused is sent again as it was.
    let mut bodies: Vec<_> = server.requests().into_iter().map(|r| r.body).collect();
    bodies.sort();
    bodies.dedup();
    assert_eq!(bodies.len(), requests);
}

#[tokio::test(start_paused = true)]
async fn too_large_is_halved_until_it_fits() {
    let server = Server::judging(no_more_than_three).await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(25);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!(ledger.dropped.total(), 0);
    assert!(ledger.splits.get() >= 6);
}

#[tokio::test(start_paused = true)]
async fn who_refuses_everything_is_not_asked_for_each_span() {
    let server = Server::judging(nothing).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.batch.spans = 1000;
        delivery.batch.bytes = usize::MAX;
    });
    rig.push(1000);
    let ledger = rig.end().await;
    assert_eq!(dropped(&ledger, Undelivered::Rejected), 1000);
    let requests = server.requests().len();
    assert!(requests <= 42, "{requests}");
}

#[tokio::test(start_paused = true)]
async fn a_search_survives_failures_of_other_kinds() {
    let server = Server::start(&[Accept, TEMPORARY, Accept, Reset(50)]).await;
    server.seen.lock().unwrap().judge = Some(no_sevens);
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(10);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (9, 9));
    assert_eq!(dropped(&ledger, Undelivered::Rejected), 1);
    assert_eq!(ledger.retries.get(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_grace_time_ends_a_search_and_what_is_left_is_counted() {
    // The whole and one half are decided, the rest never.
    let server = Server::start(&[Say(BAD_REQUEST), Accept, Silence, Silence]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.grace = Duration::from_secs(3);
    });
    rig.push(10);
    sleep(Duration::from_secs(1)).await;
    let ledger = rig.end().await;
    assert_eq!(ledger.sent.get(), 5);
    assert_eq!(dropped(&ledger, Undelivered::Shutdown), 5);
}
