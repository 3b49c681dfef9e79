//! One connection: who is who, both streams, and its end.

use super::decode::{Flags, Segment};
use super::owners::Owners;
use super::side::{Looks, client_by_port, looks};
use super::stream::{Books, Data, Stream};
use super::table::{End, Key, Pair};
use super::view::{Observe, View};
use crate::capture::Record;
use crate::units::{MonoNanos, TcpSeq};

/// Segments that wait for somebody to show who is the client.
const MAX_HELD: usize = 4;

/// What all connections have in common.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) observe: Observe,
    pub(super) owners: Owners,
    pub(super) books: Books,
    /// Connections to which it matters what is acknowledged: bytes are missing,
    /// or the end is near. While there are none, packets without data and flags
    /// need not be looked at.
    pub(super) heeding: usize,
}

/// What a segment did to its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Alive,
    /// It is over; only late copies of its packets are to be expected.
    Closed,
    /// The segment is of another connection between the same ports, and has
    /// not been looked at.
    Reused,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    key: Key,
    number: u64,
    last: MonoNanos,
    streams: Pair<Stream>,
    /// Who sent the SYN, if that was seen.
    opener: Option<End>,
    /// Set once data has been seen and it is clear whose it is.
    view: Option<View>,
    held: Vec<Held>,
    closed: bool,
    /// Segments that continue their stream need no further thought.
    smooth: bool,
    /// It is counted as heeding.
    heeds: bool,
}

/// A segment that waits.
#[derive(Debug)]
struct Held {
    from: End,
    seq: TcpSeq,
    ack: TcpSeq,
    flags: Flags,
    len: u32,
    head: Box<[u8]>,
    at: MonoNanos,
}

impl Connection {
    pub(super) fn new(key: Key, number: u64) -> Self {
        Self {
            key,
            number,
            last: MonoNanos::default(),
            streams: Pair::default(),
            opener: None,
            view: None,
            held: Vec::new(),
            closed: false,
            smooth: false,
            heeds: false,
        }
    }

    pub(super) const fn key(&self) -> Key {
        self.key
    }

    /// Tells it from others between the same ports.
    pub(super) const fn number(&self) -> u64 {
        self.number
    }

    /// When its last packet was captured, but for acknowledgements that nobody
    /// heeds.
    pub(super) const fn last(&self) -> MonoNanos {
        self.last
    }

    pub(super) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// Takes data, or the absence of it, if it continues its stream and that is
    /// all there is to it.
    #[inline(always)]
    pub(super) fn take_plain(
        &mut self,
        from: End,
        data: Data<'_>,
        books: &mut Books,
        sink: &mut impl FnMut(Record<'_>),
    ) -> bool {
        if !self.smooth {
            return false;
        }
        if data.len > 0 {
            let stream = self.streams.of_mut(from);
            let Some(view) = &self.view else { return false };
            if !stream.advance(data.seq, data.len, books) {
                return false;
            }
            books.counters.payload_bytes += u64::from(data.len);
            view.moved(from, &data, sink);
        }
        books.counters.tcp += 1;
        self.last = data.at;
        true
    }

    /// Takes any segment.
    pub(super) fn take(
        &mut self,
        segment: &Segment<'_>,
        shared: &mut Shared,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Outcome {
        self.last = segment.at;
        let outcome = self.take_any(segment, shared, sink);
        self.settle(shared);
        outcome
    }

    /// Keeps in mind what the next packets can be spared.
    fn settle(&mut self, shared: &mut Shared) {
        let simple = self.streams.low.is_smooth() && self.streams.high.is_smooth();
        self.smooth = simple && !self.closed && self.view.is_some();
        let heeds = !(self.closed || simple && self.held.is_empty());
        shared.heeding += usize::from(heeds);
        shared.heeding -= usize::from(self.heeds);
        self.heeds = heeds;
    }

    fn take_any(
        &mut self,
        segment: &Segment<'_>,
        shared: &mut Shared,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Outcome {
        let mut segment = *segment;
        if segment.flags.any(Flags::SYN) {
            if !self.handshake(&segment) {
                return Outcome::Reused;
            }
            // The SYN has a number of its own (RFC 9293 section 3.4).
            segment.seq = segment.seq.plus(1);
        }
        if segment.len > 0 && self.streams.of(segment.from).is_far(segment.seq) {
            return Outcome::Reused;
        }
        if self.closed {
            shared.books.counters.ignored_bytes += u64::from(segment.len);
            return Outcome::Alive;
        }
        if self.view.is_none() && (segment.len > 0 || !self.held.is_empty()) {
            match self.client(&segment, &shared.books) {
                Some(client) => {
                    self.open(client, shared, sink);
                    if self.closed {
                        shared.books.counters.ignored_bytes += u64::from(segment.len);
                        return Outcome::Closed;
                    }
                }
                None => {
                    self.hold(&segment, &mut shared.books);
                    return Outcome::Alive;
                }
            }
        }
        self.step(&segment, shared, sink)
    }

    /// Learns from a SYN or SYN-ACK where streams begin; false if it belongs to
    /// another connection (RFC 9293 section 3.5).
    fn handshake(&mut self, segment: &Segment<'_>) -> bool {
        let from = segment.from;
        let first = segment.seq.plus(1);
        if let Some(known) = self.streams.of(from).first() {
            return known == first;
        }
        let other = self.streams.of_mut(from.other());
        if segment.flags.any(Flags::ACK) {
            // What it acknowledges is the client's SYN and, with TCP Fast Open,
            // data behind it (RFC 7413 section 3).
            if other.first().is_none() {
                other.begin(segment.ack);
            } else if !other.has_passed(segment.ack) && self.held.is_empty() {
                return false;
            }
            self.opener = Some(from.other());
        } else {
            if other.first().is_some() {
                return false;
            }
            self.opener = Some(from);
        }
        self.streams.of_mut(from).begin(first);
        true
    }

    /// Who the client is, as far as can be said with this segment.
    fn client(&self, segment: &Segment<'_>, books: &Books) -> Option<End> {
        let whole = self.streams.low.origin().and(self.streams.high.origin());
        let late = self.held.len() >= MAX_HELD
            || segment.flags.any(Flags::FIN | Flags::RST)
            || books.is_full();
        match (self.opener, looks(segment.head)) {
            (Some(client), _) if whole.is_some() || late || segment.from != client => Some(client),
            (Some(_), _) => None,
            (None, Looks::Request) => Some(segment.from),
            (None, Looks::Response) => Some(segment.from.other()),
            (None, Looks::Neither) => late.then(|| client_by_port(&self.key)),
        }
    }

    /// Lets data wait until it is known whose it is.
    fn hold(&mut self, segment: &Segment<'_>, books: &mut Books) {
        if segment.len == 0 {
            return;
        }
        books.waiting += Books::cost(segment.head.len());
        self.held.push(Held {
            from: segment.from,
            seq: segment.seq,
            ack: segment.ack,
            flags: segment.flags,
            len: segment.len,
            head: segment.head.into(),
            at: segment.at,
        });
    }

    /// The first data is there: says so, with what waited for this.
    fn open(&mut self, client: End, shared: &mut Shared, sink: &mut impl FnMut(Record<'_>)) {
        let origins = self
            .streams
            .of(client)
            .origin()
            .zip(self.streams.of(client.other()).origin());
        shared.books.counters.connections += 1;
        shared.books.counters.midway += u64::from(origins.is_none());
        let view = View::new(
            self.number,
            shared.observe,
            &self.key,
            client,
            origins,
            &mut shared.owners,
        );
        view.opened(&self.key, sink);
        self.view = Some(view);
        for held in std::mem::take(&mut self.held) {
            shared.books.waiting -= Books::cost(held.head.len());
            if self.closed {
                shared.books.counters.ignored_bytes += u64::from(held.len);
                continue;
            }
            let segment = Segment {
                key: self.key,
                from: held.from,
                seq: held.seq,
                ack: held.ack,
                flags: held.flags,
                len: held.len,
                head: &held.head,
                at: held.at,
            };
            // Neither FIN nor RST is ever held, but this may acknowledge FINs
            // that came before any data.
            self.step(&segment, shared, sink);
        }
    }

    /// Takes a segment of an open connection, or one without data of any: first
    /// what it says of the other's stream, then what it adds to its own.
    fn step(
        &mut self,
        segment: &Segment<'_>,
        shared: &mut Shared,
        sink: &mut impl FnMut(Record<'_>),
    ) -> Outcome {
        let (from, at) = (segment.from, segment.at);
        let books = &mut shared.books;
        let view = self.view.as_ref();
        if segment.flags.any(Flags::ACK) {
            let stream = self.streams.of_mut(from.other());
            let mut out = |data: &Data<'_>| {
                if let Some(view) = view {
                    view.moved(from.other(), data, sink);
                }
            };
            stream.acknowledge(segment.ack, books, &mut out);
            if stream.ends_now(books)
                && let Some(view) = view
            {
                view.ended(from.other(), at, sink);
            }
        }
        if segment.flags.any(Flags::RST) {
            // Its payload, if any, is a text about the reason (RFC 9293
            // section 3.5.3).
            books.counters.ignored_bytes += u64::from(segment.len);
            self.flush(at, shared, sink);
            if let Some(view) = &self.view {
                view.reset(from, at, sink);
            }
            return self.close(at, sink);
        }
        let stream = self.streams.of_mut(from);
        if segment.len > 0 {
            let mut out = |data: &Data<'_>| {
                if let Some(view) = view {
                    view.moved(from, data, sink);
                }
            };
            stream.offer(&data(segment), books, &mut out);
        }
        if segment.flags.any(Flags::FIN) {
            stream.finish(segment.seq.plus(segment.len));
        }
        if stream.ends_now(books)
            && let Some(view) = view
        {
            view.ended(from, at, sink);
        }
        if self.streams.low.is_over() && self.streams.high.is_over() {
            return self.close(at, sink);
        }
        Outcome::Alive
    }

    /// Nothing more will come: gives out what waits, the client's first.
    fn flush(&mut self, at: MonoNanos, shared: &mut Shared, sink: &mut impl FnMut(Record<'_>)) {
        let Some(view) = &self.view else { return };
        for end in [view.client(), view.client().other()] {
            let stream = self.streams.of_mut(end);
            let mut out = |data: &Data<'_>| view.moved(end, data, sink);
            stream.flush(&mut shared.books, &mut out);
            if stream.ends_now(&mut shared.books) {
                view.ended(end, at, sink);
            }
        }
    }

    fn close(&mut self, at: MonoNanos, sink: &mut impl FnMut(Record<'_>)) -> Outcome {
        self.closed = true;
        if let Some(view) = &self.view {
            view.closed(at, sink);
        }
        Outcome::Closed
    }

    /// The capture says no more of it: gives out what waits.
    pub(super) fn finish(&mut self, shared: &mut Shared, sink: &mut impl FnMut(Record<'_>)) {
        if !self.held.is_empty() {
            let client = self.opener.unwrap_or_else(|| client_by_port(&self.key));
            self.open(client, shared, sink);
        }
        if !self.closed {
            self.flush(self.last, shared, sink);
        }
        self.settle(shared);
    }

    /// It is forgotten: gives out what waits, and closes it.
    pub(super) fn forget(
        mut self,
        at: MonoNanos,
        shared: &mut Shared,
        sink: &mut impl FnMut(Record<'_>),
    ) {
        self.finish(shared, sink);
        if !self.closed {
            self.close(at, sink);
            self.settle(shared);
        }
    }
}

#[inline]
const fn data<'a>(segment: &Segment<'a>) -> Data<'a> {
    Data {
        seq: segment.seq,
        len: segment.len,
        head: segment.head,
        at: segment.at,
    }
}
