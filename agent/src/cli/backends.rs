//! The backends that are open, from one configuration to the next.

use std::sync::Arc;

use crate::export::delivery::Worker;
use crate::export::{BackendConfig, Exporter, OpenError};
use crate::ledger::Ledger;
use crate::link::Backend;

/// Gives each backend its number, and keeps those open that a change of the
/// configuration leaves as they are.
#[derive(Debug)]
pub(super) struct Backends {
    ledger: Arc<Ledger>,
    open: Vec<(Backend, BackendConfig)>,
    next: u32,
}

/// What a change comes to.
pub(super) struct Change {
    /// The number of each that was wanted, in their order.
    pub(super) ids: Vec<Backend>,
    /// Those that are new.
    pub(super) opened: Vec<(Backend, Box<dyn Exporter>)>,
    /// Their workers; each runs until its exporter is dropped and all is
    /// delivered.
    pub(super) workers: Vec<Worker>,
    /// Those that nobody wants any more.
    pub(super) retired: Vec<Backend>,
}

impl Backends {
    /// None is open.
    pub(super) fn new(ledger: Arc<Ledger>) -> Self {
        Self {
            ledger,
            open: Vec::new(),
            // 0 is what goes nowhere.
            next: 1,
        }
    }

    /// Opens what is wanted and not open. Must run within a tokio runtime.
    ///
    /// # Errors
    /// One cannot be opened; then nothing changes.
    pub(super) fn change(&mut self, wanted: &[BackendConfig]) -> Result<Change, OpenError> {
        let mut change = Change {
            ids: Vec::new(),
            opened: Vec::new(),
            workers: Vec::new(),
            retired: Vec::new(),
        };
        let mut open: Vec<(Backend, BackendConfig)> = Vec::new();
        let mut next = self.next;
        for config in wanted {
            let known = open.iter().chain(&self.open).find(|(_, old)| old == config);
            let id = if let Some((id, _)) = known {
                *id
            } else {
                let (exporter, worker) = config.open(&self.ledger)?;
                let id = Backend(next);
                next = next.wrapping_add(1).max(1);
                change.opened.push((id, exporter));
                change.workers.push(worker);
                id
            };
            if !open.iter().any(|(other, _)| *other == id) {
                open.push((id, config.clone()));
            }
            change.ids.push(id);
        }
        let gone = |(id, _): &&(Backend, _)| !open.iter().any(|(other, _)| other == id);
        change.retired = self.open.iter().filter(gone).map(|(id, _)| *id).collect();
        self.open = open;
        self.next = next;
        Ok(change)
    }
}
