//! The admin port is opened, or it is said why not.

use std::fmt::{Display, Formatter};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::set_ipv6_v6only;
use tokio::net::{TcpListener, TcpSocket};
use tokio::time::timeout;

use super::status::{self, Status};
use super::{DEFAULT_ADDRESS, View, serve};

/// Whether and where to listen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// At [`DEFAULT_ADDRESS`]; if that is taken, the agent goes on without.
    #[default]
    Default,
    /// Here, because somebody said so; if that is taken, the start fails.
    At(SocketAddr),
    /// Nowhere.
    Off,
}

/// Why the admin port could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// Somebody else listens there.
    #[error(
        "the admin address {address} is in use; \
         choose another with `[admin] listen = \"ADDRESS:PORT\"`, or `\"off\"`"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
    },
    /// It is an agent that does.
    #[error(
        "another nodespan runs on this host ({other}) and has the admin address {address}: what both \
         trace is reported twice. Stop one of them; if they trace different things, choose another \
         address with `[admin] listen = \"ADDRESS:PORT\"`, or `\"off\"`"
    )]
    Agent {
        /// The address.
        address: SocketAddr,
        /// Who it is.
        other: Other,
    },
    /// The system refused for another reason.
    #[error("cannot listen on the admin address {address}: {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

/// An agent that answers at the address that this one wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Other {
    /// Its process, as it sees itself.
    pub pid: u32,
    /// Its version.
    pub version: String,
}

impl Display for Other {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        write!(f, "pid {}, version {}", self.pid, self.version)
    }
}

/// How long whoever has the address may take to say who it is.
const INTRODUCTION: Duration = Duration::from_secs(1);

/// The agent at an address that is in use, if it is one.
async fn who(address: SocketAddr) -> Option<Other> {
    let v4 = IpAddr::from(Ipv4Addr::LOCALHOST);
    let places = match address.ip() {
        ip if !ip.is_unspecified() => vec![ip],
        IpAddr::V4(_) => vec![v4],
        // Whoever is in the way may listen at either.
        IpAddr::V6(_) => vec![Ipv6Addr::LOCALHOST.into(), v4],
    };
    for ip in places {
        let at = SocketAddr::new(ip, address.port()).to_string();
        if let Ok(Ok(Status { pid, version, .. })) = timeout(INTRODUCTION, status::fetch(&at)).await
        {
            return Some(Other { pid, version });
        }
    }
    None
}

/// Listens there. `[::]` is every address of IPv4 as well, whatever
/// `net.ipv6.bindv6only` says.
async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    if !is_any_v6(address) {
        return TcpListener::bind(address).await;
    }
    let socket = TcpSocket::new_v6()?;
    set_ipv6_v6only(&socket, false)?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

fn is_any_v6(address: SocketAddr) -> bool {
    address.is_ipv6() && address.ip().is_unspecified()
}

/// Connections that wait to be accepted: as many as `TcpListener::bind` takes.
const BACKLOG: u32 = 1024;

/// The open admin port.
#[derive(Debug)]
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
}

impl Admin {
    /// Opens the port. `None` if it is off, or if the default address is taken
    /// by another process, which is only worth a warning.
    ///
    /// # Errors
    ///
    /// The address that was asked for cannot be used.
    pub async fn open(listen: Listen) -> Result<Option<Self>, AdminError> {
        let (address, asked_for) = match listen {
            Listen::Default => (DEFAULT_ADDRESS, false),
            Listen::At(address) => (address, true),
            Listen::Off => return Ok(None),
        };
        match Self::bind(address).await {
            Ok(admin) => Ok(Some(admin)),
            Err(error) if asked_for => Err(error),
            Err(error) => {
                tracing::warn!("this agent has no metrics and no status: {error}");
                Ok(None)
            }
        }
    }

    async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        Self::bind_by(address, listen).await
    }

    /// With `[::]` it is every address of IPv4 alone on a kernel without IPv6
    /// (`ipv6.disable=1`).
    async fn bind_by(
        mut address: SocketAddr,
        listen: impl AsyncFn(SocketAddr) -> io::Result<TcpListener>,
    ) -> Result<Self, AdminError> {
        let mut opened = listen(address).await;
        if is_any_v6(address)
            && let Err(error) = &opened
            && error.raw_os_error() == Some(Errno::AFNOSUPPORT.raw_os_error())
        {
            address.set_ip(Ipv4Addr::UNSPECIFIED.into());
            opened = listen(address).await;
        }
        let listener = match opened {
            Ok(listener) => listener,
            Err(source) if source.kind() != io::ErrorKind::AddrInUse => {
                return Err(AdminError::Bind { address, source });
            }
            Err(_in_use) => {
                return Err(match who(address).await {
                    Some(other) => AdminError::Agent { address, other },
                    None => AdminError::InUse { address },
                });
            }
        };
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self { listener, address })
    }

    /// Where it listens; the port is the real one if 0 was asked for.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers requests until it is cancelled.
    pub async fn serve(self, view: Arc<View>) {
        serve::serve(self.listener, view).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_an_error_that_helps() {
        let first = Admin::open(Listen::At("127.0.0.1:0".parse().unwrap()))
            .await
            .unwrap()
            .unwrap();
        let error = Admin::open(Listen::At(first.address())).await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains(&first.address().to_string()) && text.contains("[admin] listen"),
            "{text}"
        );
    }

    /// The kubelet asks a pod at its address, which may be of IPv6.
    #[tokio::test]
    async fn any_address_is_of_both_families() {
        let any = Listen::At("[::]:0".parse().unwrap());
        let admin = Admin::open(any).await.unwrap().unwrap();
        let port = admin.address().port();
        assert_ne!(port, 0);
        for ip in ["127.0.0.1", "::1"] {
            let ip: IpAddr = ip.parse().unwrap();
            tokio::net::TcpStream::connect((ip, port)).await.unwrap();
        }
    }

    #[tokio::test]
    async fn without_ipv6_any_address_is_of_ipv4() {
        let without = async |address: SocketAddr| match address {
            SocketAddr::V4(_) => listen(address).await,
            SocketAddr::V6(_) => Err(Errno::AFNOSUPPORT.into()),
        };
        let any = "[::]:0".parse().unwrap();
        let admin = Admin::bind_by(any, without).await.unwrap();
        let port = admin.address().port();
        assert_eq!(admin.address(), SocketAddr::from(([0, 0, 0, 0], port)));
        assert_ne!(port, 0);
        // One address of IPv6 is not all of IPv4.
        let one = "[::1]:0".parse().unwrap();
        let error = Admin::bind_by(one, without).await.unwrap_err();
        assert!(matches!(error, AdminError::Bind { .. }), "{error}");
        let refuses = async |_| Err(Errno::ACCESS.into());
        let error = Admin::bind_by(any, refuses).await.unwrap_err();
        assert!(error.to_string().contains("[::]:0"), "{error}");
    }

    #[tokio::test]
    async fn another_agent_is_named() {
        for first in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let first = Listen::At(first.parse().unwrap());
            let first = Admin::open(first).await.unwrap().unwrap();
            let address = first.address();
            let view = View::new(crate::ledger::Ledger::new());
            tokio::spawn(first.serve(view));
            let error = Admin::open(Listen::At(address)).await.unwrap_err();
            let text = error.to_string();
            let named = format!(
                "another nodespan runs on this host (pid {}, version {})",
                std::process::id(),
                env!("CARGO_PKG_VERSION")
            );
            assert!(
                text.contains(&named) && text.contains(&address.to_string()),
                "{text}"
            );
        }
    }

    #[tokio::test]
    async fn the_default_address_in_use_is_no_reason_to_stop() {
        // Whoever holds the port, this test or another process.
        let _held = TcpListener::bind(DEFAULT_ADDRESS).await;
        assert!(Admin::open(Listen::Default).await.unwrap().is_none());
        assert!(Admin::open(Listen::Off).await.unwrap().is_none());
    }
}
