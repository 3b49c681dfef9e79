//! One kept-alive HTTP/1 connection to a backend.

use std::fmt;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{
    AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderValue, PROXY_AUTHORIZATION,
    RETRY_AFTER, USER_AGENT,
};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use super::credentials::{Credentials, SecretError};
use super::dial::Dialer;
use super::gzip::{Encoding, Outgoing, Verdict};

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
    /// Resolving the name, connecting, and the handshakes.
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
#[derive(Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) retry_after: Option<Duration>,
    /// As much of it as is read.
    pub(super) body: Vec<u8>,
    /// First characters of the body, without control characters.
    pub(super) text: String,
    /// From sending to the answer's head.
    pub(super) took: Duration,
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
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Only of datagrams; it is no use to repeat it.
    #[error("a datagram of {bytes} bytes is too large on the way to {target}")]
    TooLarge { target: String, bytes: usize },
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
            Self::Secret(_) => 5,
            Self::TooLarge { .. } => 6,
        }
    }
}

/// Sends batches, over the last connection where it still stands.
#[derive(Debug)]
pub(super) struct Client {
    dialer: Dialer,
    content_type: &'static str,
    credentials: Option<Credentials>,
    encoding: Encoding,
    answer: Duration,
    connection: Option<Connection>,
}

impl Client {
    pub(super) fn new(
        dialer: Dialer,
        content_type: &'static str,
        credentials: Option<Credentials>,
        encoding: Encoding,
        answer: Duration,
    ) -> Self {
        Self {
            dialer,
            content_type,
            credentials,
            encoding,
            answer,
            connection: None,
        }
    }

    /// Sends one body and reads the answer. A server that cannot read it
    /// compressed gets it plain at once.
    pub(super) async fn post(&mut self, body: &mut Outgoing) -> Result<Answer, NoAnswer> {
        if self.encoding.wanted(body.plain.len())
            && let Some(gzipped) = body.gzipped().await
        {
            let answer = self.exchange(gzipped, true).await?;
            let verdict = self.encoding.judge(&answer);
            if verdict == Verdict::Fine {
                return Ok(answer);
            }
            let plain = self.exchange(body.plain.clone(), false).await?;
            if verdict == Verdict::Refused || (200..300).contains(&plain.status) {
                tracing::info!(
                    "{} does not read gzip ({answer}); it gets plain bodies from now on",
                    self.dialer.target()
                );
                self.encoding.give_up();
            }
            return Ok(plain);
        }
        self.exchange(body.plain.clone(), false).await
    }

    async fn exchange(&mut self, body: Bytes, gzipped: bool) -> Result<Answer, NoAnswer> {
        let mut old = self.connection.take().filter(Connection::stands);
        loop {
            let request = self.request(body.clone(), gzipped)?;
            let secrets = secrets_of(&request);
            let (mut connection, reused) = match old.take() {
                Some(connection) => (connection, true),
                None => (self.connect().await?, false),
            };
            let started = Instant::now();
            let sent = connection.sender.send_request(request);
            match timeout(self.answer, sent).await {
                Ok(Ok(response)) => {
                    let took = started.elapsed();
                    return Ok(self.read(response, connection, took, &secrets).await);
                }
                // A server may close an idle connection at any time. If not a
                // byte was written, that was no attempt.
                Ok(Err(error)) if reused && error.is_canceled() => {}
                Ok(Err(error)) => {
                    return Err(NoAnswer::Broken {
                        target: self.dialer.target().to_string(),
                        reason: chain(&error),
                    });
                }
                Err(_) => {
                    return Err(NoAnswer::AnswerTimeout {
                        target: self.dialer.target().to_string(),
                        after: self.answer,
                    });
                }
            }
        }
    }

    async fn connect(&self) -> Result<Connection, NoAnswer> {
        let stream = self.dialer.dial().await?;
        let (sender, driver) =
            handshake(TokioIo::new(stream))
                .await
                .map_err(|error| NoAnswer::Connect {
                    target: self.dialer.target().to_string(),
                    reason: chain(&error),
                })?;
        // Errors come out of `send_request` as well.
        let driver = tokio::spawn(async move {
            let _ = driver.await;
        });
        Ok(Connection { sender, driver })
    }

    fn request(&self, body: Bytes, gzipped: bool) -> Result<Request<Full<Bytes>>, SecretError> {
        let target = self.dialer.target();
        let mut request = Request::new(Full::new(body));
        *request.method_mut() = hyper::Method::POST;
        request.uri_mut().clone_from(&target.path);
        let constant = HeaderValue::from_static;
        let proxy = self.dialer.forwarding_proxy();
        if let Some(absolute) = proxy.and_then(|_| target.absolute()) {
            *request.uri_mut() = absolute;
        }
        let headers = request.headers_mut();
        if let Ok(host) = target.authority.parse() {
            headers.insert(HOST, host);
        }
        headers.insert(CONTENT_TYPE, constant(self.content_type));
        if gzipped {
            headers.insert(CONTENT_ENCODING, constant("gzip"));
        }
        headers.insert(USER_AGENT, constant(AGENT));
        // Proxies on the way shall not trace this (B3 propagation, last
        // section).
        headers.insert("b3", constant("0"));
        if let Some(credentials) = &self.credentials {
            headers.insert(AUTHORIZATION, credentials.header()?);
        }
        if let Some(credentials) = proxy.and_then(|proxy| proxy.credentials.as_ref()) {
            headers.insert(PROXY_AUTHORIZATION, credentials.header()?);
        }
        Ok(request)
    }

    /// The status decides; a body that is slow, long or broken costs only the
    /// connection.
    async fn read(
        &mut self,
        response: Response<Incoming>,
        connection: Connection,
        took: Duration,
        secrets: &[Vec<u8>],
    ) -> Answer {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| wait(value, SystemTime::now()));
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
        for secret in secrets {
            mask(&mut bytes, secret);
        }
        Answer {
            status,
            retry_after,
            text: shown(&bytes),
            body: bytes,
            took,
        }
    }
}

/// What the server was shown, in the forms in which its answer may repeat it.
fn secrets_of(request: &Request<Full<Bytes>>) -> Vec<Vec<u8>> {
    let headers = request.headers();
    let shown = [AUTHORIZATION, PROXY_AUTHORIZATION].map(|name| headers.get(name));
    let shown = shown.into_iter().flatten();
    shown.flat_map(Credentials::forms).collect()
}

/// Overwrites every occurrence of a secret. Nothing moves, so that what has
/// lengths in it stays readable.
fn mask(bytes: &mut [u8], secret: &[u8]) {
    let mut from = 0;
    while let Some(rest) = bytes.get_mut(from..)
        && let Some(at) = rest.windows(secret.len()).position(|part| part == secret)
        && let Some(found) = rest.get_mut(at..at + secret.len())
    {
        found.fill(b'*');
        from += at + secret.len();
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110, 10.2.3).
fn wait(value: &HeaderValue, now: SystemTime) -> Option<Duration> {
    let text = value.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => {
            let date = httpdate::parse_http_date(text).ok()?;
            Some(date.duration_since(now).unwrap_or_default())
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

pub(super) fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes.get(..4 * SHOWN).unwrap_or(bytes))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777 - 90);
        let wait = |text: &str| wait(&HeaderValue::from_str(text).unwrap(), now);
        assert_eq!(wait(" 120 "), Some(Duration::from_mins(2)));
        let date = wait("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(date, Duration::from_secs(90));
        let past = wait("Sun, 06 Nov 1994 08:00:00 GMT");
        assert_eq!(past, Some(Duration::ZERO));
        assert_eq!(wait("soon"), None);
        assert_eq!(wait("99999999999999999999999"), None);
        assert_eq!(wait("1.5"), None);
        assert_eq!(wait(""), None);
        let long = wait("18446744073709551615");
        assert_eq!(long, Some(Duration::from_secs(u64::MAX)));
        let far = wait("Fri, 31 Dec 9999 23:59:59 GMT").unwrap();
        assert!(far > Duration::from_hours(24));
        assert_eq!(wait("-1"), None);
    }

    #[test]
    fn secrets_are_masked_wherever_an_answer_repeats_them() {
        let mut answer = b"no abc, ABC, abcabc; ab".to_vec();
        mask(&mut answer, b"abc");
        assert_eq!(answer, b"no ***, ABC, ******; ab");
        mask(&mut answer, b"longer than all that is in the answer");
        mask(&mut [], b"abc");
        let forms = |value: &'static str| Credentials::forms(&HeaderValue::from_static(value));
        assert_eq!(forms("Bearer token"), [b"token".to_vec()]);
        let basic = forms("Basic dXNlcjpodW50ZXIy");
        let wanted: [&[u8]; 3] = [b"dXNlcjpodW50ZXIy", b"user:hunter2", b"hunter2"];
        assert_eq!(basic, wanted);
        // What is this short stands everywhere.
        assert_eq!(forms("Basic dTphYmM="), [&b"dTphYmM="[..], b"u:abc"]);
    }
}
