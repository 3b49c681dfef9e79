//! The admin port is opened, or it is said why not.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

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
    /// Somebody else listens there, perhaps another agent.
    #[error(
        "the admin address {address} is in use (by another nodespan?); \
         choose another with `[admin] listen = \"ADDRESS:PORT\"`, or `\"off\"`"
    )]
    InUse {
        /// The address.
        address: SocketAddr,
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
                tracing::warn!("no metrics and no status: {error}");
                Ok(None)
            }
        }
    }

    async fn bind(address: SocketAddr) -> Result<Self, AdminError> {
        let bound = TcpListener::bind(address).await;
        let listener = bound.map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => AdminError::InUse { address },
            _ => AdminError::Bind { address, source },
        })?;
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

    #[tokio::test]
    async fn the_default_address_in_use_is_no_reason_to_stop() {
        // Whoever holds the port, this test or another process.
        let _held = TcpListener::bind(DEFAULT_ADDRESS).await;
        assert!(Admin::open(Listen::Default).await.unwrap().is_none());
        assert!(Admin::open(Listen::Off).await.unwrap().is_none());
    }
}
