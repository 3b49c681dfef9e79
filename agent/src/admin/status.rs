//! `nodespan status`: what the running agent says of itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::Request;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::ledger::{BOUNDS_MS, LatencySnapshot, Snapshot};

/// How long the agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// A status is never longer.
const MAX_STATUS: usize = 64 << 20;

/// The answer of `/status`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The agent's version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Time since it started.
    pub uptime_seconds: u64,
    /// Whether it does its work.
    pub ready: bool,
    /// The ledger in one line.
    pub summary: String,
    /// The ledger.
    pub ledger: Snapshot,
    /// What other rooms have to show: `probes`, `workloads`, `decisions`.
    #[serde(flatten)]
    pub sections: BTreeMap<String, Value>,
}

/// Why there is no status to show.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// Nobody is there.
    #[error(
        "no agent answers at {address}: {source}; is `nodespan run` running? (`--agent HOST:PORT` asks elsewhere)"
    )]
    Connect {
        /// The address.
        address: String,
        /// What the system said.
        source: io::Error,
    },
    /// It takes too long.
    #[error("the agent at {address} did not answer within {TIMEOUT:?}")]
    Timeout {
        /// The address.
        address: String,
    },
    /// It is something else.
    #[error("what answers at {address} is not a nodespan agent: {reason}")]
    NotAnAgent {
        /// The address.
        address: String,
        /// What is wrong with the answer.
        reason: String,
    },
}

/// Asks the agent at `address` (`HOST:PORT`).
///
/// # Errors
///
/// Nobody answers there, not in time, or it is not an agent.
pub async fn fetch(address: &str) -> Result<Status, StatusError> {
    match timeout(TIMEOUT, ask(address)).await {
        Ok(answer) => answer,
        Err(_) => Err(StatusError::Timeout {
            address: address.to_owned(),
        }),
    }
}

async fn ask(address: &str) -> Result<Status, StatusError> {
    let odd = |reason: String| StatusError::NotAnAgent {
        address: address.to_owned(),
        reason,
    };
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| StatusError::Connect {
            address: address.to_owned(),
            source,
        })?;
    let (mut sender, connection) = handshake(TokioIo::new(stream))
        .await
        .map_err(|error| odd(error.to_string()))?;
    let request = Request::get("/status")
        .header("host", address)
        .header("b3", "0")
        .body(Empty::<Bytes>::new())
        .map_err(|error| odd(error.to_string()))?;
    let answer = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| odd(error.to_string()))?;
        let status = response.status();
        if !status.is_success() {
            return Err(odd(format!("it answers /status with {status}")));
        }
        let body = Limited::new(response.into_body(), MAX_STATUS)
            .collect()
            .await
            .map_err(|error| odd(error.to_string()))?;
        serde_json::from_slice(&body.to_bytes()).map_err(|error| odd(error.to_string()))
    };
    // The connection ends first only when it fails, which the answer tells.
    let driven = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answer => answer,
        () = driven => Err(odd("it hung up".to_owned())),
    }
}

/// The status for people: what is zero is left out.
#[must_use]
pub fn render(status: &Status) -> String {
    let mut text = String::new();
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let _ = writeln!(
        text,
        "nodespan {}, pid {}, up {}, {ready}",
        status.version,
        status.pid,
        duration(status.uptime_seconds)
    );
    for (name, value) in &status.sections {
        let _ = writeln!(text, "\n{name}");
        section(&mut text, value, 1);
    }
    let ledger = &status.ledger;
    let _ = writeln!(text, "\nexchanges");
    row(&mut text, "observed", ledger.exchanges.observed);
    row(&mut text, "spans", ledger.exchanges.spans);
    reasons(&mut text, "not selected", &ledger.exchanges.not_selected);
    reasons(&mut text, "not sampled", &ledger.exchanges.not_sampled);
    reasons(&mut text, "dropped", &ledger.exchanges.dropped);
    for backend in &ledger.backends {
        let _ = writeln!(text, "\nbackend {}", backend.name);
        row(&mut text, "sent", backend.sent);
        row(&mut text, "waiting", backend.queued);
        reasons(&mut text, "dropped", &backend.dropped);
        for (name, n) in [
            ("failures", backend.failures),
            ("retries", backend.retries),
            ("repeated", backend.repeated),
            ("splits", backend.splits),
            ("queued bytes", backend.queued_bytes),
        ] {
            if n > 0 {
                row(&mut text, name, n);
            }
        }
        if backend.latency.count() > 0 {
            let within = |share| match backend.latency.quantile_ms(share) {
                Some(ms) => format!("{ms} ms"),
                None => "longer".to_owned(),
            };
            let (half, most) = (within(0.5), within(0.99));
            let _ = writeln!(text, "  answers within  {half} (half), {most} (99 %)");
            let _ = writeln!(text, "  answers         {}", histogram(&backend.latency));
        }
        if let Some(error) = &backend.last_error {
            let _ = writeln!(
                text,
                "  last error      {} ({})",
                visible(&error.text),
                utc(error.unix_seconds)
            );
        }
    }
    let _ = writeln!(text, "\nrecords");
    row(&mut text, "read", ledger.records.read);
    reasons(&mut text, "lost", &ledger.records.lost);
    reasons(&mut text, "missed", &ledger.records.missed);
    if ledger.events.values().any(|&n| n > 0) {
        let _ = writeln!(text, "\nevents");
        for (event, &n) in ledger.events.iter().filter(|(_, n)| **n > 0) {
            row(&mut text, event, n);
        }
    }
    if !ledger.opaque.is_empty() {
        let _ = writeln!(text, "\nseen but not traced (connections)");
        for (workload, protocols) in &ledger.opaque {
            let all: Vec<_> = protocols
                .iter()
                .filter(|(_, n)| **n > 0)
                .map(|(protocol, n)| format!("{n} {protocol}"))
                .collect();
            let _ = writeln!(text, "  {:<15} {}", visible(workload), all.join(", "));
        }
    }
    text
}

/// `3 in 1 ms, 2 in 5 ms, 1 longer`: how many took up to each bound and longer
/// than the one before.
fn histogram(latency: &LatencySnapshot) -> String {
    let places = latency.buckets.iter().enumerate();
    let counted = places.filter(|(_, n)| **n > 0);
    let all: Vec<_> = counted
        .map(|(place, n)| match BOUNDS_MS.get(place) {
            Some(bound) => format!("{n} in {bound} ms"),
            None => format!("{n} longer"),
        })
        .collect();
    all.join(", ")
}

fn row(text: &mut String, name: &str, number: u64) {
    let _ = writeln!(text, "  {name:<15} {number}");
}

fn reasons(text: &mut String, what: &str, numbers: &BTreeMap<String, u64>) {
    row(text, what, numbers.values().sum());
    for (reason, n) in numbers.iter().filter(|(_, n)| **n > 0) {
        let _ = writeln!(text, "    {reason:<13} {n}");
    }
}

/// Any JSON as indented lines.
fn section(text: &mut String, value: &Value, depth: usize) {
    let indent = "  ".repeat(depth);
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::Object(_) | Value::Array(_) => {
                        let _ = writeln!(text, "{indent}{}", visible(name));
                        section(text, value, depth + 1);
                    }
                    _ => {
                        let _ = writeln!(text, "{indent}{:<15} {}", visible(name), scalar(value));
                    }
                }
            }
        }
        Value::Array(items) => {
            for item in items {
                match item {
                    Value::Object(members) => {
                        let line: Vec<_> = members
                            .iter()
                            .map(|(name, value)| format!("{} {}", visible(name), scalar(value)))
                            .collect();
                        let _ = writeln!(text, "{indent}{}", line.join(", "));
                    }
                    _ => {
                        let _ = writeln!(text, "{indent}{}", scalar(item));
                    }
                }
            }
        }
        _ => {
            let _ = writeln!(text, "{indent}{}", scalar(value));
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => visible(text),
        Value::Null => "-".to_owned(),
        _ => value.to_string(),
    }
}

/// Names come from containers and from the wire: none gets to move the cursor.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() {
                char::REPLACEMENT_CHARACTER
            } else {
                c
            }
        })
        .collect()
}

fn duration(seconds: u64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{minutes}m{}s", seconds % 60),
        3600..86_400 => format!("{hours}h{minutes}m"),
        _ => format!("{days}d{hours}h"),
    }
}

/// `2026-11-06 21:20:00Z`, by Howard Hinnant's `civil_from_days`.
fn utc(unix_seconds: u64) -> String {
    let days = unix_seconds / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (h, m, s) = (
        unix_seconds / 3600 % 24,
        unix_seconds / 60 % 60,
        unix_seconds % 60,
    );
    format!("{year:04}-{month:02}-{day:02} {h:02}:{m:02}:{s:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::{Admin, Listen, View};
    use crate::assemble::Opaque;
    use crate::ledger::{Event, Ledger, NotSelected, Undelivered};
    use serde_json::json;
    use std::sync::Arc;
    use tokio::io::AsyncWriteExt as _;
    use tokio::net::TcpListener;

    fn example() -> Arc<View> {
        let ledger = Ledger::new();
        let view = View::new(Arc::clone(&ledger));
        ledger.exchanges.observed.add(5);
        ledger.exchanges.spans.add(3);
        ledger.exchanges.not_selected.add(NotSelected::NoPolicy, 2);
        let zipkin = ledger.backend("zipkin");
        zipkin.pushed.add(3);
        zipkin.dropped.add(Undelivered::QueueFull, 1);
        zipkin.failures.add(1);
        zipkin.latency.observe(Duration::from_millis(3));
        zipkin.latency.observe(Duration::from_millis(4));
        zipkin.latency.observe(Duration::from_secs(30));
        zipkin.note_error(&"status 503");
        ledger.events.add(Event::LenientHead, 4);
        ledger.opaque("postgres", Opaque::Tls);
        view.set_section(
            "probes",
            json!({"kernel": "6.12.0", "hooks": ["fentry tcp_sendmsg", "fexit tcp_recvmsg"]}),
        );
        view.set_section(
            "workloads",
            json!([{"service": "shop\u{1b}[2J", "exchanges": 5}]),
        );
        view
    }

    #[tokio::test]
    async fn the_status_arrives_as_it_was_sent() {
        let view = example();
        let listen = Listen::At("127.0.0.1:0".parse().unwrap());
        let admin = Admin::open(listen).await.unwrap().unwrap();
        let address = admin.address().to_string();
        tokio::spawn(admin.serve(Arc::clone(&view)));
        let mut wanted = view.status();
        let got = fetch(&address).await.unwrap();
        wanted.uptime_seconds = got.uptime_seconds;
        assert_eq!(got, wanted);
    }

    #[tokio::test]
    async fn what_is_not_an_agent_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let answers = [
            "",
            "SSH-2.0\r\n",
            "HTTP/1.1 404 No\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
        ];
        let server = tokio::spawn(async move {
            for answer in answers {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.write_all(answer.as_bytes()).await.unwrap();
            }
        });
        for _ in answers {
            let error = fetch(&address).await.unwrap_err();
            assert!(matches!(error, StatusError::NotAnAgent { .. }), "{error}");
        }
        server.await.unwrap();
        let error = fetch(&address).await.unwrap_err().to_string();
        assert!(
            error.contains(&address) && error.contains("nodespan run"),
            "{error}"
        );
    }

    #[test]
    fn the_text_shows_what_there_is() {
        let view = example();
        view.set_ready(true);
        let text = render(&view.status());
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for part in [
            "up 0s, ready",
            "probes hooks fentry tcp_sendmsg fexit tcp_recvmsg kernel 6.12.0",
            "workloads exchanges 5, service shop\u{fffd}[2J",
            "exchanges observed 5 spans 3 not selected 2 no_policy 2 not sampled 0 dropped 0",
            "backend zipkin sent 0 waiting 2 dropped 1 queue_full 1 failures 1 answers within 5 ms (half), longer (99 %) answers 2 in 5 ms, 1 longer last error status 503 (20",
            "events lenient_head 4",
            "postgres 1 tls",
        ] {
            assert!(squeezed.contains(part), "{part} in {squeezed}");
        }
    }

    #[test]
    fn times_are_readable() {
        assert_eq!(utc(0), "1970-01-01 00:00:00Z");
        assert_eq!(utc(951_782_400), "2000-02-29 00:00:00Z");
        assert_eq!(utc(1_794_000_000), "2026-11-06 21:20:00Z");
        assert_eq!(utc(4_107_542_399), "2100-02-28 23:59:59Z");
        assert_eq!(
            [59, 61, 3_660, 90_000].map(duration),
            ["59s", "1m1s", "1h1m", "1d1h"]
        );
    }
}
