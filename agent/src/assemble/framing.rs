//! What the bytes of a stream mean: starts, heads, bodies, gaps.

use super::connection::{Connection, Strange};
use super::exchange::{Opaque, Output};
use super::opaque;
use super::plausible::is_plausible;
use super::sink::Sink;
use super::stream::{Call, First, Partial, Phase, Suffix};
use crate::http::chunked::Outcome;
use crate::http::context::context_with;
use crate::http::head::{
    EndScan, MAX_HEAD, Parsed, Start, StartLine, empty_lines, looks_like_start, parse_request,
    parse_response, start_line,
};
use crate::units::Direction;

impl Connection {
    /// Takes the next bytes of a stream; `call_start` if a call's first are
    /// among them.
    #[inline(always)]
    pub(super) fn known(
        &mut self,
        direction: Direction,
        mut bytes: &[u8],
        mut call_start: bool,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        while !bytes.is_empty() && !self.opaque {
            let taken = match &self.stream(direction).phase {
                Phase::Idle => self.start(direction, bytes, call, sink, out),
                _ => self.step(direction, bytes, call_start, call, sink, out),
            };
            call_start = false;
            bytes = bytes.get(taken..).unwrap_or_default();
        }
    }

    /// The same, of a segment of which not all is known.
    #[inline(never)]
    pub(super) fn known_part(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        call_start: bool,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        self.known(direction, bytes, call_start, call, sink, out);
    }

    /// Takes bytes where no message must start.
    #[inline(never)]
    fn step(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        call_start: bool,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> usize {
        let stream = self.stream(direction);
        let mut ended = false;
        let taken = match &mut stream.phase {
            Phase::Seek if !call_start => bytes.len(),
            Phase::Idle | Phase::Seek => {
                return self.start_somewhere(direction, bytes, call, sink, out);
            }
            Phase::Head => {
                return self.more_head(direction, bytes, call_start, call, sink, out);
            }
            Phase::Counted(left) => {
                let taken = usize::try_from(*left).map_or(bytes.len(), |n| n.min(bytes.len()));
                *left -= taken as u64;
                stream.body.data += taken as u64;
                ended = *left == 0;
                taken
            }
            Phase::Chunked(chunks) => {
                let fed = chunks.feed(bytes);
                stream.body.data += fed.data;
                stream.body.wire += fed.consumed as u64;
                match fed.outcome {
                    Outcome::More => {}
                    Outcome::Done => ended = true,
                    Outcome::Broken => {
                        sink.counters.chunks_lost += 1;
                        stream.lose_chunks();
                    }
                }
                fed.consumed
            }
            Phase::ChunksLost(last) => {
                // Only its first call's bytes can show that the body is over.
                if call_start
                    && last.may_end()
                    && is_plausible(bytes)
                    && self.fits(direction, looks_like_start(bytes))
                {
                    let end = self.stream(direction).last_exit;
                    self.message_over(direction, end, sink, out);
                    return 0;
                }
                let stream = self.stream(direction);
                stream.body.wire += bytes.len() as u64;
                if let Phase::ChunksLost(last) = &mut stream.phase {
                    last.extend(bytes);
                }
                bytes.len()
            }
            Phase::UntilClose => {
                stream.body.data += bytes.len() as u64;
                bytes.len()
            }
        };
        self.advance(direction, taken);
        if ended {
            self.message_over(direction, call.exit, sink, out);
        }
        taken
    }

    #[inline(always)]
    fn advance(&mut self, direction: Direction, count: usize) {
        let stream = self.stream(direction);
        // A segment's bytes, counted in 32 bits.
        stream.next = stream.next.plus(count as u32);
    }

    /// Whether a message that starts like this can come in this direction.
    #[inline(always)]
    fn fits(&self, direction: Direction, start: Start) -> bool {
        match start {
            Start::No => false,
            Start::TooShort => true,
            Start::Request => self.requests().is_none_or(|requests| requests == direction),
            Start::Response => self.requests().is_none_or(|requests| requests != direction),
        }
    }

    #[inline(never)]
    fn start_somewhere(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> usize {
        self.start(direction, bytes, call, sink, out)
    }

    /// A message must, or may, start here.
    #[inline(always)]
    fn start(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> usize {
        let empty = match bytes.first() {
            Some(b'\r' | b'\n') => empty_lines(bytes),
            _ => 0,
        };
        let rest = bytes.get(empty..).unwrap_or_default();
        self.advance(direction, empty);
        if rest.is_empty() {
            return bytes.len();
        }
        let stream = self.stream(direction);
        let first = First {
            seq: stream.next,
            call: *call,
        };
        let expected = matches!(stream.phase, Phase::Idle);
        let head = rest.get(..MAX_HEAD).unwrap_or(rest);
        let kind = looks_like_start(head);
        let fits = self.fits(direction, kind) && (expected || is_plausible(rest));
        match self.message(direction, kind, fits, head, &first, call, sink, out) {
            Parsed::Complete(len) => {
                self.advance(direction, len);
                empty + len
            }
            unread => {
                let partial = matches!(unread, Parsed::Partial);
                empty
                    + self.unread_start(direction, rest, expected, partial, &first, call, sink, out)
            }
        }
    }

    /// What starts here is no whole head, or none at all.
    #[expect(clippy::too_many_arguments, reason = "one call site's locals")]
    #[inline(never)]
    fn unread_start(
        &mut self,
        direction: Direction,
        rest: &[u8],
        expected: bool,
        partial: bool,
        first: &First,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> usize {
        if partial {
            let stream = self.stream(direction);
            stream.phase = Phase::Head;
            stream.partial = Some(Box::new(Partial {
                bytes: Vec::new(),
                scan: EndScan::default(),
                line_checked: false,
                expected,
                first: *first,
            }));
            self.more_head(direction, rest, false, call, sink, out)
        } else {
            self.not_a_start(direction, rest, expected, call, sink, out);
            self.advance(direction, rest.len());
            rest.len()
        }
    }

    /// Tries to read a whole head.
    #[expect(clippy::too_many_arguments, reason = "one call site's locals, twice")]
    #[inline(always)]
    fn message(
        &mut self,
        direction: Direction,
        kind: Start,
        fits: bool,
        head: &[u8],
        first: &First,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> Parsed<usize> {
        match kind {
            _ if !fits => Parsed::Refused,
            Start::No => Parsed::Refused,
            Start::TooShort => Parsed::Partial,
            Start::Request => match parse_request(head, sink.options.reading.order) {
                Parsed::Complete(mut parsed) => {
                    let len = parsed.len;
                    let bytes = head.get(..len).unwrap_or(head);
                    if let Some(name) = &sink.options.reading.context_header {
                        let order = sink.options.reading.order;
                        parsed.context = context_with(bytes, order, name.as_bytes());
                    }
                    self.request(direction, &parsed, bytes, first, sink, out);
                    Parsed::Complete(len)
                }
                Parsed::Partial => Parsed::Partial,
                Parsed::Refused => Parsed::Refused,
            },
            Start::Response => match parse_response(head) {
                Parsed::Complete(parsed) => {
                    self.response(direction, &parsed, first, call, sink, out);
                    Parsed::Complete(parsed.len)
                }
                Parsed::Partial => Parsed::Partial,
                Parsed::Refused => Parsed::Refused,
            },
        }
    }

    /// The same, of a head that came in parts.
    #[expect(clippy::too_many_arguments, reason = "one call site's locals, twice")]
    #[inline(never)]
    fn held_message(
        &mut self,
        direction: Direction,
        kind: Start,
        fits: bool,
        head: &[u8],
        first: &First,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> Parsed<usize> {
        self.message(direction, kind, fits, head, first, call, sink, out)
    }

    /// Holds bytes of a head until its end is there.
    #[inline(never)]
    fn more_head(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        call_start: bool,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) -> usize {
        let stream = self.stream(direction);
        let Some(mut partial) = stream.partial.take() else {
            stream.phase = Phase::Seek;
            return 0;
        };
        stream.phase = Phase::Idle;
        let before = partial.bytes.len();
        sink.release(before);
        let room = bytes.get(..MAX_HEAD - before).unwrap_or(bytes);
        partial.bytes.extend_from_slice(room);
        let end = partial.scan.find(&partial.bytes);
        let is_http = partial.line_is_http();
        let held = partial
            .bytes
            .get(..end.unwrap_or(usize::MAX).min(partial.bytes.len()))
            .unwrap_or_default();
        let kind = looks_like_start(held);
        let fits = is_http && self.fits(direction, kind);
        if let Some(end) = end {
            let first = partial.first;
            let read = self.held_message(direction, kind, fits, held, &first, call, sink, out);
            if let Parsed::Complete(_) = read {
                let taken = end.saturating_sub(before);
                self.advance(direction, taken);
                return taken;
            }
        }
        if !fits && call_start && !partial.expected {
            // A body's text looked like the start of a line. The start that
            // was waited for may be here.
            self.stream(direction).phase = Phase::Seek;
            return self.start_somewhere(direction, bytes, call, sink, out);
        }
        if !fits || end.is_some() {
            self.not_a_start(direction, held, partial.expected, call, sink, out);
        } else if partial.bytes.len() == MAX_HEAD {
            sink.counters.heads_too_long += 1;
            self.head_lost(direction, call, sink, out);
        } else if sink.is_full() {
            sink.counters.heads_no_room += 1;
            self.head_lost(direction, call, sink, out);
        } else {
            sink.hold(partial.bytes.len());
            let stream = self.stream(direction);
            stream.phase = Phase::Head;
            stream.partial = Some(partial);
        }
        self.advance(direction, bytes.len());
        bytes.len()
    }

    /// No record covers these bytes, and nobody knows which calls moved them.
    pub(super) fn missing(
        &mut self,
        direction: Direction,
        count: u32,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let stream = self.stream(direction);
        if !stream.skipped(count) {
            sink.counters.gaps += 1;
        }
        self.unknown(direction, count, true, call, sink, out);
    }

    /// Passes over bytes that are not known, `lost` if whole records are.
    pub(super) fn unknown(
        &mut self,
        direction: Direction,
        count: u32,
        lost: bool,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let stream = self.stream(direction);
        let mut passed = count;
        match &mut stream.phase {
            Phase::Seek => {}
            Phase::Idle => {
                if lost {
                    sink.counters.heads_lost += 1;
                } else {
                    sink.counters.starts_unseen += 1;
                }
                stream.lose_start();
            }
            Phase::Head => {
                sink.counters.heads_lost += 1;
                self.head_lost(direction, call, sink, out);
            }
            Phase::Counted(left) => {
                passed = u32::try_from(*left).map_or(count, |left| left.min(count));
                *left -= u64::from(passed);
                stream.body.data += u64::from(passed);
                if *left == 0 {
                    self.message_over(direction, call.exit, sink, out);
                }
            }
            Phase::Chunked(chunks) => {
                stream.body.wire += u64::from(count);
                if chunks.skip(u64::from(count)) == Outcome::More {
                    stream.body.data += u64::from(count);
                } else {
                    sink.counters.chunks_lost += 1;
                    stream.lose_chunks();
                    stream.may_hide(lost);
                }
            }
            Phase::ChunksLost(last) => {
                *last = Suffix::default();
                stream.body.wire += u64::from(count);
                stream.may_hide(lost);
            }
            Phase::UntilClose => stream.body.data += u64::from(count),
        }
        let stream = self.stream(direction);
        stream.next = stream.next.plus(passed);
        if passed < count {
            self.unknown(direction, count - passed, lost, call, sink, out);
        }
    }

    /// A body whose framing was lost ends with a call that ends like one.
    #[inline(always)]
    pub(super) fn chunks_may_end(
        &mut self,
        direction: Direction,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        if let Phase::ChunksLost(last) = &self.stream(direction).phase
            && last.ends_body()
        {
            self.message_over(direction, call.exit, sink, out);
        }
    }

    /// These bytes start no message, though one must or may start here.
    fn not_a_start(
        &mut self,
        direction: Direction,
        bytes: &[u8],
        expected: bool,
        call: &Call,
        sink: &mut Sink,
        out: &mut Vec<Output>,
    ) {
        let known_side = self.side.is_some();
        let stream = self.stream(direction);
        stream.phase = Phase::Seek;
        if known_side {
            stream.lose_start();
        }
        if expected && known_side {
            sink.counters.not_a_start += 1;
        }
        self.strange.note(direction, bytes);
        let protocol = if known_side {
            None
        } else {
            opaque::recognise(bytes)
        };
        let protocol = match protocol {
            Some(protocol) => Some(protocol),
            None if self.strange.is_tls() && !known_side => Some(Opaque::Tls),
            None if expected && !known_side => Some(Opaque::Other),
            None if self.strange.is_not_http(known_side) => Some(Opaque::Other),
            None => None,
        };
        if let Some(protocol) = protocol {
            self.go_opaque(protocol, call, sink, out);
        }
    }

    pub(super) fn nothing_strange(&mut self) {
        self.strange = Strange::default();
    }
}

impl Partial {
    /// Whether the first line is HTTP/1's as far as it is there. Where no
    /// message must start, blanks in a target are not forgiven.
    fn line_is_http(&mut self) -> bool {
        if !self.line_checked
            && let Some(len) = self.scan.first_line()
        {
            let line = self.bytes.get(..len).unwrap_or_default();
            self.line_checked = match start_line(line) {
                Some(StartLine::Request { target, .. }) => {
                    self.expected || !target.iter().any(|&byte| byte <= b' ')
                }
                Some(StartLine::Response { .. }) => true,
                None => false,
            };
            return self.line_checked;
        }
        true
    }
}
