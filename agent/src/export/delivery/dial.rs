//! Connections to a backend: directly or through a proxy, plain or secure.

use std::io;
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::client::NoAnswer;
use super::credentials::SecretError;
use super::target::{Proxy, Target};
use super::tls::Tls;

/// Bytes of a proxy's answer to CONNECT at most.
const MAX_CONNECT_ANSWER: usize = 16 << 10;
/// Header fields of it.
const MAX_FIELDS: usize = 64;

/// What bytes go through.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Makes connections to one backend.
#[derive(Debug)]
pub(super) struct Dialer {
    target: Target,
    tls: Option<Tls>,
    proxy: Option<Proxy>,
    /// For all steps together.
    within: Duration,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Secret(#[from] SecretError),
}

impl Dialer {
    pub(super) fn new(
        target: Target,
        tls: Option<Tls>,
        proxy: Option<Proxy>,
        within: Duration,
    ) -> Self {
        Self {
            target,
            tls,
            proxy,
            within,
        }
    }

    pub(super) fn target(&self) -> &Target {
        &self.target
    }

    /// Whether requests go to a proxy that reads them, and what it is shown.
    pub(super) fn forwarding_proxy(&self) -> Option<&Proxy> {
        self.proxy.as_ref().filter(|_| !self.target.secure)
    }

    /// A new connection.
    pub(super) async fn dial(&self) -> Result<Box<dyn Stream>, NoAnswer> {
        match timeout(self.within, self.steps()).await {
            Ok(Ok(stream)) => Ok(stream),
            Ok(Err(Failed::Secret(secret))) => Err(NoAnswer::Secret(secret)),
            Ok(Err(failed)) => Err(NoAnswer::Connect {
                target: self.target.to_string(),
                reason: failed.to_string(),
            }),
            Err(_) => Err(NoAnswer::ConnectTimeout {
                target: self.target.to_string(),
                after: self.within,
            }),
        }
    }

    async fn steps(&self) -> Result<Box<dyn Stream>, Failed> {
        let stream = match &self.proxy {
            None => tcp(&self.target).await?,
            Some(proxy) => {
                let stream = tcp(&proxy.target).await;
                let mut stream = stream.map_err(|error| {
                    Failed::Other(format!("the proxy {}: {error}", proxy.target))
                })?;
                if self.target.secure {
                    tunnel(&mut stream, &self.target, proxy).await?;
                }
                stream
            }
        };
        match &self.tls {
            None => Ok(Box::new(stream)),
            Some(tls) => {
                let secure = tls.secure(stream).await.map_err(Failed::Other)?;
                Ok(Box::new(secure))
            }
        }
    }
}

async fn tcp(target: &Target) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((target.host.as_str(), target.port)).await?;
    // A batch is one write or many in a row; there is nothing to gather.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Asks the proxy for a tunnel (RFC 9110, 9.3.6).
async fn tunnel(stream: &mut TcpStream, target: &Target, proxy: &Proxy) -> Result<(), Failed> {
    let host = if target.host.contains(':') {
        format!("[{}]:{}", target.host, target.port)
    } else {
        format!("{}:{}", target.host, target.port)
    };
    let mut request = format!("CONNECT {host} HTTP/1.1\r\nhost: {host}\r\nb3: 0\r\n").into_bytes();
    if let Some(credentials) = &proxy.credentials {
        let value: HeaderValue = credentials.header()?;
        request.extend_from_slice(b"proxy-authorization: ");
        request.extend_from_slice(value.as_bytes());
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    stream.write_all(&request).await?;
    let refused = |what: String| Failed::Other(format!("the proxy {} {what}", proxy.target));
    let mut answer = Vec::new();
    // The server behind says nothing before we do, so nothing is read that is
    // not the proxy's.
    loop {
        if stream.read_buf(&mut answer).await? == 0 {
            return Err(refused("hung up".to_owned()));
        }
        let mut fields = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let mut head = httparse::Response::new(&mut fields);
        match head.parse(&answer) {
            Ok(httparse::Status::Complete(_)) => {
                return match head.code {
                    Some(200..300) => Ok(()),
                    code => Err(refused(format!(
                        "answered {} to CONNECT {host}",
                        code.unwrap_or_default()
                    ))),
                };
            }
            Ok(httparse::Status::Partial) if answer.len() < MAX_CONNECT_ANSWER => {}
            Ok(httparse::Status::Partial) => return Err(refused("answered too much".to_owned())),
            Err(error) => return Err(refused(format!("answered no HTTP: {error}"))),
        }
    }
}
