//! Batches reach a backend, or their loss is counted.
//!
//! One worker per backend, so a dead one slows no other. Delivery over HTTP is
//! at least once: an attempt whose answer was lost is repeated with the same
//! ids, and counted as such. 2xx is success (Zipkin answers 202); connection
//! errors, 408, 425, 429 and 5xx are repeated; what is refused otherwise is
//! never sent again as it is, but halved until the bad span stands alone.
//! Datagrams are not acknowledged: sent means that the kernel took them.

mod backoff;
mod client;
mod credentials;
mod dial;
mod gzip;
mod search;
mod target;
#[cfg(test)]
mod tests;
mod tls;
mod udp;
mod worker;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use self::client::Client;
use self::dial::Dialer;
use self::gzip::Encoding;
use self::tls::Tls;
use self::udp::Datagrams;
use self::worker::Transport;
use super::Encoder;
use super::batcher::{BatchLimits, Batcher};
use super::queue::{Overflow, QueueLimits, queue};
use crate::ledger::BackendLedger;

pub use backoff::Retry;
pub use client::Timeouts;
pub use credentials::{Credentials, SecretError};
pub use gzip::Gzip;
pub use target::{Address, Proxy, Target, TargetError};
pub use tls::{TlsError, check_authorities};
pub use worker::Worker;

/// How a backend is fed. The default is documented at the types of the fields;
/// 5 s of grace, no proxy, no credentials, and the system's authorities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeliveryConfig {
    /// When a batch is handed over; with half of what may wait at the latest.
    pub batch: BatchLimits,
    /// What may wait.
    pub queue: QueueLimits,
    /// What is dropped when it is full.
    pub overflow: Overflow,
    /// How long an attempt may take.
    pub timeouts: Timeouts,
    /// How attempts are repeated.
    pub retry: Retry,
    /// How long the worker goes on once the queue is closed.
    pub grace: Duration,
    /// Whether bodies are compressed.
    pub gzip: Gzip,
    /// A PEM file of the only authorities to trust.
    pub ca: Option<PathBuf>,
    /// What stands between, but for backends on this host.
    pub proxy: Option<Proxy>,
    /// What the backend is shown. They go to whatever host the backend names,
    /// so give them to backends only whose URLs are under the same control.
    pub credentials: Option<Credentials>,
}

impl Default for DeliveryConfig {
    fn default() -> Self {
        Self {
            batch: BatchLimits::default(),
            queue: QueueLimits::default(),
            overflow: Overflow::default(),
            timeouts: Timeouts::default(),
            retry: Retry::default(),
            grace: Duration::from_secs(5),
            gzip: Gzip::default(),
            ca: None,
            proxy: None,
            credentials: None,
        }
    }
}

impl DeliveryConfig {
    /// The two ends of a backend that takes POSTs at `target`: the pipeline
    /// keeps the first, a task runs the second. The account is opened if
    /// nothing is wrong. Must run within a tokio runtime.
    ///
    /// # Errors
    ///
    /// The file of authorities, or the host of an `https` target, is unusable.
    pub fn post_to(
        &self,
        target: Target,
        encoder: Box<dyn Encoder>,
        ledger: impl FnOnce() -> Arc<BackendLedger>,
    ) -> Result<(Batcher, Worker), TlsError> {
        let tls = match target.secure {
            true => Some(Tls::new(&target.host, self.ca.as_deref())?),
            false => None,
        };
        let local = target.is_local();
        if self.credentials.is_some() && !target.secure && !local {
            tracing::warn!("credentials go to {target} unencrypted");
        }
        let proxy = self.proxy.clone().filter(|_| !local);
        let client = Client::new(
            Dialer::new(target, tls, proxy, self.timeouts.connect),
            encoder.content_type(),
            self.credentials.clone(),
            Encoding::new(self.gzip, local),
            self.timeouts.answer,
        );
        let transport = Transport::Http(Box::new(client));
        Ok(self.start(transport, self.batch, encoder, ledger()))
    }

    /// The same for a backend that takes datagrams. `datagram` is their size
    /// at most; a batch is of about one, so that what goes out at once fits
    /// into a receiver's buffer.
    #[must_use]
    pub fn send_to(
        &self,
        address: Address,
        datagram: usize,
        encoder: Box<dyn Encoder>,
        ledger: Arc<BackendLedger>,
    ) -> (Batcher, Worker) {
        let batch = BatchLimits {
            bytes: self.batch.bytes.min(datagram),
            ..self.batch
        };
        let transport = Transport::Udp(Datagrams::new(address, self.timeouts.connect));
        self.start(transport, batch, encoder, ledger)
    }

    fn start(
        &self,
        transport: Transport,
        batch: BatchLimits,
        encoder: Box<dyn Encoder>,
        ledger: Arc<BackendLedger>,
    ) -> (Batcher, Worker) {
        // One can be filled while another is delivered.
        let batch = BatchLimits {
            spans: batch.spans.min(self.queue.spans.div_ceil(2)),
            bytes: batch.bytes.min(self.queue.bytes / 2),
            ..batch
        };
        let (sender, receiver) = queue(self.queue, self.overflow);
        let worker = Worker::new(
            receiver,
            transport,
            (encoder.cut(), encoder.partial()),
            (self.retry, self.grace),
            Arc::clone(&ledger),
        );
        (Batcher::new(encoder, batch, sender, ledger), worker)
    }
}
