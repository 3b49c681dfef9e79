//! What all connections of an assembler share.

use super::options::{Counters, Options};
use crate::capture::Command;

/// Commands that wait at most; they only save work.
const MAX_COMMANDS: usize = 4096;

/// Options, counters and requests to the source.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) options: Options,
    pub(super) counters: Counters,
    pub(super) commands: Vec<Command>,
    /// Bytes held for incomplete heads and open exchanges.
    pub(super) held: usize,
    serial: u64,
}

impl Sink {
    pub(super) fn new(options: Options) -> Self {
        Self {
            options,
            ..Self::default()
        }
    }

    /// A number that no exchange of this run has had.
    pub(super) fn serial(&mut self) -> u64 {
        self.serial += 1;
        self.serial
    }

    pub(super) fn command(&mut self, command: Command) {
        if self.commands.len() < MAX_COMMANDS {
            self.commands.push(command);
        } else {
            self.counters.commands_dropped += 1;
        }
    }

    pub(super) fn hold(&mut self, bytes: usize) {
        self.held += bytes;
    }

    pub(super) fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    pub(super) fn is_full(&self) -> bool {
        self.held > self.options.limits.held
    }
}
