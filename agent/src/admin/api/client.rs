//! A client of the API: what `nodespan apply`, `get` and `delete` speak.

use std::fmt;
use std::io;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::handshake;
use hyper::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::route;
use super::token::Token;
use crate::policy::{Kind, ResourceKey};

/// How long the agent may take to answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// No page of a list is longer: a thousand resources of a megabyte.
const MAX_ANSWER: usize = 1 << 30;

/// Asks an agent.
#[derive(Clone, Debug)]
pub struct Client {
    address: String,
    token: Option<Token>,
}

/// Why there is no answer, or not the one that was wanted.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody is there.
    #[error(
        "no agent answers at {address}: {source}; does one run with `[admin] api`? \
         (`--agent HOST:PORT` asks elsewhere)"
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
    /// It does not speak as an agent does.
    #[error("what listens at {address} does not answer as an agent: {reason}")]
    NotAnAgent {
        /// The address.
        address: String,
        /// What is odd.
        reason: String,
    },
    /// It says no.
    #[error("{status}: {text}")]
    Refused {
        /// The status.
        status: StatusCode,
        /// Title, detail, and each parameter, in a line.
        text: String,
    },
}

impl Client {
    /// A client of the agent at `HOST:PORT`; `http://` before it is allowed,
    /// for that is how `kumactl` is told.
    #[must_use]
    pub fn new(address: &str, token: Option<Token>) -> Self {
        let address = address.strip_prefix("http://").unwrap_or(address);
        Self {
            address: address.trim_end_matches('/').to_owned(),
            token,
        }
    }

    /// Creates or replaces a resource in its Universal form; true if it was
    /// created, and the agent's warnings.
    ///
    /// # Errors
    /// It was not.
    pub async fn put(
        &self,
        key: &ResourceKey,
        value: &Map<String, Value>,
    ) -> Result<(bool, Vec<String>), ClientError> {
        // Keys are strings: this can always be written.
        let body = serde_json::to_vec(value).unwrap_or_default();
        let (status, answer) = self.ask(Method::PUT, &route::item(key), body).await?;
        let warnings = answer.get("warnings").and_then(Value::as_array);
        let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
        let warnings = warnings.map(str::to_owned).collect();
        Ok((status == StatusCode::CREATED, warnings))
    }

    /// A resource; nothing if it is not there.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn get(&self, key: &ResourceKey) -> Result<Option<Value>, ClientError> {
        match self.ask(Method::GET, &route::item(key), Vec::new()).await {
            Ok((_, value)) => Ok(Some(value)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Deletes a resource; false if it was not there.
    ///
    /// # Errors
    /// It was not deleted.
    pub async fn delete(&self, key: &ResourceKey) -> Result<bool, ClientError> {
        let path = route::item(key);
        match self.ask(Method::DELETE, &path, Vec::new()).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All resources of a kind, of one mesh or all.
    ///
    /// # Errors
    /// Nobody knows.
    pub async fn list(&self, kind: Kind, mesh: Option<&str>) -> Result<Vec<Value>, ClientError> {
        let mut all: Vec<Value> = Vec::new();
        loop {
            let path = route::list(kind, mesh);
            let path = format!("{path}?offset={}&size=1000", all.len());
            let (_, answer) = self.ask(Method::GET, &path, Vec::new()).await?;
            let Some(items) = answer.get("items").and_then(Value::as_array) else {
                return Err(self.odd("a list without items"));
            };
            all.extend(items.iter().cloned());
            if answer["next"].is_null() || items.is_empty() {
                return Ok(all);
            }
        }
    }

    fn odd(&self, reason: impl fmt::Display) -> ClientError {
        ClientError::NotAnAgent {
            address: self.address.clone(),
            reason: format!("{reason}"),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Value), ClientError> {
        match timeout(TIMEOUT, self.exchange(method, path, body)).await {
            Ok(answer) => answer,
            Err(_) => Err(ClientError::Timeout {
                address: self.address.clone(),
            }),
        }
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(StatusCode, Value), ClientError> {
        let connected = TcpStream::connect(&self.address).await;
        let stream = connected.map_err(|source| ClientError::Connect {
            address: self.address.clone(),
            source,
        })?;
        let (mut sender, connection) = handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.odd(error))?;
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &self.address)
            .header(ACCEPT, "application/json")
            // The agent does not trace its own tools.
            .header("b3", "0");
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        if let Some(token) = &self.token {
            let mut value = b"Bearer ".to_vec();
            value.extend_from_slice(token.as_bytes());
            request = request.header(AUTHORIZATION, value);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.odd(error))?;
        let answer = async {
            let response = sender
                .send_request(request)
                .await
                .map_err(|error| self.odd(error))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| self.odd(error))?
                .to_bytes();
            if !status.is_success() {
                return Err(ClientError::Refused {
                    status,
                    text: refusal(&body),
                });
            }
            let value = serde_json::from_slice(&body).map_err(|error| self.odd(error))?;
            Ok((status, value))
        };
        // The connection ends first only when it fails, which the answer tells.
        let driven = async {
            let _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = answer => answer,
            () = driven => Err(self.odd("it hung up")),
        }
    }
}

impl ClientError {
    fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND)
    }
}

/// An error's body in a line, or the body as it is.
fn refusal(body: &[u8]) -> String {
    let error: Option<Value> = serde_json::from_slice(body).ok();
    let text = |value: Option<&Value>| value.and_then(Value::as_str).map(str::to_owned);
    let read = error.and_then(|error| {
        let title = text(error.get("title"))?;
        let detail = text(error.get("detail")).or_else(|| text(error.get("details")))?;
        let mut line = format!("{title} ({detail})");
        let parameters = error.get("invalid_parameters").and_then(Value::as_array);
        for parameter in parameters.into_iter().flatten() {
            let field = text(parameter.get("field")).unwrap_or_default();
            let reason = text(parameter.get("reason")).unwrap_or_default();
            line.push_str(&format!("; {field}: {reason}"));
        }
        Some(line)
    });
    read.unwrap_or_else(|| String::from_utf8_lossy(body).trim().to_owned())
}
