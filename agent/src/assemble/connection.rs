//! One connection: segments come in, positions are kept, gaps are found.
//!
//! What the bytes mean is in [`super::framing`], what messages mean in
//! [`super::messages`], how it ends in [`super::ends`].

use super::exchange::{Opaque, Output};
use super::pairing::{Pairing, Reply};
use super::quick::Pace;
use super::sink::Sink;
use super::stream::{Call, Piece, Stream};
use crate::capture::{Command, Record, Segment};
use crate::units::{Direction, Endpoint, MonoNanos, Origins, Side, SocketId};

use super::exchange::Failure;

/// One socket while it lives.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: SocketId,
    pub(super) origins: Origins,
    /// Something happened since the eviction's hand came by.
    pub(super) touched: bool,
    /// Time of the last record.
    pub(super) last: MonoNanos,
    pub(super) local: Option<Endpoint>,
    pub(super) peer: Option<Endpoint>,
    /// Fixed by the first message.
    pub(super) side: Option<Side>,
    /// Not HTTP/1, or not any more.
    pub(super) opaque: bool,
    /// Seen from its first byte.
    pub(super) fresh: bool,
    pub(super) incoming: Stream,
    pub(super) outgoing: Stream,
    /// The response under way.
    pub(super) reply: Option<Reply>,
    pub(super) pairing: Pairing,
    /// Serial of the exchange whose request body is under way.
    pub(super) body_of: Option<u64>,
    pub(super) strange: Strange,
    /// A send failed and a response may still be read.
    pub(super) failed: Option<(Failure, MonoNanos)>,
    /// What the short way may take next.
    pub(super) pace: Pace,
}

/// Signs that a connection picked up in the middle is not HTTP.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Strange {
    /// Segments that begin no message while nobody knows what they are.
    pub(super) segments: u32,
    /// How often their direction changed.
    pub(super) turns: u16,
    pub(super) last: Option<Direction>,
    /// How many look like TLS records.
    pub(super) tls: u8,
}

impl Connection {
    pub(super) fn new(socket: SocketId, origins: Origins) -> Self {
        Self {
            socket,
            origins,
            touched: true,
            last: MonoNanos::default(),
            local: None,
            peer: None,
            side: None,
            opaque: false,
            fresh: false,
            incoming: Stream::default(),
            outgoing: Stream::default(),
            reply: None,
            pairing: Pairing::default(),
            body_of: None,
            strange: Strange::default(),
            failed: None,
            pace: Pace::Unknown,
        }
    }

    #[inline(always)]
    pub(super) fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::In => &mut self.incoming,
            Direction::Out => &mut self.outgoing,
        }
    }

    /// The direction of requests, once it is known.
    #[inline(always)]
    pub(super) fn requests(&self) -> Option<Direction> {
        self.side.map(|side| match side {
            Side::Client => Direction::Out,
            Side::Server => Direction::In,
        })
    }

    /// Whether nothing is open that would be lost with it.
    pub(super) fn is_idle(&self) -> bool {
        self.pairing.is_empty()
    }

    /// Bytes moved.
    #[inline(never)]
    pub(super) fn segment(
        &mut self,
        record: &Record<'_>,
        segment: &Segment<'_>,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let direction = segment.direction;
        self.last = self.last.max(segment.exit);
        if self.opaque || segment.len == 0 {
            return;
        }
        let call = Call {
            entry: segment.entry,
            exit: segment.exit,
            owner: record.owner,
            pid: record.pid,
        };
        let stream = self.stream(direction);
        let continues = stream.started && segment.seq == stream.next;
        if continues && segment.head.len() == segment.len as usize {
            self.known(direction, segment.head, true, &call, sink, out);
        } else if !self.unusual_segment(segment, &call, sink, out) {
            return;
        }
        self.behind_segment(direction, &call, sink, out);
    }

    /// Bytes moved that are not all known, or do not continue the stream;
    /// false if they only repeat it.
    #[inline(never)]
    fn unusual_segment(
        &mut self,
        segment: &Segment<'_>,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> bool {
        let direction = segment.direction;
        let mut piece = Piece::of(segment);
        if !self.stream(direction).started {
            self.begin(segment, sink);
        }
        let stream = self.stream(direction);
        if segment.seq != stream.next {
            if segment.seq.before(stream.next) {
                let known = stream.next.since(segment.seq);
                if known >= segment.len {
                    sink.counters.repeated += 1;
                    return false;
                }
                piece.trim(known);
            } else {
                let missing = segment.seq.since(stream.next);
                // What moved them is not known: the best guess for the end of
                // a message among them is the last call that is.
                let unseen = Call {
                    exit: stream.last_exit,
                    ..*call
                };
                self.missing(direction, missing, &unseen, sink, out);
            }
        }
        self.known_part(direction, piece.head, true, call, sink, out);
        if piece.unknown > 0 {
            self.unknown(direction, piece.unknown, false, call, sink, out);
        }
        if !piece.tail.is_empty() {
            self.known_part(direction, piece.tail, false, call, sink, out);
        }
        true
    }

    /// The first segment of a stream. If the other stream was seen from its
    /// first byte, what is missing from this one is lost, and the other way
    /// round; otherwise the connection is picked up here.
    fn begin(&mut self, segment: &Segment<'_>, sink: &mut Sink) {
        let origins = self.origins;
        let origin = match segment.direction {
            Direction::In => origins.peer,
            Direction::Out if origins.exact => origins.local,
            // One less at the end that opened the connection.
            Direction::Out => match segment.seq.since(origins.local) {
                0 => origins.local,
                _ => origins.local.plus(1),
            },
        };
        let at_origin = origins.known && segment.seq == origin;
        let fresh_before = self.fresh;
        self.fresh |= at_origin;
        if at_origin && self.requests().is_some_and(|d| d != segment.direction) && !fresh_before {
            self.pairing.requests_were_hidden(sink);
        }
        let fresh = self.fresh && origins.known && !segment.seq.before(origin);
        let stream = self.stream(segment.direction);
        stream.begin(if fresh { origin } else { segment.seq }, fresh);
    }

    #[inline(always)]
    fn behind_segment(
        &mut self,
        direction: Direction,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        self.chunks_may_end(direction, call, sink, out);
        let (socket, origins) = (self.socket, self.origins);
        let opaque = self.opaque;
        let stream = self.stream(direction);
        stream.last_exit = call.exit;
        if !opaque && let Some(seq) = stream.worth_skipping() {
            sink.command(Command::SkipTo {
                socket,
                origins,
                direction,
                seq,
            });
        }
    }

    /// HTTP/1 is not what this connection speaks, or not any more.
    pub(super) fn go_opaque(
        &mut self,
        protocol: Opaque,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        self.pairing.lose_all(call.exit, sink, out);
        self.release(sink);
        self.opaque = true;
        let counters = &mut sink.counters;
        *match protocol {
            Opaque::Tls => &mut counters.tls,
            Opaque::Http2 => &mut counters.http2,
            Opaque::Upgraded => &mut counters.upgraded,
            Opaque::Other => &mut counters.other,
        } += 1;
        out.push(Output::Opaque {
            owner: call.owner,
            pid: call.pid,
            protocol,
        });
        sink.command(Command::Ignore {
            socket: self.socket,
            origins: self.origins,
        });
    }

    /// Gives back what is held for incomplete heads.
    pub(super) fn release(&mut self, sink: &mut Sink) {
        for stream in [&mut self.incoming, &mut self.outgoing] {
            if let Some(partial) = stream.partial.take() {
                sink.release(partial.bytes.len());
            }
        }
    }
}
