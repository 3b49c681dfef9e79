//! Delivery against a server that behaves in every bad way. The clock is
//! tokio's paused one: waits of minutes pass at once.

mod answers;
mod datagrams;
mod floods;
mod odd;
mod protocols;
mod reload;
mod secure;
mod splits;

use std::collections::VecDeque;
use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::*;
use crate::export::testing::typical;
use crate::export::zipkin::Zipkin;
use crate::export::{Exporter as _, Queries};
use crate::ledger::{Ledger, Undelivered};

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
    /// Reads a byte each second.
    Sip,
    /// Takes it and closes the connection without having said so.
    AcceptAndClose,
}

use Reaction::{Accept, AcceptAndClose, Answer as Say, Drip, Reset, Silence, Sip};

/// A host that no resolver asks for: its label is longer than a label can be
/// (RFC 1035, 2.3.4).
const NOBODY: &str =
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.invalid";

const TEMPORARY: Reaction = Say("500 Oops\r\ncontent-length: 3\r\n\r\nbad");
const BAD_REQUEST: &str = "400 Bad Request\r\ncontent-length: 3\r\n\r\nbad";

/// What a server thinks of a request that the script lets it accept: `None`,
/// or the answer it gives instead.
type Judge = fn(&Request) -> Option<&'static str>;

/// A request as it came.
#[derive(Clone, Debug)]
struct Request {
    head: String,
    /// Uncompressed, unless the server is one that cannot.
    body: Vec<u8>,
}

impl Request {
    fn has(&self, line: &str) -> bool {
        self.head.contains(&format!("\r\n{line}\r\n"))
    }

    fn spans(&self) -> Vec<Value> {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// A Zipkin that follows a script and is well afterwards.
struct Server {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    task: JoinHandle<()>,
}

#[derive(Default)]
struct Seen {
    script: VecDeque<Reaction>,
    judge: Option<Judge>,
    requests: Vec<Request>,
    /// Spans in requests that were taken.
    spans: u64,
    /// The durations of those spans, which the tests number them by.
    numbers: Vec<u64>,
    connections: u64,
    /// Spans are only counted: there will be many.
    counting: bool,
}

impl Server {
    async fn start(script: &[Reaction]) -> Self {
        Self::start_at("127.0.0.1:0".parse().unwrap(), script).await
    }

    async fn judging(judge: Judge) -> Self {
        let server = Self::start(&[]).await;
        server.seen.lock().unwrap().judge = Some(judge);
        server
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

    fn requests(&self) -> Vec<Request> {
        self.seen.lock().unwrap().requests.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A connection that can be broken.
trait Peer: AsyncRead + AsyncWrite + Unpin + Send {
    fn reset(&self) {}
}

impl Peer for TcpStream {
    fn reset(&self) {
        self.set_zero_linger().unwrap();
    }
}

async fn serve(mut stream: impl Peer, seen: Arc<Mutex<Seen>>) {
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
        let reaction = seen.lock().unwrap().script.pop_front().unwrap_or(Accept);
        let wanted = match reaction {
            Reset(part) => part.min(length),
            Sip => 1,
            _ => length,
        };
        while bytes.len() < head_end + wanted {
            if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
                return;
            }
        }
        if let Reset(_) = reaction {
            seen.lock().unwrap().requests.push(Request {
                head,
                body: Vec::new(),
            });
            stream.reset();
            return;
        }
        if let Sip = reaction {
            let mut byte = [0];
            while stream.read(&mut byte).await.is_ok_and(|read| read > 0) {
                sleep(Duration::from_secs(1)).await;
            }
            return;
        }
        let mut body: Vec<u8> = bytes.drain(..head_end + length).skip(head_end).collect();
        if head.contains("\r\ncontent-encoding: gzip\r\n") {
            let mut plain = Vec::new();
            let mut decoder = flate2::read::GzDecoder::new(&body[..]);
            decoder.read_to_end(&mut plain).unwrap();
            body = plain;
        }
        if seen.lock().unwrap().counting {
            let spans = body
                .windows(10)
                .filter(|ten| ten == b"{\"traceId\"")
                .count();
            seen.lock().unwrap().spans += spans as u64;
            let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
            say(&mut stream, answer).await.unwrap();
            continue;
        }
        let request = Request { head, body };
        let spans = request.spans();
        let answer = {
            let mut seen = seen.lock().unwrap();
            let judged = match reaction {
                Say(answer) => Some(answer),
                _ => seen.judge.and_then(|judge| judge(&request)),
            };
            seen.requests.push(request);
            if judged.is_none() && matches!(reaction, Accept | AcceptAndClose | Drip) {
                seen.spans += spans.len() as u64;
                let numbers = spans.iter().map(|span| span["duration"].as_u64().unwrap());
                seen.numbers.extend(numbers);
            }
            judged
        };
        if let Some(answer) = answer {
            let answer = format!("HTTP/1.1 {answer}");
            say(&mut stream, answer.as_bytes()).await.unwrap();
            continue;
        }
        match reaction {
            Drip => {
                for byte in b"HTTP/1.1 202 Accepted\r\n\r\n".chunks(1) {
                    if say(&mut stream, byte).await.is_err() {
                        return;
                    }
                    sleep(Duration::from_secs(1)).await;
                }
            }
            Silence => sleep(Duration::from_hours(1)).await,
            _ => {
                let answer = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
                say(&mut stream, answer).await.unwrap();
                if let AcceptAndClose = reaction {
                    return;
                }
            }
        }
    }
}

async fn say(stream: &mut impl Peer, bytes: &[u8]) -> std::io::Result<()> {
    stream.write_all(bytes).await?;
    stream.flush().await
}

/// One backend under test.
struct Rig {
    ledger: Arc<BackendLedger>,
    batcher: Batcher,
    worker: JoinHandle<()>,
    /// Number of the next span: its duration.
    next: u64,
}

impl Rig {
    fn new(address: SocketAddr, change: impl FnOnce(&mut DeliveryConfig)) -> Self {
        Self::to(&format!("http://{address}/api/v2/spans"), change)
    }

    fn to(url: &str, change: impl FnOnce(&mut DeliveryConfig)) -> Self {
        let target = Target::parse(url).unwrap();
        let mut delivery = DeliveryConfig {
            grace: Duration::from_mins(10),
            ..DeliveryConfig::default()
        };
        delivery.batch.spans = 10;
        change(&mut delivery);
        let ledger = Ledger::new().backend("zipkin");
        let encoder = Box::new(Zipkin::new(Queries::Redacted));
        let opened = delivery.post_to(target, encoder, || Arc::clone(&ledger));
        let (batcher, worker) = opened.unwrap();
        Self {
            ledger,
            batcher,
            worker: tokio::spawn(worker.run()),
            next: 1,
        }
    }

    fn push(&mut self, spans: u64) {
        let mut span = typical();
        for _ in 0..spans {
            span.duration = self.next;
            self.next += 1;
            self.batcher.export(&span);
        }
    }

    /// Ends the run and checks that every span is accounted for.
    async fn end(self) -> Arc<BackendLedger> {
        let Self {
            ledger,
            batcher,
            worker,
            ..
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
