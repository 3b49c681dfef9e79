//! The API on a port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::{Request, Response, StatusCode};
use time::OffsetDateTime;
use tokio::net::TcpListener;
use tokio::time::timeout;

use super::error::Problem;
use super::{Api, COULD_NOT_PROCESS, MAX_BODY, reply};
use crate::admin::connections;

/// How long a client may take to send a body.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Why the API's port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Somebody else listens there, perhaps another agent or Kuma itself.
    #[error(
        "the address {address} of the resource API is in use; \
         choose another with `[admin] api = \"HOST:PORT\"`, or `false`"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// The system refused for another reason.
    #[error("cannot listen on {address} for the resource API: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// Anybody could change what is traced.
    #[error(
        "the resource API would listen on {address}, which others reach, without a token; \
         name a file with one in `[admin] apiTokenFile`"
    )]
    NoToken {
        /// The address.
        address: SocketAddr,
    },
}

/// The open port.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    api: Arc<Api>,
}

impl Server {
    /// Opens the port. Needs no probes and no privilege.
    ///
    /// # Errors
    /// The address cannot be used, or is not loopback and there is no token.
    pub async fn open(address: SocketAddr, api: Arc<Api>) -> Result<Self, ApiError> {
        if api.token.is_none() && !address.ip().to_canonical().is_loopback() {
            return Err(ApiError::NoToken { address });
        }
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ApiError::InUse { address },
            _ => ApiError::Bind { address, source },
        })?;
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self {
            listener,
            address,
            api,
        })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until it is cancelled.
    pub async fn serve(self) {
        let api = self.api;
        let answer = move |request| answer(Arc::clone(&api), request);
        connections::accept(self.listener, "resource API", answer).await;
    }
}

async fn answer(api: Arc<Api>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // hyper says how long a body will be where its head does.
    let announced = body.size_hint().lower() > MAX_BODY as u64;
    let read = timeout(BODY_TIMEOUT, Limited::new(body, MAX_BODY).collect());
    let body = match announced {
        true => return close(&Problem::too_long()),
        false => match read.await {
            Ok(Ok(body)) => body.to_bytes(),
            Ok(Err(error)) if error.is::<LengthLimitError>() => return close(&Problem::too_long()),
            Ok(Err(error)) => {
                return close(&Problem::bad(COULD_NOT_PROCESS, error.to_string()));
            }
            Err(_too_long) => {
                let detail = format!("The body did not come within {BODY_TIMEOUT:?}");
                let status = StatusCode::REQUEST_TIMEOUT;
                return close(&Problem::new(status, COULD_NOT_PROCESS, detail));
            }
        },
    };
    let request = Request::from_parts(head, body);
    // Waiting for a disk must not keep the exporters waiting.
    let answered =
        tokio::task::spawn_blocking(move || api.answer(&request, OffsetDateTime::now_utc()));
    match answered.await {
        Ok(response) => response.map(Full::new),
        Err(error) => {
            tracing::error!("resource API: {error}");
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            close(&Problem::new(
                status,
                COULD_NOT_PROCESS,
                "Internal Server Error",
            ))
        }
    }
}

/// An answer behind which the connection is of no use: the rest of the body
/// would be taken for a request.
fn close(problem: &Problem) -> Response<Full<Bytes>> {
    let mut response = reply(problem.status, &problem.body());
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response.map(Full::new)
}
