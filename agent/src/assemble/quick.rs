//! The short way for what connections are full of: at a server to which nothing
//! is open, a request without a body that comes whole in one call, then its
//! response, whole in one call.
//!
//! It only saves work. Whatever is unusual, or not known to be usual, goes the
//! long way through [`Connection::segment`], which would do the same; a test
//! compares both.

use super::connection::Connection;
use super::exchange::{BodySize, Output};
use super::messages::{seed, tell};
use super::pairing::{Asks, Open};
use super::sink::Sink;
use super::stream::{Hidden, Phase, Stream};
use crate::capture::{Record, Segment};
use crate::http::head::{Body, Framing, RequestHead, plain_request, plain_response, response_body};
use crate::units::{Direction, Side, WireId};

/// What a connection waits for, if that is usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Pace {
    /// Nobody knows.
    #[default]
    Unknown,
    /// A request: nothing is open, missing or in doubt.
    Request,
    /// The response to the only open request, and nothing is missing or in
    /// doubt.
    Response,
}

impl Connection {
    /// Takes a segment if that can be done; false if nothing was.
    #[inline(always)]
    pub(super) fn quick_segment(
        &mut self,
        record: &Record<'_>,
        segment: &Segment<'_>,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> bool {
        if segment.head.len() != segment.len as usize {
            return false;
        }
        #[cfg(test)]
        if sink.long_way {
            return false;
        }
        let taken = match (self.pace, segment.direction) {
            (Pace::Request, Direction::In) if segment.seq == self.incoming.next => {
                self.quick_request(record, segment, sink, out).is_some()
            }
            (Pace::Response, Direction::Out) if segment.seq == self.outgoing.next => {
                self.quick_response(segment, sink, out).is_some()
            }
            _ => false,
        };
        #[cfg(test)]
        {
            sink.shortened += u64::from(taken);
        }
        taken
    }

    /// Finds out what the connection waits for.
    pub(super) fn set_pace(&mut self) {
        let between = |stream: &Stream| {
            let idle = matches!(stream.phase, Phase::Idle) && stream.partial.is_none();
            idle && stream.started && stream.hidden == Hidden::None
        };
        let usual = self.side == Some(Side::Server)
            && !self.opaque
            && self.reply.is_none()
            && self.body_of.is_none()
            && self.failed.is_none()
            && self.strange.segments == 0
            && between(&self.incoming)
            && between(&self.outgoing);
        self.pace = if usual {
            self.pairing.pace()
        } else {
            Pace::Unknown
        };
    }

    #[inline(never)]
    fn quick_request(
        &mut self,
        record: &Record<'_>,
        segment: &Segment<'_>,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> Option<()> {
        let reading = &sink.options.reading;
        // Heads are read here with the usual header only.
        if reading.context_header.is_some() {
            return None;
        }
        let head = plain_request(segment.head, reading.order)?;
        let usual = head.len == segment.head.len()
            && matches!(head.framing, Framing::Unsaid | Framing::Length(0))
            && !head.lenient
            && Asks::of(head.method) == Asks::Any;
        if !usual {
            return None;
        }
        sink.counters.requests += 1;
        sink.counters.began += 1;
        let mut exchange = sink.spare();
        let began = &mut exchange.began;
        began.serial = sink.serial();
        began.side = Side::Server;
        began.wire = WireId {
            conn: self.conn_id(Side::Server),
            request: segment.seq,
        };
        began.context = head.context;
        began.seed = seed(&began.context, head.request_id, segment.head);
        began.owner = record.owner;
        began.pid = record.pid;
        began.local = self.local;
        began.peer = self.peer;
        began.start = segment.exit;
        exchange.end = segment.exit;
        exchange.minor_version = head.minor;
        exchange.text.set(texts(&head));
        sink.hold(exchange.text.len());
        if !sink.options.only_finished {
            tell(&exchange.began, texts(&head), sink, out);
        }
        self.pairing.push_only(Open {
            exchange,
            asks: Asks::Any,
            behind_reply: false,
        });
        passed(&mut self.incoming, segment);
        self.last = self.last.max(segment.exit);
        self.pace = Pace::Response;
        Some(())
    }

    #[inline(never)]
    fn quick_response(
        &mut self,
        segment: &Segment<'_>,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> Option<()> {
        let head = plain_response(segment.head)?;
        if head.status < 200 || head.lenient {
            return None;
        }
        let behind = (segment.head.len() - head.len) as u64;
        let whole = match response_body(head.status, false, head.framing) {
            Body::Empty => behind == 0,
            Body::Counted(length) => behind == length,
            Body::Chunked | Body::UntilClose => false,
        };
        if !whole {
            return None;
        }
        let mut exchange = self.pairing.pop_only()?.exchange;
        sink.counters.responses += 1;
        sink.counters.finished += 1;
        exchange.status = Some(head.status);
        exchange.first_byte = Some(segment.entry);
        exchange.end = segment.exit;
        exchange.response_body = BodySize {
            bytes: behind,
            wire: false,
        };
        sink.release(exchange.text.len());
        out.push(Output::Finished(exchange));
        passed(&mut self.outgoing, segment);
        self.last = self.last.max(segment.exit);
        self.pace = Pace::Request;
        Some(())
    }
}

/// What of a head is kept, in the order of [`Text`](super::Text).
#[inline(always)]
pub(super) const fn texts<'a>(head: &RequestHead<'a>) -> [&'a [u8]; 5] {
    [
        head.method,
        head.target,
        head.host,
        head.user_agent,
        head.request_id,
    ]
}

/// A whole message went by.
#[inline(always)]
const fn passed(stream: &mut Stream, segment: &Segment<'_>) {
    stream.next = segment.seq.plus(segment.len);
    stream.last_exit = segment.exit;
}
