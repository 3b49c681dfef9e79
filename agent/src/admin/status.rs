//! `nodespan status`: what the running agent says of itself.

mod text;
mod words;

use std::collections::BTreeMap;
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

use crate::ledger::Snapshot;

pub use text::render;

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

    pub(super) fn example() -> Arc<View> {
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
            json!({
                "kernel": "6.12.0",
                "hooks": ["fentry tcp_sendmsg", "fexit tcp_recvmsg"],
                "twice": false,
                "self_test": 12_345,
            }),
        );
        let seen = |origin: &str, traced: bool, not: &[&str]| json!({"origin": origin, "traced": traced, "not_traced": not, "backend": null});
        let mut front = seen("pod a/front-1/", true, &[]);
        front["backend"] = json!("default/eu");
        front["pods"] = json!(["a/front-1/", "a/front-2/"]);
        view.set_section(
            "workloads",
            json!({
                "shop\u{1b}[2J": seen("unit shop", true, &["port", "no_policy"]),
                "front": front,
                "worker": seen("pod a/worker-1/", false, &["protocol"]),
            }),
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
}
