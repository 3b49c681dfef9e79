//! Connections to a backend: directly or through a proxy, plain or secure.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::header::HeaderValue;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::{Instant, timeout};

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
            None => tcp(&self.target, self.within).await?,
            Some(proxy) => {
                let stream = tcp(&proxy.target, self.within).await;
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

async fn tcp(target: &Target, within: Duration) -> io::Result<TcpStream> {
    let began = Instant::now();
    let found = lookup_host((target.host.as_str(), target.port)).await?;
    let addresses: Vec<SocketAddr> = found.collect();
    let stream = connect(&addresses, within.saturating_sub(began.elapsed())).await?;
    // A batch is one write or many in a row; there is nothing to gather.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Connects to the first address that answers. Each has its share of the time,
/// so that one that swallows everything (a family that leads nowhere, a node
/// that is gone) does not hide the others.
async fn connect(addresses: &[SocketAddr], within: Duration) -> io::Result<TcpStream> {
    let end = Instant::now() + within;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for (left, address) in (1..=addresses.len()).rev().zip(addresses) {
        let left = u32::try_from(left).unwrap_or(u32::MAX);
        let share = end.saturating_duration_since(Instant::now()) / left;
        match timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = error,
            Err(_) => {
                let silent = format!("{address} does not answer");
                last = io::Error::new(io::ErrorKind::TimedOut, silent);
            }
        }
    }
    Err(last)
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

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::{TcpListener, TcpSocket};

    /// An address that swallows connections: its queue is full.
    async fn black_hole() -> (TcpListener, Vec<TcpStream>, SocketAddr) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        let mut waiting = Vec::new();
        while let Ok(stream) =
            timeout(Duration::from_millis(200), TcpStream::connect(address)).await
        {
            waiting.push(stream.unwrap());
        }
        (listener, waiting, address)
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_does_not_hide_the_next() {
        let (_listener, _waiting, hole) = black_hole().await;
        let well = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let there = well.local_addr().unwrap();
        let refused = "127.0.0.1:1".parse().unwrap();
        let within = Duration::from_millis(900);
        let stream = connect(&[refused, hole, there], within).await.unwrap();
        assert_eq!(stream.peer_addr().unwrap(), there);
        let began = Instant::now();
        let error = connect(&[hole, hole], within).await.unwrap_err();
        assert!(error.to_string().contains("does not answer"), "{error}");
        assert!(began.elapsed() < 2 * within);
        let error = connect(&[], within).await.unwrap_err();
        assert!(error.to_string().contains("no address"), "{error}");
    }
}
