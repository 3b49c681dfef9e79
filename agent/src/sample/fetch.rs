//! Asks a sampling server, once.

use std::fmt;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Empty, LengthLimitError, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, CONNECTION, HOST, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::strategy::{Strategy, StrategyError};

/// The agent as it calls itself.
const AGENT: &str = concat!("nodespan/", env!("CARGO_PKG_VERSION"));
/// Bytes of an answer that are read at most: some ten thousand operations.
const MAX_ANSWER: usize = 1 << 20;
/// Characters of an answer that are shown.
const SHOWN: usize = 200;

/// Where a sampling server listens: `http://HOST:PORT/PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SamplingUrl {
    host: String,
    port: u16,
    /// Value of the `host` header.
    authority: String,
    /// Path, and query if there is one.
    path: String,
}

/// Why a URL is none of a sampling server.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SamplingUrlError {
    /// No URL at all.
    #[error("\"{url}\" is not a URL: {reason}")]
    Malformed {
        /// As configured.
        url: String,
        /// What is wrong.
        reason: String,
    },
    /// Jaeger's agent and collector serve it without TLS.
    #[error("\"{url}\": the sampling server is asked over http only")]
    Scheme {
        /// As configured.
        url: String,
    },
    /// Credentials in a URL end up in logs.
    #[error("the URL has a name or password in it, which is not supported")]
    Credentials,
}

impl Default for SamplingUrl {
    /// [`SamplingUrl::DEFAULT`]
    fn default() -> Self {
        Self {
            host: "localhost".to_owned(),
            port: 5778,
            authority: "localhost:5778".to_owned(),
            path: "/sampling".to_owned(),
        }
    }
}

impl SamplingUrl {
    /// Jaeger's agent on this host, Traefik's default.
    pub const DEFAULT: &str = "http://localhost:5778/sampling";

    /// Reads a URL such as [`Self::DEFAULT`].
    ///
    /// # Errors
    /// It is none, has another scheme than `http`, or credentials in it.
    pub fn parse(url: &str) -> Result<Self, SamplingUrlError> {
        let url = url.trim();
        let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if authority.contains('@') {
            return Err(SamplingUrlError::Credentials);
        }
        let malformed = |reason: &str| SamplingUrlError::Malformed {
            url: url.to_owned(),
            reason: reason.to_owned(),
        };
        let uri: Uri = url
            .parse()
            .map_err(|error: hyper::http::uri::InvalidUri| malformed(&error.to_string()))?;
        match uri.scheme_str() {
            Some("http") => {}
            Some(_) => {
                return Err(SamplingUrlError::Scheme {
                    url: url.to_owned(),
                });
            }
            None => return Err(malformed("it has no scheme")),
        }
        let authority = uri
            .authority()
            .filter(|authority| !authority.host().is_empty())
            .ok_or_else(|| malformed("it names no host"))?;
        let behind = authority.as_str().get(authority.host().len()..);
        let port = match behind.and_then(|rest| rest.strip_prefix(':')) {
            None => 80,
            Some(port) => port
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(|| malformed("the port is not a number from 1 to 65535"))?,
        };
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Ok(Self {
            host: authority.host().trim_matches(['[', ']']).to_owned(),
            port,
            authority: authority.as_str().to_owned(),
            path: path.to_owned(),
        })
    }

    /// Path and query of the question for this service
    /// (`jaegertracing/jaeger`, `clientcfghttp/handler.go`: exactly one
    /// `service`).
    fn question(&self, service: &str) -> String {
        let mut question = self.path.clone();
        question.push_str(if question.contains('?') {
            "&service="
        } else {
            "?service="
        });
        for byte in service.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                question.push(char::from(byte));
            } else {
                question.push_str(&format!("%{byte:02X}"));
            }
        }
        question
    }

    /// Asks for the strategy of a service. There is no limit of time.
    pub(super) async fn fetch(&self, service: &str) -> Result<Strategy, FetchError> {
        let connect = TcpStream::connect((self.host.as_str(), self.port));
        let stream = connect.await.map_err(|source| FetchError::Connect {
            url: self.to_string(),
            source,
        })?;
        let broken = |source| FetchError::Broken {
            url: self.to_string(),
            source,
        };
        let (mut sender, connection) = handshake(TokioIo::new(stream)).await.map_err(broken)?;
        let connection = AbortOnDrop(tokio::spawn(connection));
        let response = sender
            .send_request(self.request(service)?)
            .await
            .map_err(broken)?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER);
        let body = body.collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                FetchError::TooLong {
                    url: self.to_string(),
                }
            } else {
                FetchError::Cut {
                    url: self.to_string(),
                    reason: error.to_string(),
                }
            }
        })?;
        drop(connection);
        let body = body.to_bytes();
        if !status.is_success() {
            return Err(FetchError::Status {
                url: self.to_string(),
                status: status.as_u16(),
                text: shown(&body),
            });
        }
        Strategy::parse(&body).map_err(|source| FetchError::Answer {
            url: self.to_string(),
            source,
        })
    }

    fn request(&self, service: &str) -> Result<Request<Empty<Bytes>>, FetchError> {
        let host = HeaderValue::from_str(&self.authority);
        let request = Request::get(self.question(service))
            .header(HOST, host.unwrap_or(HeaderValue::from_static("")))
            .header(USER_AGENT, AGENT)
            .header(ACCEPT, "application/json")
            .header(CONNECTION, "close")
            // Whoever traces this host shall not trace this.
            .header("b3", "0");
        request
            .body(Empty::new())
            .map_err(|source| FetchError::Request {
                url: self.to_string(),
                source,
            })
    }
}

impl fmt::Display for SamplingUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.authority, self.path)
    }
}

/// Why there is no strategy. The service is not named, so that the same
/// trouble of many services reads the same.
#[derive(Debug, thiserror::Error)]
pub(super) enum FetchError {
    #[error("cannot connect to {url}: {source}")]
    Connect { url: String, source: std::io::Error },
    #[error("cannot ask {url}: {source}")]
    Request {
        url: String,
        source: hyper::http::Error,
    },
    #[error("the connection to {url} broke: {source}")]
    Broken { url: String, source: hyper::Error },
    #[error("{url} answered {status}: {text}")]
    Status {
        url: String,
        status: u16,
        text: String,
    },
    #[error("the answer of {url} is longer than {MAX_ANSWER} bytes")]
    TooLong { url: String },
    #[error("the answer of {url} was cut short: {reason}")]
    Cut { url: String, reason: String },
    #[error("{url}: {source}")]
    Answer { url: String, source: StrategyError },
}

/// First characters of an answer, without what moves a cursor.
fn shown(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body.get(..4 * SHOWN).unwrap_or(body));
    let visible = |c: char| if c.is_control() { ' ' } else { c };
    let text: String = text.trim().chars().take(SHOWN).map(visible).collect();
    if text.is_empty() {
        "(no text)".to_owned()
    } else {
        text
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        for (url, question) in [
            (SamplingUrl::DEFAULT, "/sampling?service=a%20b%26c"),
            ("http://h", "/?service=a%20b%26c"),
            (
                "http://[::1]:5778/api/sampling?x=1",
                "/api/sampling?x=1&service=a%20b%26c",
            ),
            (" http://h:1/ ", "/?service=a%20b%26c"),
        ] {
            let url = SamplingUrl::parse(url).unwrap();
            assert_eq!(url.question("a b&c"), question);
        }
        let default = SamplingUrl::parse(SamplingUrl::DEFAULT);
        assert_eq!(default, Ok(SamplingUrl::default()));
        let v6 = SamplingUrl::parse("http://[::1]:5778/sampling").unwrap();
        assert_eq!(
            (v6.host.as_str(), v6.port, v6.to_string().as_str()),
            ("::1", 5778, "http://[::1]:5778/sampling")
        );
        assert_eq!(v6.question("\u{e9}-._~"), "/sampling?service=%C3%A9-._~");
        for (url, says) in [
            ("localhost:5778", "not a URL"),
            ("", "not a URL"),
            ("/sampling", "no scheme"),
            ("https://h/sampling", "over http only"),
            ("ftp://h", "over http only"),
            ("http://u:secret@h/", "a name or password"),
            ("http://h:x/", "the port is not"),
            ("http://h:/", "the port is not"),
            ("http://h:0/", "the port is not"),
            ("http://[::1]:70000/", "the port is not"),
            ("http:///x", "not a URL"),
            ("http://a b/", "not a URL"),
        ] {
            let error = SamplingUrl::parse(url).unwrap_err().to_string();
            assert!(
                error.contains(says) && !error.contains("secret"),
                "{url}: {error}"
            );
        }
    }
}
