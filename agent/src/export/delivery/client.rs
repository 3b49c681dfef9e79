//! One kept-alive HTTP/1 connection to a backend.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::target::Target;

/// The agent as it calls itself.
const AGENT: &str = concat!("nodespan/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer that are read; a longer one costs the connection.
const MAX_ANSWER: usize = 64 * 1024;
/// How long the rest of an answer may take once its status is known.
const ANSWER_BODY: Duration = Duration::from_secs(2);
/// Characters of an answer that are shown.
const SHOWN: usize = 200;

/// Time allowed for the steps of one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Resolving the name and connecting.
    pub connect: Duration,
    /// Sending the batch and reading the answer's head.
    pub answer: Duration,
}

impl Default for Timeouts {
    /// 5 and 10 seconds.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(10),
        }
    }
}

/// What the server said.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// First characters of the body, without control characters.
    pub(super) text: String,
}

/// Why there was no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoAnswer {
    #[error("cannot connect to {target}: {reason}")]
    Connect { target: String, reason: String },
    #[error("no connection to {target} within {after:?}")]
    ConnectTimeout { target: String, after: Duration },
    #[error("{target} did not answer within {after:?}")]
    AnswerTimeout { target: String, after: Duration },
    #[error("connection to {target} broke: {reason}")]
    Broken { target: String, reason: String },
}

impl NoAnswer {
    /// Whether the server may have taken the batch all the same.
    pub(super) const fn may_have_arrived(&self) -> bool {
        matches!(self, Self::AnswerTimeout { .. } | Self::Broken { .. })
    }

    /// A number for this kind, below those of statuses.
    pub(super) const fn kind(&self) -> u16 {
        match self {
            Self::Connect { .. } => 1,
            Self::ConnectTimeout { .. } => 2,
            Self::AnswerTimeout { .. } => 3,
            Self::Broken { .. } => 4,
        }
    }
}

/// Sends batches, over the last connection where it still stands.
#[derive(Debug)]
pub(super) struct Client {
    target: Target,
    content_type: &'static str,
    timeouts: Timeouts,
    connection: Option<Connection>,
}

impl Client {
    pub(super) fn new(target: Target, content_type: &'static str, timeouts: Timeouts) -> Self {
        Self {
            target,
            content_type,
            timeouts,
            connection: None,
        }
    }

    /// Sends one batch and reads the answer.
    pub(super) async fn post(&mut self, body: Bytes) -> Result<Answer, NoAnswer> {
        let mut old = self.connection.take().filter(Connection::stands);
        loop {
            let (mut connection, reused) = match old.take() {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            let sent = connection.sender.send_request(self.request(body.clone()));
            match timeout(self.timeouts.answer, sent).await {
                Ok(Ok(response)) => return Ok(self.read(response, connection).await),
                // A server may close an idle connection at any time. If not a
                // byte was written, that was no attempt.
                Ok(Err(error)) if reused && error.is_canceled() => {}
                Ok(Err(error)) => {
                    return Err(NoAnswer::Broken {
                        target: self.target.to_string(),
                        reason: chain(&error),
                    });
                }
                Err(_) => {
                    return Err(NoAnswer::AnswerTimeout {
                        target: self.target.to_string(),
                        after: self.timeouts.answer,
                    });
                }
            }
        }
    }

    async fn connect(&self) -> Result<Connection, NoAnswer> {
        let failed = |reason: String| NoAnswer::Connect {
            target: self.target.to_string(),
            reason,
        };
        let address = (self.target.host.as_str(), self.target.port);
        let stream = match timeout(self.timeouts.connect, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(failed(error.to_string())),
            Err(_) => {
                return Err(NoAnswer::ConnectTimeout {
                    target: self.target.to_string(),
                    after: self.timeouts.connect,
                });
            }
        };
        // A batch is one write or many in a row; there is nothing to gather.
        let _ = stream.set_nodelay(true);
        let (sender, driver) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failed(chain(&error)))?;
        // Errors come out of `send_request` as well.
        let driver = tokio::spawn(async move {
            let _ = driver.await;
        });
        Ok(Connection { sender, driver })
    }

    fn request(&self, body: Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        request.uri_mut().clone_from(&self.target.path);
        let headers = request.headers_mut();
        if let Ok(host) = self.target.authority.parse() {
            headers.insert(HOST, host);
        }
        let constant = hyper::header::HeaderValue::from_static;
        headers.insert(CONTENT_TYPE, constant(self.content_type));
        headers.insert(USER_AGENT, constant(AGENT));
        // Proxies on the way shall not trace this (B3 propagation, last
        // section).
        headers.insert("b3", constant("0"));
        request
    }

    /// The status decides; a body that is slow, long or broken costs only the
    /// connection.
    async fn read(&mut self, response: Response<Incoming>, connection: Connection) -> Answer {
        let status = response.status().as_u16();
        let retry_after = response
            .headers()
            .get(RETRY_AFTER)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.trim().parse().ok())
            .map(Duration::from_secs);
        let mut body = response.into_body();
        let mut bytes = Vec::new();
        let whole = async {
            while let Some(frame) = body.frame().await {
                if let Some(data) = frame.ok()?.data_ref() {
                    bytes.extend_from_slice(data);
                }
                if bytes.len() > MAX_ANSWER {
                    return None;
                }
            }
            Some(())
        };
        if let Ok(Some(())) = timeout(ANSWER_BODY, whole).await {
            self.connection = Some(connection);
        }
        Answer {
            status,
            retry_after,
            text: shown(&bytes),
        }
    }
}

#[derive(Debug)]
struct Connection {
    sender: SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

impl Connection {
    fn stands(&self) -> bool {
        self.sender.is_ready() && !self.sender.is_closed()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(SHOWN)
        .collect::<String>()
        .trim()
        .to_owned()
}

/// An error with its causes: hyper's own say little without them.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text += ": ";
        text += &inner.to_string();
        cause = inner.source();
    }
    text
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status)?;
        if self.text.is_empty() {
            Ok(())
        } else {
            write!(f, ": {}", self.text)
        }
    }
}
