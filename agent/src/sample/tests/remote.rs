//! The poller against a server.

use std::cell::Cell;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;

use super::*;
use crate::ledger::Event;

/// A sampling server whose answers can be set.
struct Server {
    url: SamplingUrl,
    answers: Arc<Mutex<HashMap<String, Answer>>>,
    /// The first line of each request.
    asked: mpsc::Receiver<String>,
}

#[derive(Clone)]
enum Answer {
    /// Status and body.
    Say(u16, String),
    /// Half of a body.
    Cut,
    /// Nothing, ever.
    Hang,
}

impl Server {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sampling", listener.local_addr().unwrap());
        let answers = Arc::<Mutex<HashMap<String, Answer>>>::default();
        let (asking, asked) = mpsc::channel(1000);
        let set = Arc::clone(&answers);
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let (answers, asking) = (Arc::clone(&set), asking.clone());
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.ends_with(b"\r\n\r\n") {
                        head.push(stream.read_u8().await.unwrap());
                    }
                    let head = String::from_utf8(head).unwrap();
                    assert!(head.contains("\r\nb3: 0\r\n"), "{head}");
                    let line = head.lines().next().unwrap().to_owned();
                    let service = line.split(['=', ' ']).nth(2).unwrap_or_default().to_owned();
                    asking.send(line).await.unwrap();
                    let answer = answers.lock().await.get(&service).cloned();
                    let answer = answer.unwrap_or(Answer::Say(500, "no such\u{7} service".into()));
                    let text = match answer {
                        Answer::Say(status, body) => {
                            format!(
                                "HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}",
                                body.len()
                            )
                        }
                        Answer::Cut => "HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{".into(),
                        Answer::Hang => std::future::pending().await,
                    };
                    stream.write_all(text.as_bytes()).await.unwrap();
                });
            }
        });
        Self {
            url: SamplingUrl::parse(&url).unwrap(),
            answers,
            asked,
        }
    }

    async fn answer(&self, service: &str, answer: Answer) {
        self.answers.lock().await.insert(service.into(), answer);
    }

    async fn says(&self, service: &str, body: &str) {
        self.answer(service, Answer::Say(200, body.into())).await;
    }

    /// A sampler that asks here every 20 ms, and what it counts.
    fn sampler(&self) -> (Sampler, Arc<Ledger>) {
        let ledger = Ledger::new();
        let config = SamplerConfig::Remote {
            url: self.url.clone(),
            initial: 0.5,
        };
        assert!(config.needs_operations());
        let (sampler, poller) = config.build(&ledger);
        let options = PollOptions {
            interval: Duration::from_millis(20),
            timeout: Duration::from_millis(200),
        };
        tokio::spawn(poller.unwrap().with(options).run());
        (sampler, ledger)
    }
}

/// Asks about new traces until the sampler says this of one.
async fn until(sampler: &mut Sampler, service: &str, tag: SamplerTag) {
    thread_local!(static NEXT: Cell<u64> = const { Cell::new(1 << 40) });
    let said = async {
        loop {
            let low = NEXT.get();
            NEXT.set(low + 1);
            let operation = |name: &mut Vec<u8>| name.extend(b"GET a");
            let verdict = sampler.decide(service, operation, trace(low), MonoNanos(SECOND));
            if verdict.tag == Some(tag) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(20), said)
        .await
        .unwrap_or_else(|_| panic!("{service} never got {tag:?}"));
}

async fn until_counted(ledger: &Ledger, event: Event, more_than: u64) {
    let counted = async {
        while ledger.events.get(event) <= more_than {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(20), counted).await.unwrap();
}

const SHARE: &str =
    r#"{"strategyType":"PROBABILISTIC","probabilisticSampling":{"samplingRate":1}}"#;
const LIMIT: &str = r#"{"strategyType":1,"rateLimitingSampling":{"maxTracesPerSecond":3}}"#;
const OPERATIONS: &str = r#"{"operationSampling":{"defaultSamplingProbability":0.25,
    "defaultLowerBoundTracesPerSecond":0,"perOperationStrategies":[
    {"operation":"GET a","probabilisticSampling":{"samplingRate":0.75}}]}}"#;

#[tokio::test]
async fn every_service_gets_its_own_strategy_and_it_can_change() {
    use SamplerTag::{LowerBound, Probabilistic, RateLimiting};
    let mut server = Server::start().await;
    server.says("a", SHARE).await;
    server.says("b%20c", LIMIT).await;
    server.says("d", OPERATIONS).await;
    let (mut sampler, ledger) = server.sampler();
    // Nobody was asked yet.
    assert_eq!(
        ask(&mut sampler, 1, 0).tag,
        Some(Probabilistic(0.5)),
        "the initial sampler"
    );
    until(&mut sampler, "a", Probabilistic(1.0)).await;
    until(&mut sampler, "b c", RateLimiting(3.0)).await;
    // Its first traces are in the share or below the bound.
    until(&mut sampler, "d", Probabilistic(0.75)).await;
    let other = |name: &mut Vec<u8>| name.extend(b"GET b");
    let high = trace(u64::MAX >> 1);
    let verdict = sampler.decide("d", other, high, MonoNanos(SECOND));
    assert_eq!(verdict.tag, Some(LowerBound(0.25)));
    let mut asked = Vec::new();
    while let Ok(line) = server.asked.try_recv() {
        asked.push(line);
    }
    assert!(asked.contains(&"GET /sampling?service=a HTTP/1.1".to_owned()));
    assert!(asked.contains(&"GET /sampling?service=b%20c HTTP/1.1".to_owned()));
    // Kinds and numbers change under way.
    server.says("a", LIMIT).await;
    server.says("b%20c", &LIMIT.replace('3', "7")).await;
    server.says("d", SHARE).await;
    until(&mut sampler, "a", RateLimiting(3.0)).await;
    until(&mut sampler, "b c", RateLimiting(7.0)).await;
    until(&mut sampler, "d", Probabilistic(1.0)).await;
    server.says("a", OPERATIONS).await;
    until(&mut sampler, "a", Probabilistic(0.75)).await;
    assert!(ledger.events.get(Event::SamplingPolled) >= 7);
}

#[tokio::test]
async fn operations_of_all_services_are_bounded_together() {
    let server = Server::start().await;
    let (mut sampler, _) = server.sampler();
    // Whether an operation that nobody listed is told apart, by its lower
    // bound: each has one credit.
    let high = u64::MAX >> 1;
    let mut next = high;
    let mut learns = |sampler: &mut Sampler, service: usize, operation: usize| {
        next -= 1;
        let name = |out: &mut Vec<u8>| out.extend(operation.to_be_bytes());
        let verdict = sampler.decide(&format!("s{service}"), name, trace(next), MonoNanos(SECOND));
        verdict.tag == Some(SamplerTag::LowerBound(0.25))
    };
    for service in 0..26 {
        server.says(&format!("s{service}"), OPERATIONS).await;
        until(
            &mut sampler,
            &format!("s{service}"),
            SamplerTag::Probabilistic(0.75),
        )
        .await;
    }
    let mut learned = 0;
    for service in 0..26 {
        for operation in 0..2000 {
            learned += usize::from(learns(&mut sampler, service, operation));
        }
    }
    // Each service has one that is listed.
    assert_eq!(learned, 50_000);
    assert!(!learns(&mut sampler, 25, 5000));
    // What a service forgets makes room.
    server.says("s3", SHARE).await;
    until(&mut sampler, "s3", SamplerTag::Probabilistic(1.0)).await;
    assert!(learns(&mut sampler, 25, 5000));
}

#[tokio::test]
async fn the_last_strategy_outlives_every_trouble() {
    let server = Server::start().await;
    let (mut sampler, ledger) = server.sampler();
    let limit = SamplerTag::RateLimiting(3.0);
    // Not known yet: the initial one stays.
    until(&mut sampler, "s", SamplerTag::Probabilistic(0.5)).await;
    until_counted(&ledger, Event::SamplingFailed, 1).await;
    assert_eq!(
        ask(&mut sampler, 1, 0).tag,
        Some(SamplerTag::Probabilistic(0.5))
    );
    server.says("s", LIMIT).await;
    until(&mut sampler, "s", limit).await;
    for answer in [
        Answer::Say(500, "later".into()),
        Answer::Say(404, String::new()),
        Answer::Say(302, String::new()),
        Answer::Say(200, "{}".into()),
        Answer::Say(200, "<html>".into()),
        Answer::Say(200, " ".repeat(2 << 20)),
        Answer::Cut,
        Answer::Hang,
    ] {
        server.answer("s", answer).await;
        let failed = ledger.events.get(Event::SamplingFailed);
        // The first of these may have been under way before.
        until_counted(&ledger, Event::SamplingFailed, failed + 1).await;
        until(&mut sampler, "s", limit).await;
    }
    server.says("s", &LIMIT.replace('3', "4")).await;
    until(&mut sampler, "s", SamplerTag::RateLimiting(4.0)).await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_asked_again() {
    let address = {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    let mut server = Server::start().await;
    server.url = SamplingUrl::parse(&format!("http://{address}/")).unwrap();
    let (mut sampler, ledger) = server.sampler();
    until(&mut sampler, "s", SamplerTag::Probabilistic(0.5)).await;
    until_counted(&ledger, Event::SamplingFailed, 2).await;
    assert_eq!(ledger.events.get(Event::SamplingPolled), 0);
}

#[tokio::test]
async fn the_poller_ends_with_its_sampler() {
    let server = Server::start().await;
    let ledger = Ledger::new();
    let config = SamplerConfig::Remote {
        url: server.url.clone(),
        initial: 1.0,
    };
    let (mut sampler, poller) = config.build(&ledger);
    let running = tokio::spawn(poller.unwrap().run());
    ask(&mut sampler, 1, 0);
    tokio::task::yield_now().await;
    assert!(!running.is_finished());
    drop(sampler);
    timeout(Duration::from_secs(20), running)
        .await
        .unwrap()
        .unwrap();
    // And a sampler does without a poller.
    let (mut sampler, poller) = config.build(&ledger);
    drop(poller);
    assert!(ask(&mut sampler, 1, 0).sampled);
}

#[tokio::test]
async fn it_asks_at_once_and_then_at_intervals() {
    let options = PollOptions::default();
    assert_eq!(
        (options.interval.as_secs(), options.timeout.as_secs()),
        (60, 10)
    );
    let mut server = Server::start().await;
    server.says("s", SHARE).await;
    let config = SamplerConfig::Remote {
        url: server.url.clone(),
        initial: 0.5,
    };
    let every = |interval| PollOptions {
        interval,
        ..options
    };
    let ledger = Ledger::new();
    for (interval, questions) in [(3_600_000, 1), (200, 4)] {
        let interval = Duration::from_millis(interval);
        let (mut sampler, poller) = config.build(&ledger);
        let start = Instant::now();
        tokio::spawn(poller.unwrap().with(every(interval)).run());
        ask(&mut sampler, 1, 0);
        for n in 0..questions {
            let asked = timeout(Duration::from_secs(20), server.asked.recv()).await;
            assert!(asked.unwrap().is_some());
            // Never early: n intervals are over.
            assert!(start.elapsed() + Duration::from_millis(20) >= interval * n);
        }
    }
}

#[tokio::test]
async fn services_are_bounded_and_idle_ones_make_room() {
    let server = Server::start().await;
    let config = SamplerConfig::Remote {
        url: server.url.clone(),
        initial: 0.5,
    };
    let (mut sampler, poller) = config.build(&Ledger::new());
    tokio::spawn(poller.unwrap().run());
    let mut meet = |service: String, at: u64| {
        sampler.decide(&service, |_| {}, trace(1), MonoNanos(at * SECOND));
        sampler.take_counters().crowded
    };
    for n in 0..500 {
        assert_eq!(meet(format!("s{n}"), 100), 0);
    }
    assert_eq!(meet("s500".into(), 100), 1);
    assert_eq!(meet("s7".into(), 600), 0);
    // All but one have been idle for ten minutes.
    assert_eq!(meet("s501".into(), 699), 1);
    assert_eq!(meet("s502".into(), 705), 1, "the next look comes later");
    assert_eq!(meet("s503".into(), 709), 0);
    for n in 1000..1498 {
        assert_eq!(meet(format!("s{n}"), 710), 0);
    }
    assert_eq!(meet("s7".into(), 711), 0, "it was not idle");
    assert_eq!(meet("more".into(), 711), 1);
}

#[tokio::test]
async fn nobody_asks_about_a_service_that_was_left() {
    let mut server = Server::start().await;
    let options = PollOptions {
        interval: Duration::from_millis(5),
        ..PollOptions::default()
    };
    let (feed, poller) = Poller::new(server.url.clone(), options, Ledger::new());
    tokio::spawn(poller.run());
    let services: [Arc<str>; 2] = ["a".into(), "b".into()];
    feed.follow(&services[0]);
    feed.follow(&services[1]);
    let mut asked = async || {
        let line = timeout(Duration::from_secs(20), server.asked.recv()).await;
        line.unwrap().unwrap()
    };
    while !asked().await.contains("=a") {}
    feed.leave(&services[0]);
    // What was under way may still come; then it is all about the other.
    let mut in_a_row = 0;
    while in_a_row < 20 {
        let other = asked().await.contains("=b");
        in_a_row = if other { in_a_row + 1 } else { 0 };
    }
    feed.follow(&services[0]);
    while !asked().await.contains("=a") {}
}

#[tokio::test]
async fn a_trouble_is_said_once_for_all_services_that_have_it() {
    let said = Arc::<std::sync::Mutex<Vec<u8>>>::default();
    let writer = Arc::clone(&said);
    let subscriber = tracing_subscriber::fmt()
        .with_writer(move || Said(Arc::clone(&writer)))
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = Server::start().await;
    let (mut sampler, ledger) = server.sampler();
    for service in ["a", "b", "c"] {
        sampler.decide(service, |_| {}, trace(1), MonoNanos(0));
    }
    let lines = || {
        let text = String::from_utf8(said.lock().unwrap().clone()).unwrap();
        let lines = text
            .lines()
            .filter(|line| line.contains("no sampling strategy for "));
        lines.map(str::to_owned).collect::<Vec<_>>()
    };
    until_counted(&ledger, Event::SamplingFailed, 20).await;
    assert_eq!(lines().len(), 1, "{:?}", lines());
    assert!(
        lines()[0].contains("answered 500: no such  service; its last one stays"),
        "{:?}",
        lines()
    );
    for service in ["a", "b", "c"] {
        server.says(service, "{}").await;
    }
    let failed = ledger.events.get(Event::SamplingFailed);
    until_counted(&ledger, Event::SamplingFailed, failed + 20).await;
    assert_eq!(lines().len(), 2, "{:?}", lines());
}

struct Said(Arc<std::sync::Mutex<Vec<u8>>>);

impl std::io::Write for Said {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}
