//! One backend as it is configured, and how it is opened.

use std::sync::Arc;

use super::delivery::{Address, DeliveryConfig, Target, TargetError, TlsError, Worker};
use super::protocol::{Limits, Protocol};
use super::{Exporter, Wording};
use crate::ledger::Ledger;

/// Everything that makes a backend. Two that are equal are the same backend: a
/// reload leaves it open.
#[derive(Clone, Debug, PartialEq)]
pub struct BackendConfig {
    /// Its name in the ledger, metrics and logs.
    pub name: Arc<str>,
    /// What is spoken.
    pub protocol: Protocol,
    /// Where it listens: an `http` or `https` URL, or `HOST:PORT` where
    /// datagrams are spoken.
    pub target: String,
    /// How spans are named, and what becomes of queries.
    pub wording: Wording,
    /// Bounds of the encoding.
    pub limits: Limits,
    /// How it is fed.
    pub delivery: DeliveryConfig,
}

/// Why a backend cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its place is unusable.
    #[error("backend {name}: {source}")]
    Target {
        /// Which backend.
        name: Arc<str>,
        /// What is wrong.
        source: TargetError,
    },
    /// No secure connection can be made to it.
    #[error("backend {name}: {source}")]
    Tls {
        /// Which backend.
        name: Arc<str>,
        /// What is wrong.
        source: TlsError,
    },
}

impl BackendConfig {
    /// Opens it: the pipeline gets the exporter, a task [runs](Worker::run)
    /// the worker. Must be called within a tokio runtime. No connection is
    /// made yet, so a backend that is down is no error.
    ///
    /// Dropping the exporter hands over what it holds and closes the queue;
    /// the worker then delivers what waits within its grace time, counts the
    /// rest, and ends. A new backend of the same name may be open beside it:
    /// both count into the same account.
    ///
    /// # Errors
    ///
    /// The target or the file of authorities is unusable.
    pub fn open(&self, ledger: &Ledger) -> Result<(Box<dyn Exporter>, Worker), OpenError> {
        let in_target = |source| OpenError::Target {
            name: Arc::clone(&self.name),
            source,
        };
        let encoder = || self.protocol.encoder(self.wording, self.limits);
        if self.protocol.is_datagrams() {
            let address = Address::parse(&self.target).map_err(in_target)?;
            let account = ledger.backend(&self.name);
            let (exporter, worker) =
                self.delivery
                    .send_to(address, self.limits.datagram, encoder(), account);
            return Ok((Box::new(exporter), worker));
        }
        let target = Target::parse(&self.target).map_err(in_target)?;
        let account = || ledger.backend(&self.name);
        let opened = self.delivery.post_to(target, encoder(), account);
        let (exporter, worker) = opened.map_err(|source| OpenError::Tls {
            name: Arc::clone(&self.name),
            source,
        })?;
        Ok((Box::new(exporter), worker))
    }
}
