//! One direction of a connection: packets in any order in, bytes in order out.
//!
//! What continues the stream goes straight through. What comes early waits for
//! what is missing, which is given up when the receiver acknowledges it (it had
//! the bytes, the capture has not), when too much waits, or when the connection
//! or the capture ends. Where bytes come twice the first ones count: those the
//! receiver may have handed on already (RFC 9293 section 3.10.7.4 lets it trim
//! the later ones).

use std::collections::VecDeque;

use super::counters::Counters;
use crate::units::{MonoNanos, TcpSeq};

/// What a waiting piece is charged beside its bytes: it bounds their number.
const PIECE_COST: usize = 512;

/// A segment farther ahead than the largest window (RFC 7323 section 2.2) or
/// this far behind is not of this connection.
const FAR_AHEAD: u32 = 1 << 30;
const FAR_BEHIND: u32 = 1 << 26;

/// Consecutive bytes of a stream, of which a prefix is known.
#[derive(Clone, Copy, Debug)]
pub(super) struct Data<'a> {
    pub(super) seq: TcpSeq,
    pub(super) len: u32,
    pub(super) head: &'a [u8],
    pub(super) at: MonoNanos,
}

impl<'a> Data<'a> {
    /// The part from one offset to another, both within it.
    fn part(&self, from: u32, to: u32) -> Self {
        let known = self.head.len();
        let clamp = |offset: u32| (offset as usize).min(known);
        Self {
            seq: self.seq.plus(from),
            len: to - from,
            head: self.head.get(clamp(from)..clamp(to)).unwrap_or_default(),
            at: self.at,
        }
    }
}

/// How much may be held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Memory that may wait in one stream.
    pub(super) stream: usize,
    /// Memory that may wait in all connections together.
    pub(super) total: usize,
    /// Connections, open or closed.
    pub(super) connections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            stream: 4 * 1024 * 1024,
            total: 64 * 1024 * 1024,
            connections: 256 * 1024,
        }
    }
}

/// What all streams count and charge together.
#[derive(Debug, Default)]
pub(super) struct Books {
    pub(super) limits: Limits,
    pub(super) counters: Counters,
    /// Memory charged for what waits.
    pub(super) waiting: usize,
}

impl Books {
    /// Whether more waits than may.
    pub(super) const fn is_full(&self) -> bool {
        self.waiting > self.limits.total
    }

    /// What holding these bytes is charged.
    pub(super) const fn cost(bytes: usize) -> usize {
        bytes + PIECE_COST
    }
}

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    first: TcpSeq,
    next: TcpSeq,
    fin: Option<TcpSeq>,
    started: bool,
    exact: bool,
    ended: bool,
    end_acknowledged: bool,
    early: Option<Box<Early>>,
}

/// Pieces that wait, disjoint, in order, none before the stream's `next`.
#[derive(Debug, Default)]
struct Early {
    pieces: VecDeque<Piece>,
    cost: usize,
}

#[derive(Debug)]
struct Piece {
    seq: TcpSeq,
    len: u32,
    head: Box<[u8]>,
    at: MonoNanos,
}

impl Stream {
    /// The stream begins here, says the handshake.
    pub(super) const fn begin(&mut self, first: TcpSeq) {
        self.start(first);
        self.exact = true;
    }

    const fn start(&mut self, first: TcpSeq) {
        self.first = first;
        self.next = first;
        self.started = true;
    }

    /// First byte, if anything of the stream has been seen.
    pub(super) const fn first(&self) -> Option<TcpSeq> {
        if self.started { Some(self.first) } else { None }
    }

    /// First byte, if the handshake said so.
    pub(super) const fn origin(&self) -> Option<TcpSeq> {
        if self.exact { Some(self.first) } else { None }
    }

    /// Whether a number lies in what has been given out, both ends included.
    pub(super) const fn has_passed(&self, seq: TcpSeq) -> bool {
        self.started && seq.since(self.first) <= self.next.since(self.first)
    }

    /// Whether data at this number cannot belong to the stream.
    pub(super) const fn is_far(&self, seq: TcpSeq) -> bool {
        if !self.started {
            false
        } else if seq.before(self.next) {
            self.next.since(seq) > FAR_BEHIND
        } else {
            seq.since(self.next) > FAR_AHEAD
        }
    }

    /// Whether acknowledgements of the stream mean nothing now.
    pub(super) const fn is_smooth(&self) -> bool {
        self.early.is_none() && self.fin.is_none()
    }

    /// Whether its end has been reached and acknowledged.
    pub(super) const fn is_over(&self) -> bool {
        self.ended && self.end_acknowledged
    }

    /// Takes data that continues a smooth stream; false if it does not.
    #[inline]
    pub(super) fn advance(&mut self, seq: TcpSeq, len: u32, books: &mut Books) -> bool {
        if self.next != seq || !self.started {
            return false;
        }
        self.next = seq.plus(len);
        books.counters.delivered_bytes += u64::from(len);
        true
    }

    /// Takes any data.
    pub(super) fn offer(
        &mut self,
        data: &Data<'_>,
        books: &mut Books,
        out: &mut impl FnMut(&Data<'_>),
    ) {
        if !self.started {
            self.start(data.seq);
        }
        if self.ended {
            books.counters.ignored_bytes += u64::from(data.len);
            return;
        }
        let seen = if data.seq.before(self.next) {
            self.next.since(data.seq).min(data.len)
        } else {
            0
        };
        books.counters.retransmitted_bytes += u64::from(seen);
        if seen == data.len {
            return;
        }
        let data = data.part(seen, data.len);
        if self.early.is_none() && self.advance(data.seq, data.len, books) {
            out(&data);
            return;
        }
        if data.seq != self.next {
            books.counters.out_of_order += 1;
        }
        self.keep(&data, books);
        self.release(Some(data.at), books, out);
        while self.is_crowded(books) {
            books.counters.overflows += 1;
            self.give_up_first(books, out);
        }
    }

    /// The sender says that its last byte is before this number.
    pub(super) const fn finish(&mut self, end: TcpSeq) {
        if !self.started {
            self.start(end);
        }
        if self.fin.is_none() && !end.before(self.next) && !self.is_far(end) {
            self.fin = Some(end);
        }
    }

    /// The receiver has everything before this number.
    pub(super) fn acknowledge(
        &mut self,
        ack: TcpSeq,
        books: &mut Books,
        out: &mut impl FnMut(&Data<'_>),
    ) {
        while self.front().is_some_and(|front| !ack.before(front)) {
            self.give_up_first(books, out);
        }
        if let Some(fin) = self.fin
            && !ack.before(fin)
        {
            if self.early.is_none() {
                self.jump(fin, books);
            }
            self.end_acknowledged |= fin.before(ack);
        }
    }

    /// Nothing that is missing will come any more.
    pub(super) fn flush(&mut self, books: &mut Books, out: &mut impl FnMut(&Data<'_>)) {
        while self.early.is_some() {
            self.give_up_first(books, out);
        }
        if let Some(fin) = self.fin {
            self.jump(fin, books);
        }
    }

    /// Whether the end has been reached since the last time this was asked.
    pub(super) fn ends_now(&mut self, books: &mut Books) -> bool {
        if self.ended || self.fin.is_none_or(|fin| self.next.before(fin)) {
            return false;
        }
        self.ended = true;
        // What claims to be behind the end.
        while let Some(piece) = self.pop(books) {
            books.counters.ignored_bytes += u64::from(piece.len);
        }
        true
    }

    /// Number of the first byte that waits.
    fn front(&self) -> Option<TcpSeq> {
        Some(self.early.as_ref()?.pieces.front()?.seq)
    }

    fn is_crowded(&self, books: &Books) -> bool {
        self.early
            .as_ref()
            .is_some_and(|early| early.cost > books.limits.stream || books.is_full())
    }

    /// Continues behind the first hole.
    fn give_up_first(&mut self, books: &mut Books, out: &mut impl FnMut(&Data<'_>)) {
        if let Some(front) = self.front() {
            self.jump(front, books);
        }
        self.release(None, books, out);
    }

    fn jump(&mut self, to: TcpSeq, books: &mut Books) {
        if self.next.before(to) {
            books.counters.holes += 1;
            books.counters.lost_bytes += u64::from(to.since(self.next));
            self.next = to;
        }
    }

    /// Gives out what waited and is next. Its time is `filled`, when the
    /// missing bytes came and the receiver could read on; if they never did,
    /// its own.
    fn release(
        &mut self,
        filled: Option<MonoNanos>,
        books: &mut Books,
        out: &mut impl FnMut(&Data<'_>),
    ) {
        let mut at = filled.unwrap_or_default();
        while self.front() == Some(self.next)
            && let Some(piece) = self.pop(books)
        {
            at = if filled.is_some() {
                at
            } else {
                at.max(piece.at)
            };
            self.next = self.next.plus(piece.len);
            books.counters.delivered_bytes += u64::from(piece.len);
            out(&Data {
                seq: piece.seq,
                len: piece.len,
                head: &piece.head,
                at,
            });
        }
    }

    /// Lets data wait, less what waits already.
    fn keep(&mut self, data: &Data<'_>, books: &mut Books) {
        let early = self.early.get_or_insert_default();
        let base = self.next;
        let start = data.seq.since(base);
        let end = start + data.len;
        let mut at = start;
        let mut index = early
            .pieces
            .partition_point(|piece| piece.seq.plus(piece.len).since(base) <= start);
        while at < end {
            let (from, to) = early.pieces.get(index).map_or((end, end), |piece| {
                let from = piece.seq.since(base);
                (from.min(end), (from + piece.len).min(end))
            });
            if at < from {
                let part = data.part(at - start, from - start);
                let cost = Books::cost(part.head.len());
                early.cost += cost;
                books.waiting += cost;
                early.pieces.insert(
                    index,
                    Piece {
                        seq: part.seq,
                        len: part.len,
                        head: part.head.into(),
                        at: part.at,
                    },
                );
                index += 1;
                at = from;
            }
            books.counters.retransmitted_bytes += u64::from(to - at);
            at = to;
            index += 1;
        }
    }

    fn pop(&mut self, books: &mut Books) -> Option<Piece> {
        let early = self.early.as_mut()?;
        let piece = early.pieces.pop_front();
        if let Some(piece) = &piece {
            let cost = Books::cost(piece.head.len());
            early.cost -= cost;
            books.waiting -= cost;
        }
        if early.pieces.is_empty() {
            self.early = None;
        }
        piece
    }
}
