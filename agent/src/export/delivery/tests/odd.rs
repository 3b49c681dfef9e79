//! Servers that speak HTTP oddly, or half of it, or something else.

use std::net::Ipv6Addr;

use super::*;

/// What a connection does: reads one request, then writes this and closes,
/// or stays.
#[derive(Clone, Copy, Debug)]
struct Odd {
    what: &'static str,
    answer: &'static [u8],
    closes: bool,
    becomes: Becomes,
}

/// What becomes of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Becomes {
    /// At once.
    Sent,
    /// It is tried again, and the server may have it already.
    Repeated,
    /// It is tried again: the server says that it has not taken it.
    Retried,
    Rejected,
}

use Becomes::{Rejected, Repeated, Retried, Sent};

const ODD: &[Odd] = &[
    Odd {
        what: "HTTP/1.0, whose end is the body's",
        answer: b"HTTP/1.0 202 Accepted\r\n\r\nfine",
        closes: true,
        becomes: Sent,
    },
    Odd {
        what: "chunks with extensions and trailers",
        answer: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4;a=b\r\nfine\r\n0\r\nx: y\r\n\r\n",
        closes: false,
        becomes: Sent,
    },
    Odd {
        what: "chunks that break off",
        answer: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffff\r\nfi",
        closes: true,
        becomes: Sent,
    },
    Odd {
        what: "chunks that are none",
        answer: b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\n",
        closes: false,
        becomes: Sent,
    },
    Odd {
        what: "interim answers before",
        answer: b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        closes: false,
        becomes: Sent,
    },
    Odd {
        what: "an interim answer and nothing behind it",
        answer: b"HTTP/1.1 100 Continue\r\n\r\n",
        closes: true,
        becomes: Repeated,
    },
    Odd {
        what: "no reason, no headers",
        answer: b"HTTP/1.1 202\r\n\r\n",
        closes: true,
        becomes: Sent,
    },
    Odd {
        what: "two lengths",
        answer: b"HTTP/1.1 202 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
        closes: false,
        becomes: Repeated,
    },
    Odd {
        what: "a negative length",
        answer: b"HTTP/1.1 202 OK\r\ncontent-length: -1\r\n\r\n",
        closes: false,
        becomes: Repeated,
    },
    Odd {
        what: "a status of four digits",
        answer: b"HTTP/1.1 2000 OK\r\n\r\n",
        closes: false,
        becomes: Repeated,
    },
    Odd {
        what: "another version",
        answer: b"HTTP/2.0 200 OK\r\n\r\n",
        closes: false,
        becomes: Repeated,
    },
    Odd {
        what: "HTTP/2 in clear",
        answer: b"\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0\x64",
        closes: false,
        becomes: Repeated,
    },
    Odd {
        what: "a TLS alert",
        answer: b"\x15\x03\x01\0\x02\x02\x46",
        closes: true,
        becomes: Repeated,
    },
    Odd {
        what: "half a head",
        answer: b"HTTP/1.1 202 Acc",
        closes: true,
        becomes: Repeated,
    },
    Odd {
        what: "nothing, and an end",
        answer: b"",
        closes: true,
        becomes: Repeated,
    },
    Odd {
        what: "a gateway that has waited for the server in vain",
        answer: b"HTTP/1.1 504 Gateway Timeout\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Repeated,
    },
    Odd {
        what: "a gateway that did not understand the server",
        answer: b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Repeated,
    },
    Odd {
        what: "a status beyond all classes",
        answer: b"HTTP/1.1 999 What\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Retried,
    },
    Odd {
        what: "another protocol from here on",
        answer: b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        closes: false,
        becomes: Rejected,
    },
    Odd {
        what: "a redirect, which would take spans and credentials elsewhere",
        answer: b"HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Rejected,
    },
    Odd {
        what: "the proxy of somebody else",
        answer: b"HTTP/1.1 407 Who\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Rejected,
    },
    Odd {
        what: "a wait that nobody lives to see",
        answer: b"HTTP/1.1 503 No\r\nretry-after: 18446744073709551615\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Retried,
    },
    Odd {
        what: "a wait until some date",
        answer: b"HTTP/1.1 429 No\r\nretry-after: Fri, 31 Dec 9999 23:59:59 GMT\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Retried,
    },
    Odd {
        what: "no wait at all",
        answer: b"HTTP/1.1 429 No\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Retried,
    },
    Odd {
        what: "a wait that is none",
        answer: b"HTTP/1.1 503 No\r\nretry-after: \xff\xfe\r\ncontent-length: 0\r\n\r\n",
        closes: false,
        becomes: Retried,
    },
];

/// Answers the first request like this, all others well.
async fn odd_once(answer: Vec<u8>, closes: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut answer = Some(answer);
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let first = answer.take();
            tokio::spawn(async move {
                if let Some(answer) = first {
                    if !read_request(&mut stream).await {
                        return;
                    }
                    // Who got what it wanted may be gone.
                    let _ = stream.write_all(&answer).await;
                    if closes {
                        return;
                    }
                }
                while read_request(&mut stream).await {
                    let well = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(well).await.is_err() {
                        return;
                    }
                }
            });
        }
    });
    address
}

/// Reads a request to its end; false if there is none.
async fn read_request(stream: &mut TcpStream) -> bool {
    let mut bytes = Vec::new();
    loop {
        let text = String::from_utf8_lossy(&bytes);
        if let Some((head, _)) = text.split_once("\r\n\r\n") {
            let length = head
                .lines()
                .find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if bytes.len() >= head.len() + 4 + length {
                return true;
            }
        }
        if stream.read_buf(&mut bytes).await.unwrap_or(0) == 0 {
            return false;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn whatever_a_server_answers_each_span_has_one_fate() {
    for odd in ODD {
        let address = odd_once(odd.answer.to_vec(), odd.closes).await;
        let mut rig = Rig::new(address, |_| {});
        rig.push(10);
        let start = Instant::now();
        while rig.ledger.queued() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        let took = start.elapsed();
        // The connection is of use, or another takes its place.
        rig.push(10);
        let ledger = rig.end().await;
        let rejected = dropped(&ledger, Undelivered::Rejected);
        let (sent, retries, repeated) = match odd.becomes {
            Sent => (20, 0, 0),
            Repeated => (20, 1, 10),
            Retried => (20, 1, 0),
            Rejected => (10, 0, 0),
        };
        let counted = (
            ledger.sent.get(),
            ledger.retries.get(),
            ledger.repeated.get(),
        );
        assert_eq!(
            counted,
            (sent, retries, repeated),
            "{}: {:?}",
            odd.what,
            ledger.last_error()
        );
        assert_eq!(rejected, 20 - sent, "{}", odd.what);
        assert!(took <= Duration::from_secs(31), "{}: {took:?}", odd.what);
        let text = ledger
            .last_error()
            .map(|error| error.text)
            .unwrap_or_default();
        assert_eq!(odd.becomes == Sent, text.is_empty(), "{}: {text}", odd.what);
        assert!(
            text.len() < 500 && !text.contains(char::is_control),
            "{text}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn heads_without_end_are_no_answer() {
    let many: String = (0..1000).map(|n| format!("x-{n}: y\r\n")).collect();
    let long = format!("x: {}\r\n", "y".repeat(1 << 20));
    for fields in [many, long] {
        let answer = format!("HTTP/1.1 202 Accepted\r\n{fields}\r\n");
        let address = odd_once(answer.into_bytes(), false).await;
        let mut rig = Rig::new(address, |_| {});
        rig.push(10);
        let ledger = rig.end().await;
        assert_eq!((ledger.sent.get(), ledger.repeated.get()), (10, 10));
        let text = ledger.last_error().unwrap().text;
        assert!(text.contains("broke") && text.len() < 500, "{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_without_end_costs_the_connection_and_no_memory() {
    let answer = format!("HTTP/1.1 202 Accepted\r\n\r\n{}", "y".repeat(10 << 20));
    let address = odd_once(answer.into_bytes(), false).await;
    let mut rig = Rig::new(address, |_| {});
    rig.push(25);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), ledger.failures.get()), (25, 0));
}

/// A second answer to one request is nobody's.
#[tokio::test(start_paused = true)]
async fn an_answer_too_many_is_not_taken_for_the_next_requests() {
    let server = Server::start(&[Say(
        "202 Accepted\r\ncontent-length: 0\r\n\r\nHTTP/1.1 500 No\r\ncontent-length: 0\r\n\r\n",
    )])
    .await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(10);
    while rig.ledger.sent.get() < 10 {
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(10)).await;
    rig.push(10);
    let ledger = rig.end().await;
    assert_eq!((ledger.sent.get(), server.spans()), (20, 10));
    assert_eq!((ledger.failures.get(), ledger.retries.get()), (0, 0));
    assert_eq!(server.seen.lock().unwrap().connections, 2);
}

/// nginx answers 413 before it has read the body.
#[tokio::test(start_paused = true)]
async fn an_answer_in_mid_body_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut first = true;
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            if std::mem::take(&mut first) {
                let early = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\n\r\n";
                let mut some = [0; 1000];
                stream.read_exact(&mut some).await.unwrap();
                stream.write_all(early).await.unwrap();
                // It goes on reading for a while, as nginx does.
                sleep(Duration::from_secs(5)).await;
                continue;
            }
            tokio::spawn(async move {
                while read_request(&mut stream).await {
                    let well = b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n";
                    stream.write_all(well).await.unwrap();
                }
            });
        }
    });
    let mut rig = Rig::new(address, |delivery| {
        // More than the buffers of a connection hold.
        delivery.batch.spans = 20_000;
        delivery.batch.bytes = usize::MAX;
        delivery.queue.spans = 100_000;
        delivery.queue.bytes = 1 << 30;
    });
    rig.push(20_000);
    let ledger = rig.end().await;
    assert_eq!(ledger.sent.get(), 20_000);
    assert_eq!((ledger.splits.get(), ledger.retries.get()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_span_that_is_too_large_is_dropped_alone() {
    let server = Server::start(&[Say("413 Too Large\r\ncontent-length: 0\r\n\r\n")]).await;
    let mut rig = Rig::new(server.address, |delivery| delivery.batch.spans = 1);
    rig.push(3);
    let ledger = rig.end().await;
    assert_eq!(
        (ledger.sent.get(), dropped(&ledger, Undelivered::Rejected)),
        (2, 1)
    );
    assert_eq!(server.requests().len(), 3);
}

/// A server that is busy and asks for no pause is not asked without one.
#[tokio::test(start_paused = true)]
async fn retry_after_nothing_is_no_flood() {
    let busy = Say("503 Busy\r\nretry-after: 0\r\ncontent-length: 0\r\n\r\n");
    let server = Server::start(&[busy; 1000]).await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(10);
    sleep(Duration::from_mins(1)).await;
    let requests = server.requests().len();
    assert!((5..=12).contains(&requests), "{requests} in a minute");
    rig.worker.abort();
}

/// SIGTERM while the server's own wait is on: it is cut short, once.
#[tokio::test(start_paused = true)]
async fn the_end_of_the_run_does_not_wait_for_retry_after() {
    let busy = Say("503 Busy\r\nretry-after: 30\r\ncontent-length: 0\r\n\r\n");
    let server = Server::start(&[busy]).await;
    let mut rig = Rig::new(server.address, |delivery| {
        delivery.grace = Duration::from_secs(3);
    });
    rig.push(10);
    sleep(Duration::from_secs(1)).await;
    let start = Instant::now();
    let ledger = rig.end().await;
    assert_eq!(ledger.sent.get(), 10);
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn an_address_of_version_6_is_an_address() {
    let any = SocketAddr::from((Ipv6Addr::LOCALHOST, 0));
    let server = Server::start_at(any, &[]).await;
    let mut rig = Rig::new(server.address, |_| {});
    rig.push(10);
    assert_eq!(rig.end().await.sent.get(), 10);
    let host = format!("host: [::1]:{}", server.address.port());
    assert!(server.requests()[0].has(&host));
}

/// Two backends that are the same server count for themselves.
#[tokio::test(start_paused = true)]
async fn two_backends_at_one_address_do_not_mix() {
    let server = Server::start(&[]).await;
    let mut rigs = [
        Rig::new(server.address, |_| {}),
        Rig::new(server.address, |_| {}),
    ];
    rigs[0].push(10);
    rigs[1].push(30);
    let [a, b] = rigs;
    assert_eq!(
        (a.end().await.sent.get(), b.end().await.sent.get()),
        (10, 30)
    );
    assert_eq!(server.spans(), 40);
    assert_eq!(server.seen.lock().unwrap().connections, 2);
}

/// Error pages like to repeat what they were asked.
#[tokio::test(start_paused = true)]
async fn a_secret_that_an_answer_repeats_is_in_no_status() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("secret");
    std::fs::write(&path, "user:hunter2").unwrap();
    let body = "authorization: Basic dXNlcjpodW50ZXIy, user:hunter2, password hunter2";
    let answer = format!(
        "HTTP/1.1 400 No\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let address = odd_once(answer.into_bytes(), false).await;
    let url = format!("http://{address}/api/v2/spans?key=s3cret");
    let mut rig = Rig::to(&url, |delivery| {
        delivery.credentials = Some(Credentials::Basic(path));
        delivery.batch.spans = 1;
    });
    rig.push(1);
    let text = rig.end().await.last_error().unwrap().text;
    assert!(text.contains("authorization: Basic ****"), "{text}");
    for secret in ["hunter2", "dXNlcj", "s3cret"] {
        assert!(!text.contains(secret), "{text}");
    }
    // Nor is the key in the URL, where a failure names it.
    let mut rig = Rig::to("http://127.0.0.1:1/api/v2/spans?key=s3cret", |delivery| {
        delivery.grace = Duration::ZERO;
    });
    rig.push(10);
    sleep(Duration::from_secs(1)).await;
    let text = rig.end().await.last_error().unwrap().text;
    assert!(
        text.contains("/api/v2/spans?...") && !text.contains("s3cret"),
        "{text}"
    );
}
