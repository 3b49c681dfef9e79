//! How connections end, and what that means for what is open.

use super::connection::Connection;
use super::exchange::{Failure, Output};
use super::pairing::{Answers, Reply};
use super::sink::Sink;
use super::stream::{Hidden, Phase};
use crate::http::head::{StartLine, start_line};
use crate::units::{Direction, MonoNanos, Side};

/// Why nothing more will come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cause {
    /// The stream of responses, or the whole connection, ended in order.
    Ended,
    /// Something else, which is the failure of all that is open.
    Broken(Failure),
}

const EPIPE: i32 = 32;
const ECONNABORTED: i32 = 103;
const ECONNRESET: i32 = 104;
const ETIMEDOUT: i32 = 110;
const ECONNREFUSED: i32 = 111;
const EHOSTDOWN: i32 = 112;
const EHOSTUNREACH: i32 = 113;
const ENETDOWN: i32 = 100;
const ENETUNREACH: i32 = 101;
const ENETRESET: i32 = 102;
const EPROTO: i32 = 71;

/// What an errno means for the connection; most mean nothing, as `EAGAIN`.
fn failure(errno: i32) -> Option<Failure> {
    match errno {
        ECONNRESET | EPIPE | ECONNABORTED => Some(Failure::Reset),
        ETIMEDOUT | ECONNREFUSED | EHOSTDOWN | EHOSTUNREACH | ENETDOWN | ENETUNREACH
        | ENETRESET | EPROTO => Some(Failure::ConnectionFailed),
        _ => None,
    }
}

impl Connection {
    /// No bytes will follow in this direction.
    pub(super) fn ended(
        &mut self,
        direction: Direction,
        at: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        self.last = self.last.max(at);
        if self.opaque || self.side.is_none() {
            return;
        }
        if self.requests() == Some(direction) {
            self.requests_end(direction, Failure::RequestCut, sink);
        } else {
            self.responses_end(Cause::Ended, at, sink, out);
        }
    }

    /// The connection failed.
    ///
    /// A client that fails to send may still read a response that was sent
    /// before (413 to a body, or what answers an earlier request):
    /// `tcp_recvmsg` looks at what was received before it looks for errors.
    /// Then the close decides.
    pub(super) fn failed(
        &mut self,
        direction: Direction,
        errno: i32,
        at: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        self.last = self.last.max(at);
        let Some(failure) = failure(errno) else {
            return;
        };
        let may_be_answered = self.outgoing.in_body() || !self.pairing.is_empty();
        if self.side == Some(Side::Client) && direction == Direction::Out && may_be_answered {
            self.failed.get_or_insert((failure, at));
        } else {
            self.end(Cause::Broken(failure), at, sink, out);
        }
    }

    /// Nothing more will come in any direction.
    pub(super) fn end(
        &mut self,
        cause: Cause,
        at: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let (cause, at) = match self.failed.take() {
            Some((failure, at)) => (Cause::Broken(failure), at),
            None => (cause, at),
        };
        if self.side.is_some() && !self.opaque {
            if let Some(direction) = self.requests() {
                let failure = match cause {
                    Cause::Ended => Failure::RequestCut,
                    Cause::Broken(failure) => failure,
                };
                self.requests_end(direction, failure, sink);
            }
            self.responses_end(cause, at, sink, out);
        }
        self.release(sink);
    }

    /// The stream of requests ends: what is under way is cut short, what is
    /// complete may still be answered.
    fn requests_end(&mut self, direction: Direction, failure: Failure, sink: &mut Sink) {
        self.store_request_body();
        let stream = self.stream(direction);
        let cut = match stream.phase {
            Phase::Counted(_) | Phase::Chunked(_) => true,
            Phase::Head => {
                sink.counters.heads_cut += 1;
                false
            }
            _ => false,
        };
        if let Some(partial) = stream.partial.take() {
            sink.release(partial.bytes.len());
        }
        stream.hidden = stream.unseen();
        stream.idle();
        let serial = self.body_of.take();
        if cut && let Some(exchange) = serial.and_then(|serial| self.pairing.find(serial)) {
            exchange.failure = Some(failure);
        }
    }

    /// The stream of responses ends.
    fn responses_end(
        &mut self,
        cause: Cause,
        at: MonoNanos,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let client = self.side == Some(Side::Client);
        let direction = if client {
            Direction::In
        } else {
            Direction::Out
        };
        self.store_request_body();
        let requests = self.requests().map(|d| self.stream(d).unseen());
        let stream = self.stream(direction);
        let all_seen = requests == Some(Hidden::None) && stream.unseen() == Hidden::None;
        let phase = stream.phase;
        let last_exit = stream.last_exit;
        if let Some(reply) = self.cut_head(direction, sink, out) {
            self.reply = Some(reply);
        }
        let body = self.stream(direction).idle();
        if let Some(reply) = self.reply.take() {
            let (failure, end) = match (cause, phase) {
                (Cause::Ended, Phase::UntilClose) => (None, last_exit),
                (Cause::Ended, Phase::ChunksLost(_)) => (Some(Failure::Lost), last_exit),
                (Cause::Ended, _) => (Some(Failure::ResponseCut), at),
                (Cause::Broken(failure), _) => (Some(failure), at),
            };
            let reply = Reply {
                end,
                body,
                failure,
                ..reply
            };
            self.pairing.complete(reply, client, sink, out);
        }
        let failure = match cause {
            Cause::Ended => Failure::NoResponse,
            Cause::Broken(failure) => failure,
        };
        self.pairing.end(failure, all_seen, at, sink, out);
    }

    /// A response head that is cut short still says its status, if its first
    /// line is there.
    fn cut_head(
        &mut self,
        direction: Direction,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> Option<Reply> {
        let partial = self.stream(direction).partial.take()?;
        sink.release(partial.bytes.len());
        sink.counters.heads_cut += 1;
        let line = partial.scan.first_line()?;
        let line = start_line(partial.bytes.get(..line)?)?;
        let StartLine::Response { status, .. } = line else {
            return None;
        };
        if matches!(status, 100..=199) {
            return None;
        }
        let call = partial.first.call;
        let (answers, _) = self.pairing.bind(call.exit, sink, out);
        matches!(answers, Answers::Known(_) | Answers::Doubt).then_some(Reply {
            status,
            first_byte: match self.side {
                Some(Side::Server) => call.entry,
                _ => call.exit,
            },
            end: call.exit,
            body: Default::default(),
            failure: None,
            lenient: false,
            answers,
        })
    }
}
