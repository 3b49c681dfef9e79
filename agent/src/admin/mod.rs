//! Metrics, health and status of the running agent over HTTP/1.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | Prometheus text |
//! | `/healthz` | 200 while the agent runs |
//! | `/readyz` | 200 once the probes are attached, 503 before |
//! | `/status` | JSON, what `nodespan status` shows |
//!
//! Views of the other rooms, read-only. It listens on loopback unless told
//! otherwise. The resources of the agent have a port of their own, which is
//! off unless asked for: [`api`] over a [`store`].

pub mod api;
mod connections;
mod listen;
mod metrics;
mod serve;
pub mod status;
pub mod store;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;

use serde_json::Value;

use self::status::Status;
use crate::ledger::Ledger;

pub use listen::{Admin, AdminError, Listen};

/// Where the agent listens if it is not told: `127.0.0.1:9903`.
pub const DEFAULT_ADDRESS: SocketAddr =
    SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::LOCALHOST, 9903));

/// What the agent shows of itself.
#[derive(Debug)]
pub struct View {
    ledger: Arc<Ledger>,
    started: Instant,
    ready: AtomicBool,
    sections: RwLock<BTreeMap<&'static str, Value>>,
    families: RwLock<Vec<Family>>,
}

/// A metric that another room supplies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name without `nodespan_`.
    pub name: &'static str,
    /// What it is, in a sentence.
    pub help: &'static str,
    /// `counter` or `gauge`.
    pub kind: &'static str,
    /// What there is of it.
    pub samples: Vec<Sample>,
}

/// A number of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// Names and values from closed lists.
    pub labels: Vec<(&'static str, &'static str)>,
    /// The number.
    pub value: u64,
}

impl Family {
    /// A number that goes up and down.
    #[must_use]
    pub const fn gauge(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Self {
        Self {
            name,
            help,
            kind: "gauge",
            samples,
        }
    }

    /// A number that only grows.
    #[must_use]
    pub const fn counter(name: &'static str, help: &'static str, samples: Vec<Sample>) -> Self {
        Self {
            name,
            help,
            kind: "counter",
            samples,
        }
    }
}

impl View {
    /// A view of these accounts, with no other section yet.
    #[must_use]
    pub fn new(ledger: Arc<Ledger>) -> Arc<Self> {
        Arc::new(Self {
            ledger,
            started: Instant::now(),
            ready: AtomicBool::new(false),
            sections: RwLock::default(),
            families: RwLock::default(),
        })
    }

    /// Replaces the metrics of other rooms.
    pub fn set_families(&self, families: Vec<Family>) {
        *self
            .families
            .write()
            .unwrap_or_else(PoisonError::into_inner) = families;
    }

    fn families(&self) -> Vec<Family> {
        self.families
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Says whether the agent does its work.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Replaces a section of the status, such as `probes`, `workloads` or
    /// `decisions`. Who supplies it keeps it bounded.
    pub fn set_section(&self, name: &'static str, value: Value) {
        self.sections
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name, value);
    }

    fn ready(&self) -> bool {
        self.ready.load(Ordering::Relaxed)
    }

    /// The status as it is now.
    #[must_use]
    pub fn status(&self) -> Status {
        let ledger = self.ledger.snapshot();
        let sections = self.sections.read().unwrap_or_else(PoisonError::into_inner);
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            uptime_seconds: self.started.elapsed().as_secs(),
            ready: self.ready(),
            summary: ledger.summary(),
            ledger,
            sections: sections
                .iter()
                .map(|(name, value)| ((*name).to_owned(), value.clone()))
                .collect(),
        }
    }
}
