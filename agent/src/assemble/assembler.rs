//! Records in, exchanges out.

use super::connection::Connection;
use super::ends::Cause;
use super::exchange::{Failure, Output, Spare};
use super::options::{Counters, Options, Reading};
use super::sink::Sink;
use super::table::Table;
use crate::capture::{Command, Event, Record};
use crate::units::{MonoNanos, SocketId};

/// How long a client that failed may be silent while what it was sent before
/// may still be read.
const LAST_WORDS: u64 = 1_000_000_000;

/// Makes exchanges of the records of all connections.
#[derive(Debug)]
pub struct Assembler {
    table: Table,
    sink: Sink,
}

impl Assembler {
    /// An assembler that knows no connection.
    #[must_use]
    pub fn new(options: Options) -> Self {
        Self {
            table: Table::default(),
            sink: Sink::new(options),
        }
    }

    /// Takes one record and appends what it leads to.
    #[inline]
    pub fn push(&mut self, record: &Record<'_>, out: &mut Vec<Output>) {
        self.sink.counters.records += 1;
        let (table, sink) = (&mut self.table, &mut self.sink);
        match table.get(record.socket) {
            Some(connection) if connection.origins == record.origins => {
                connection.touched = true;
                match &record.event {
                    Event::Segment(segment) => {
                        if !connection.quick_segment(record, segment, sink, out) {
                            connection.segment(record, segment, sink, out);
                            connection.set_pace();
                        }
                    }
                    Event::Closed { at } => {
                        connection.last = connection.last.max(*at);
                        connection.end(Cause::Ended, *at, sink, out);
                        drop(table.remove(record.socket));
                    }
                    _ => {
                        connection.event(record, sink, out);
                        connection.set_pace();
                    }
                }
            }
            Some(_) => {
                self.sink.counters.reused += 1;
                self.forget(record.socket, Cause::Ended, out);
                self.push_unknown(record, out);
            }
            None => self.push_unknown(record, out),
        }
        if self.sink.is_full() {
            while self.sink.is_full() && self.evict(out) {}
        }
    }

    /// Reads requests like this from now on.
    pub fn read_as(&mut self, reading: Reading) {
        self.sink.options.reading = reading;
    }

    /// What the source is asked to do since the last call.
    pub fn commands(&mut self) -> std::vec::Drain<'_, Command> {
        self.sink.commands.drain(..)
    }

    /// The capture is over: what is open is emitted as it is.
    pub fn finish(&mut self, out: &mut Vec<Output>) {
        for mut connection in self.table.drain() {
            let at = connection.last;
            connection.end(
                Cause::Broken(Failure::CaptureEnded),
                at,
                &mut self.sink,
                out,
            );
        }
    }

    /// Gives up what has been idle or silent for too long; to be called from
    /// time to time with the time of the records' clock.
    pub fn expire(&mut self, now: MonoNanos, out: &mut Vec<Output>) {
        let limits = self.sink.options.limits;
        let mut over = Vec::new();
        for connection in self.table.iter_mut() {
            let silent = now.since(connection.last);
            if let Some((_, at)) = connection.failed {
                if now.since(at.max(connection.last)) > LAST_WORDS {
                    connection.end(Cause::Ended, at, &mut self.sink, out);
                }
            } else if connection.is_idle() {
                if silent > limits.idle {
                    self.sink.counters.idle += 1;
                    // An opaque one stays what it is: what follows a tunnel's
                    // start is not looked at again.
                    over.push((connection.socket, !connection.opaque));
                }
            } else if silent > limits.silent {
                over.push((connection.socket, true));
            }
        }
        for (socket, renew) in over {
            // A pool may keep a connection for longer than it is remembered.
            if renew {
                self.sink.command(Command::Renew { socket });
            }
            self.forget(socket, Cause::Broken(Failure::Expired), out);
        }
    }

    /// What was seen, and why something is missing.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.sink.counters
    }

    /// Connections that are known.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.table.len()
    }

    /// Bytes held for incomplete heads and open exchanges.
    #[must_use]
    pub fn held(&self) -> usize {
        self.sink.held
    }

    /// Takes exchanges that are done with, so that the next ones need no new
    /// memory.
    pub fn reuse(&mut self, done: &mut Spare) {
        self.sink.reuse(done);
    }

    /// One that takes no short ways.
    #[cfg(test)]
    pub(super) fn long_way(options: Options) -> Self {
        let mut assembler = Self::new(options);
        assembler.sink.long_way = true;
        assembler
    }

    /// Segments that took a short way.
    #[cfg(test)]
    pub(super) const fn shortened(&self) -> u64 {
        self.sink.shortened
    }

    #[inline(never)]
    fn push_unknown(&mut self, record: &Record<'_>, out: &mut Vec<Output>) {
        if !matches!(record.event, Event::Opened { .. } | Event::Segment(_)) {
            return;
        }
        if self.table.len() >= self.sink.options.limits.connections {
            self.evict(out);
        }
        let connection = Connection::new(record.socket, record.origins);
        if let Some(connection) = self.table.insert(connection) {
            connection.event(record, &mut self.sink, out);
        }
    }

    #[inline(never)]
    fn evict(&mut self, out: &mut Vec<Output>) -> bool {
        let Some(mut connection) = self.table.evict() else {
            return false;
        };
        self.sink.counters.evicted += 1;
        if !connection.opaque {
            // Else its next record would be of a connection without addresses.
            let socket = connection.socket;
            self.sink.command(Command::Renew { socket });
        }
        let at = connection.last;
        connection.end(Cause::Broken(Failure::Expired), at, &mut self.sink, out);
        true
    }

    fn forget(&mut self, socket: SocketId, cause: Cause, out: &mut Vec<Output>) {
        if let Some(mut connection) = self.table.remove(socket) {
            let at = connection.last;
            connection.end(cause, at, &mut self.sink, out);
        }
    }
}

impl Connection {
    /// Anything but its close.
    #[inline(never)]
    fn event(&mut self, record: &Record<'_>, sink: &mut Sink, out: &mut Vec<Output>) {
        match record.event {
            Event::Opened { local, peer, .. } => {
                self.local = Some(local);
                self.peer = Some(peer);
            }
            Event::Segment(segment) => self.segment(record, &segment, sink, out),
            Event::Ended { direction, at } => self.ended(direction, at, sink, out),
            Event::Failed {
                direction,
                errno,
                at,
            } => self.failed(direction, errno, at, sink, out),
            Event::Closed { .. } => {}
        }
    }
}
