//! Datagrams to a Jaeger agent.
//!
//! Nobody acknowledges a datagram. One counts as sent when the kernel took it,
//! which says nothing about its arrival. What can be known is used: on a
//! connected socket the answer "port unreachable" to one datagram is the error
//! of a later call, so after an error the worker waits a moment behind each
//! datagram for that answer, until one stays without.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::{UdpSocket, lookup_host};
use tokio::time::{Instant, sleep, timeout};

use super::client::NoAnswer;
use super::target::Address;

/// How long an ICMP answer is waited for after an error.
const PROBATION: Duration = Duration::from_millis(50);
/// Bytes that go out in one go. A receiver's default buffer holds little more
/// than three times as much (`net.core.rmem_default`).
const BURST: usize = 64 << 10;
/// The pause behind them: 64 MB/s at most.
const PAUSE: Duration = Duration::from_millis(1);
/// How long an address counts as that of a name. Nothing tells that somebody
/// else has it by now, or nobody; Jaeger's clients ask every 30 s, too.
const RESOLVED: Duration = Duration::from_secs(30);

/// Sends datagrams to one place.
#[derive(Debug)]
pub(super) struct Datagrams {
    address: Address,
    /// For finding the address.
    within: Duration,
    socket: Option<UdpSocket>,
    /// When the name was asked for.
    resolved: Instant,
    /// The last one failed.
    suspect: bool,
    /// Bytes since the last pause.
    burst: usize,
}

impl Datagrams {
    pub(super) fn new(address: Address, within: Duration) -> Self {
        Self {
            address,
            within,
            socket: None,
            resolved: Instant::now(),
            suspect: false,
            burst: 0,
        }
    }

    /// Hands one datagram to the kernel.
    pub(super) async fn send(&mut self, payload: &[u8]) -> Result<(), NoAnswer> {
        if self.burst >= BURST {
            self.burst = 0;
            sleep(PAUSE).await;
        }
        self.burst += payload.len();
        match self.try_send(payload).await {
            Ok(()) => {
                self.suspect = false;
                Ok(())
            }
            // Larger than the way allows, not than we allow.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::MSGSIZE) => {
                Err(NoAnswer::TooLarge {
                    target: self.address.to_string(),
                    bytes: payload.len(),
                })
            }
            Err(error) => {
                // The name may mean another address by now.
                self.socket = None;
                self.suspect = true;
                Err(NoAnswer::Connect {
                    target: self.address.to_string(),
                    reason: error.to_string(),
                })
            }
        }
    }

    async fn try_send(&mut self, payload: &[u8]) -> io::Result<()> {
        let socket = match self.socket.take() {
            Some(socket) if self.resolved.elapsed() < RESOLVED => socket,
            // Rather an old address than none.
            Some(old) => {
                self.resolved = Instant::now();
                self.open().await.unwrap_or(old)
            }
            None => {
                self.resolved = Instant::now();
                self.open().await?
            }
        };
        let socket = self.socket.insert(socket);
        socket.send(payload).await?;
        if self.suspect {
            sleep(PROBATION).await;
            if let Some(error) = socket.take_error()? {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn open(&self) -> io::Result<UdpSocket> {
        let found = lookup_host((self.address.host.as_str(), self.address.port));
        let Ok(found) = timeout(self.within, found).await else {
            let kind = io::ErrorKind::TimedOut;
            return Err(io::Error::new(kind, "the name was not resolved in time"));
        };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in found? {
            let any: SocketAddr = match address {
                SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
                SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
            };
            let socket = UdpSocket::bind(any).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }
}
