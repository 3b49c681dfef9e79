//! Delivery against a server that behaves in every bad way. The clock is
//! tokio's paused one: waits of minutes pass at once.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::export::testing::typical;
use crate::export::zipkin::Zipkin;
use crate::export::{Exporter as _, Queries};
use crate::ledger::Ledger;

/// What the server does with one request.
#[derive(Clone, Copy, Debug)]
enum Reaction {
    /// Takes it.
    Accept,
    /// Answers with this head and body.
    Answer(&'static str),
    /// Resets the connection when it has read this much of the body.
    Reset(usize),
    /// Reads it and says nothing.
    Silence,
    /// Takes it, and sends an answer of which a byte comes each second.
    Drip,
    /// Takes it and closes the connection without having said so.
    AcceptAndClose,
}

use Reaction::{Accept, AcceptAndClose, Answer as Say, Drip, Reset, Silence};

const TEMPORARY: Reaction = Say("500 Oops\r\ncontent-length: 3\r\n\r\nbad");

/// A Zipkin that follows a script and is well afterwards.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Debug, Default)]
struct Seen {
    script: VecDeque<Reaction>,
    /// Heads of all requests.
    heads: Vec<String>,
    /// Spans in requests that were taken.
    spans: u64,
    connections: u64,
}

impl Server {
    async fn start(script: &[Reaction]) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    async fn start_at(address: SocketAddr, script: &[Reaction]) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Mutex::new(Seen {
            script: script.to_vec().into(),
            ..Seen::default()
        }));
        let shared = Arc::clone(&seen);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                shared.lock().unwrap().connections += 1;
                tokio::spawn(serve(stream, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            seen,
            task,
        }
    }

    fn spans(&self) -> u64 {
        self.seen.lock().unwrap().spans
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn serve(mut stream: TcpStream, seen: Arc<Mutex<Seen>>) {
    let mut bytes = Vec::new();
    loop {
        let head_end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        };
        let head = String::from_utf8(bytes[..head_end].to_vec()).unwrap();
        let length: usize = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length: "))
            .unwrap()
            .parse()
            .unwrap();
        let reaction = {
            let mut seen = seen.lock().unwrap();
            seen.heads.push(head);
            seen.script.pop_front().unwrap_or(Accept)
        };
        let wanted = match reaction {
            Reset(part) => part.min(length),
            _ => length,
        };
        while bytes.len() < head_end + wanted {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        if let Reset(_) = reaction {
            stream.set_zero_linger().unwrap();
            return;
        }
        let body: Vec<u8> = bytes.drain(..head_end + length).skip(head_end).collect();
        let spans: Vec<serde_json::Value> = serde_json::from_slice(&body).unwrap();
        if matches!(reaction, Accept | AcceptAndClose | Drip) {
            seen.lock().unwrap().spans += spans.len() as u64;
        }
        match reaction {
            Accept | AcceptAndClose => {
                let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
                stream.write_all(answer).await.unwrap();
                if let AcceptAndClose = reaction {
                    return;
                }
            }
            Say(answer) => {
                let answer = format!("HTTP/1.1 {answer}");
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
            Drip => {
                for byte in b"HTTP/1.1 202 Accepted\r\n\r\n".chunks(1) {
                    if stream.write_all(byte).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            }
            Silence | Reset(_) => sleep(Duration::from_hours(1)).await,
        }
    }
}

/// One backend under test.
struct Rig {
    ledger: Arc<BackendLedger>,
    batcher: Batcher,
    worker: JoinHandle<()>,
}

impl Rig {
    fn new(address: SocketAddr, change: impl FnOnce(&mut Delivery)) -> Self {
        let target = Target::parse(&format!("http://{address}/api/v2/spans")).unwrap();
        let mut delivery = Delivery::to(target);
        delivery.batch.spans = 10;
        delivery.grace = Duration::from_mins(10);
        change(&mut delivery);
        let ledger = Ledger::new().backend("zipkin");
        let encoder = Box::new(Zipkin::new(Queries::Redacted));
        let (batcher, worker) = delivery.start(encoder, Arc::clone(&ledger));
        Self {
            ledger,
            batcher,
            worker: tokio::spawn(worker.run()),
        }
    }

    fn push(&mut self, spans: u64) {
        for _ in 0..spans {
            self.batcher.export(&typical());
        }
    }

    /// Ends the run and checks that every span is accounted for.
    async fn end(self) -> Arc<BackendLedger> {
        let Self {
            ledger,
            batcher,
            worker,
        } = self;
        batcher.close();
        worker.await.unwrap();
        assert_eq!(
            ledger.pushed.get(),
            ledger.sent.get() + ledger.dropped.total()
        );
        assert_eq!(ledger.queued_bytes.get(), 0);
        ledger
    }
}

/// Pushes 25 spans (three batches) at a server with this script.
async fn deliver(script: &[Reaction]) -> (Server, Arc<BackendLedger>) {
    let server = Server::start(script).await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(25);
    let ledger = rig.end().await;
    (server, ledger)
}

fn dropped(ledger: &BackendLedger, reason: Undelivered) -> u64 {
    ledger.dropped.get(reason)
}

#[tokio::test(start_paused = true)]
async fn batches_arrive_over_one_connection_with_the_right_headers() {
    let (server, ledger) = deliver(&[]).await;
    assert_eq!((ledger.sent.get(), server.spans()), (25, 25));
    assert_eq!((ledger.batches.get(), ledger.retries.get()), (3, 0));
    let seen = server.seen.lock().unwrap();
    assert_eq!(seen.connections, 1);
    let head = &seen.heads[0];
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
async fn a_refused_batch_is_dropped_with_its_reason() {
    let refusal = Say("400 Bad Request\r\ncontent-length: 21\r\n\r\nmalformed\u{7}reading spans");
    let (server, ledger) = deliver(&[refusal]).await;
    assert_eq!((ledger.sent.get(), server.spans()), (15, 15));
    assert_eq!(dropped(&ledger, Undelivered::Rejected), 10);
    assert_eq!(ledger.retries.get(), 0);
}

#[tokio::test(start_paused = true)]
async fn too_large_and_moved_are_refusals_too() {
    let too_large = Say("413 Too Large\r\ncontent-length: 0\r\n\r\n");
    let moved = Say("301 Moved\r\nlocation: /\r\ncontent-length: 0\r\n\r\n");
    let (_, ledger) = deliver(&[too_large, moved]).await;
    assert_eq!(
        (ledger.sent.get(), dropped(&ledger, Undelivered::Rejected)),
        (5, 20)
    );
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
    let attempts = server.seen.lock().unwrap().heads.len();
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
