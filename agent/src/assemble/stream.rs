//! One direction of a connection: where it stands and what comes next.

use super::exchange::BodySize;
use crate::capture::Segment;
use crate::http::chunked::{Chunks, ends_body};
use crate::http::head::EndScan;
use crate::units::{MonoNanos, OwnerId, TcpSeq};

/// Bytes of a body that must be outstanding before the source is asked to
/// skip them.
const WORTH_SKIPPING: u64 = 16 * 1024;
/// Farthest a skip goes at once, so that numbers stay comparable (RFC 1982).
const FARTHEST_SKIP: u64 = 1 << 30;

/// One direction of a connection.
#[derive(Debug, Default)]
pub(super) struct Stream {
    /// Number of the next byte, once a segment was seen.
    pub(super) next: TcpSeq,
    pub(super) started: bool,
    /// Whether messages have gone by unseen since the last one that was seen.
    pub(super) hidden: Hidden,
    pub(super) phase: Phase,
    pub(super) body: Sizes,
    /// Exit of the last call that moved bytes.
    pub(super) last_exit: MonoNanos,
    /// A head that is not complete.
    pub(super) partial: Option<Box<Partial>>,
    /// What the source was last asked to skip to, for this body.
    skip_to: Option<TcpSeq>,
}

/// Whether messages have gone by unseen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Hidden {
    /// None has.
    #[default]
    None,
    /// Bytes are missing that may have held some.
    Maybe,
    /// Bytes are missing where one had to start.
    Surely,
}

/// What the next byte of a stream is.
#[derive(Clone, Copy, Debug, Default)]
pub(super) enum Phase {
    /// Nobody knows: a message may start where a segment starts.
    #[default]
    Seek,
    /// The first of a message, or of an empty line before it.
    Idle,
    /// Of a head whose start is held.
    Head,
    /// Of a body of which so much is left, at least one byte.
    Counted(u64),
    /// Of a chunked body.
    Chunked(Chunks),
    /// Of a chunked body whose framing was lost.
    ChunksLost(Suffix),
    /// Of a body that ends with the stream.
    UntilClose,
}

/// The last bytes of a stream, as far as they are known.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Suffix {
    bytes: [u8; 8],
    len: u8,
}

/// Bytes of the current body.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sizes {
    pub(super) data: u64,
    /// With chunk framing.
    pub(super) wire: u64,
    /// Framing was lost, so that only `wire` is right.
    pub(super) lost: bool,
}

/// A head of which the end has not come.
#[derive(Debug)]
pub(super) struct Partial {
    pub(super) bytes: Vec<u8>,
    pub(super) scan: EndScan,
    /// The first line was looked at and is HTTP's.
    pub(super) line_checked: bool,
    /// A message had to start here.
    pub(super) expected: bool,
    pub(super) first: First,
}

/// Where a message starts, and which call brought it.
#[derive(Clone, Copy, Debug)]
pub(super) struct First {
    pub(super) seq: TcpSeq,
    pub(super) call: Call,
}

/// The call that moved some bytes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Call {
    pub(super) entry: MonoNanos,
    pub(super) exit: MonoNanos,
    pub(super) owner: OwnerId,
    pub(super) pid: u32,
}

/// What is known of a segment: a prefix, a count, a suffix.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) head: &'a [u8],
    pub(super) unknown: u32,
    pub(super) tail: &'a [u8],
}

impl<'a> Piece<'a> {
    /// The bytes of a segment; what a source brings beyond `len` is cut off.
    pub(super) fn of(segment: &Segment<'a>) -> Self {
        let len = segment.len as usize;
        let head = segment.head.get(..len).unwrap_or(segment.head);
        let left = len - head.len();
        let from = segment.tail.len().saturating_sub(left);
        let tail = segment.tail.get(from..).unwrap_or_default();
        Self {
            head,
            // Less than `len`, which is 32 bits.
            unknown: (left - tail.len()) as u32,
            tail,
        }
    }

    /// Drops the first `count` bytes.
    pub(super) fn trim(&mut self, count: u32) {
        let from_head = self.head.len().min(count as usize);
        self.head = self.head.get(from_head..).unwrap_or_default();
        let count = count - from_head as u32;
        let from_unknown = self.unknown.min(count);
        self.unknown -= from_unknown;
        let count = (count - from_unknown) as usize;
        self.tail = self.tail.get(count..).unwrap_or_default();
    }
}

impl Stream {
    /// The first segment begins here. At the first byte of the stream a
    /// message must start.
    pub(super) fn begin(&mut self, seq: TcpSeq, at_origin: bool) {
        self.started = true;
        self.next = seq;
        if at_origin && matches!(self.phase, Phase::Seek) {
            self.phase = Phase::Idle;
        }
    }

    /// Forgets the message that just ended.
    pub(super) fn idle(&mut self) -> BodySize {
        let size = self.body.size();
        self.phase = Phase::Idle;
        self.body = Sizes::default();
        self.skip_to = None;
        size
    }

    /// A message that had to start here cannot be read.
    pub(super) fn lose_start(&mut self) {
        self.phase = Phase::Seek;
        self.hidden = Hidden::Surely;
    }

    /// Chunk framing is lost; the body's end must show in another way.
    pub(super) fn lose_chunks(&mut self) {
        self.phase = Phase::ChunksLost(Suffix::default());
        self.body.lost = true;
    }

    /// Bytes of a body are not known, and messages may have gone with them if
    /// whole records are lost.
    pub(super) fn may_hide(&mut self, lost: bool) {
        if lost {
            self.hidden = self.hidden.max(Hidden::Maybe);
        }
    }

    /// Whether messages may have gone by unseen up to here.
    pub(super) fn unseen(&self) -> Hidden {
        match self.phase {
            Phase::Seek | Phase::ChunksLost(_) => self.hidden.max(Hidden::Maybe),
            _ => self.hidden,
        }
    }

    /// Whether missing bytes are those the source was asked to skip.
    pub(super) fn skipped(&self, count: u32) -> bool {
        self.skip_to
            .is_some_and(|to| !to.before(self.next.plus(count)))
    }

    /// Whether bytes of a message body come next.
    pub(super) fn in_body(&self) -> bool {
        matches!(
            self.phase,
            Phase::Counted(_) | Phase::Chunked(_) | Phase::ChunksLost(_) | Phase::UntilClose
        )
    }

    /// Number to skip to if that saves much and was not yet asked for.
    ///
    /// It is the body's (or chunk's) last byte, so that the call that moves
    /// this one is still reported: it gives the end time.
    pub(super) fn worth_skipping(&mut self) -> Option<TcpSeq> {
        let remaining = match &self.phase {
            Phase::Counted(left) => *left,
            Phase::Chunked(chunks) => chunks.remaining(),
            _ => return None,
        };
        if remaining <= WORTH_SKIPPING || self.skip_to.is_some_and(|to| self.next.before(to)) {
            return None;
        }
        let to = self.next.plus((remaining - 1).min(FARTHEST_SKIP) as u32);
        self.skip_to = Some(to);
        Some(to)
    }
}

impl Suffix {
    /// The stream goes on with these bytes.
    pub(super) fn extend(&mut self, bytes: &[u8]) {
        let last = bytes.len().saturating_sub(self.bytes.len());
        for &byte in bytes.iter().skip(last) {
            self.bytes.rotate_left(1);
            self.bytes[7] = byte;
            self.len = (self.len + 1).min(8);
        }
    }

    fn known(&self) -> &[u8] {
        let unknown = self.bytes.len() - usize::from(self.len);
        self.bytes.get(unknown..).unwrap_or_default()
    }

    /// Whether the body ends here if it has no trailers.
    pub(super) fn ends_body(&self) -> bool {
        ends_body(self.known())
    }

    /// Whether the body may end here: every body ends with an empty line.
    pub(super) fn may_end(&self) -> bool {
        let known = self.known();
        let ends: [&[u8]; 2] = [b"\n\r\n", b"\n\n"];
        // As far as its bytes are known.
        ends.iter()
            .any(|end| known.ends_with(end) || end.ends_with(known))
    }
}

impl Sizes {
    pub(super) fn size(&self) -> BodySize {
        BodySize {
            bytes: if self.lost { self.wire } else { self.data },
            wire: self.lost,
        }
    }
}
