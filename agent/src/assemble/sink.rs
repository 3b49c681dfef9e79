//! What all connections of an assembler share.

use super::exchange::{Began, BodySize, Exchange, Text};
use super::options::{Counters, Options};
use crate::capture::Command;

/// Commands that wait at most; they only save work.
const MAX_COMMANDS: usize = 4096;

/// Exchanges that are kept to be used again.
const MAX_SPARE: usize = 4096;

/// Options, counters and requests to the source.
#[derive(Debug, Default)]
pub(super) struct Sink {
    pub(super) options: Options,
    pub(super) counters: Counters,
    pub(super) commands: Vec<Command>,
    /// Bytes held for incomplete heads and open exchanges.
    pub(super) held: usize,
    /// Exchanges that nobody needs any more: memory for the next ones.
    spare: Vec<Box<Exchange>>,
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

    /// An exchange that begins, its text being whatever it was.
    #[inline(always)]
    pub(super) fn exchange(&mut self, began: &Began, minor: u8, lenient: bool) -> Box<Exchange> {
        let Some(mut exchange) = self.spare.pop() else {
            return fresh(began, minor, lenient);
        };
        exchange.began = *began;
        exchange.first_byte = None;
        exchange.end = began.start;
        exchange.status = None;
        exchange.minor_version = minor;
        exchange.request_body = BodySize::default();
        exchange.response_body = BodySize::default();
        exchange.failure = None;
        exchange.lenient = lenient;
        exchange
    }

    /// Keeps the memory of exchanges that are done with.
    pub(super) fn reuse(&mut self, done: &mut Vec<Box<Exchange>>) {
        let room = MAX_SPARE.saturating_sub(self.spare.len());
        done.truncate(room);
        self.spare.append(done);
    }

    pub(super) fn command(&mut self, command: Command) {
        if self.commands.len() < MAX_COMMANDS {
            self.commands.push(command);
        } else {
            self.counters.commands_dropped += 1;
        }
    }

    #[inline]
    pub(super) fn hold(&mut self, bytes: usize) {
        self.held += bytes;
    }

    #[inline]
    pub(super) fn release(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    pub(super) fn is_full(&self) -> bool {
        self.held > self.options.limits.held
    }
}

#[cold]
fn fresh(began: &Began, minor: u8, lenient: bool) -> Box<Exchange> {
    Box::new(Exchange {
        began: *began,
        text: Text::default(),
        first_byte: None,
        end: began.start,
        status: None,
        minor_version: minor,
        request_body: BodySize::default(),
        response_body: BodySize::default(),
        failure: None,
        lenient,
    })
}
