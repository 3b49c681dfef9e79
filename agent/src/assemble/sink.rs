//! What all connections of an assembler share.

use super::exchange::{Began, BodySize, Exchange, Seed, Spare, Text};
use super::options::{Counters, Options};
use crate::capture::Command;
use crate::http::context::TraceContext;
use crate::units::{MonoNanos, OwnerId, Side, WireId};

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
    spare: Spare,
    serial: u64,
    /// For tests: segments go the long way only.
    #[cfg(test)]
    pub(super) long_way: bool,
    /// For tests: segments that went the short way.
    #[cfg(test)]
    pub(super) shortened: u64,
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

    /// An exchange to be filled: it has no response, no body and no failure;
    /// `began`, `end`, the version and the text are left from another one.
    #[inline(always)]
    pub(super) fn spare(&mut self) -> Box<Exchange> {
        let Some(mut exchange) = self.spare.pop() else {
            return blank();
        };
        exchange.first_byte = None;
        exchange.status = None;
        exchange.request_body = BodySize::default();
        exchange.response_body = BodySize::default();
        exchange.failure = None;
        exchange.lenient = false;
        exchange
    }

    /// Keeps the memory of exchanges that are done with.
    pub(super) fn reuse(&mut self, done: &mut Spare) {
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

#[inline(never)]
fn blank() -> Box<Exchange> {
    Box::new(Exchange {
        began: Began {
            serial: 0,
            side: Side::Server,
            wire: WireId::default(),
            context: TraceContext::default(),
            seed: Seed::Carried,
            owner: OwnerId(0),
            pid: 0,
            local: None,
            peer: None,
            start: MonoNanos(0),
        },
        text: Text::default(),
        first_byte: None,
        end: MonoNanos(0),
        status: None,
        minor_version: 1,
        request_body: BodySize::default(),
        response_body: BodySize::default(),
        failure: None,
        lenient: false,
    })
}
