//! Where records come from: live probes or packet captures.
//!
//! Both sources hand the same [`Record`]s to the assembler. This is the only
//! room with aya and `unsafe`.

pub mod btf;
pub mod layout;
#[expect(
    unsafe_code,
    reason = "maps and ring memory are shared with the kernel"
)]
pub mod live;
pub mod pcap;

use crate::units::{Comm, Direction, Endpoint, MonoNanos, Origins, OwnerId, SocketId, TcpSeq};

/// One thing that happened on one socket, as its owner saw it.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Which socket.
    pub socket: SocketId,
    /// Where both streams began; changes when a socket pointer is reused.
    pub origins: Origins,
    /// Who made the call.
    pub owner: OwnerId,
    /// Process id of the caller, 0 if not known.
    pub pid: u32,
    /// What happened.
    pub event: Event<'a>,
}

impl Record<'_> {
    /// When it happened; zero if the event has no time of its own.
    #[must_use]
    #[inline(always)]
    pub const fn time(&self) -> MonoNanos {
        // What almost all are.
        if let Event::Segment(segment) = &self.event {
            return segment.exit;
        }
        match &self.event {
            Event::Opened { .. } => MonoNanos(0),
            Event::Segment(segment) => segment.exit,
            Event::Ended { at, .. } | Event::Failed { at, .. } | Event::Closed { at } => *at,
        }
    }
}

/// What happened on a socket.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// First sight of the socket, or its addresses became known.
    Opened {
        /// This end.
        local: Endpoint,
        /// The other end.
        peer: Endpoint,
        /// What the process that made the call was called then; empty in a
        /// capture.
        comm: Comm,
    },
    /// Bytes moved.
    Segment(Segment<'a>),
    /// No bytes will follow in this direction: end of stream was read (In), or
    /// in a capture, a FIN was seen.
    Ended {
        /// Which stream ended.
        direction: Direction,
        /// When the call that learned it returned.
        at: MonoNanos,
    },
    /// The connection failed (reset, timed out).
    Failed {
        /// What failed: a receive (In) or a send; in a capture, the receive of
        /// whoever was sent a reset.
        direction: Direction,
        /// Positive errno, `ECONNRESET` for a reset seen in a capture.
        errno: i32,
        /// When.
        at: MonoNanos,
    },
    /// The owner closed the socket; no further record of it will come.
    Closed {
        /// When.
        at: MonoNanos,
    },
}

/// Consecutive bytes of one stream, of which a prefix and a suffix are known.
///
/// A call that was taken whole has `head.len() == len` and no tail. The bytes
/// between head and tail crossed the socket but not the ring. Segments of one
/// direction come in order; numbers that are missing between two were skipped
/// (a body below `skip_to`) or lost.
#[derive(Clone, Copy, Debug)]
pub struct Segment<'a> {
    /// Received or sent.
    pub direction: Direction,
    /// Sequence number of the first byte covered.
    pub seq: TcpSeq,
    /// How many bytes are covered.
    pub len: u32,
    /// The first bytes.
    pub head: &'a [u8],
    /// The last bytes; empty if the head covers everything.
    pub tail: &'a [u8],
    /// Entry of the call that moved them (of a send; for receives and
    /// captures it equals `exit`).
    pub entry: MonoNanos,
    /// Exit of the call that moved them.
    pub exit: MonoNanos,
}

/// What the assembler asks of the source. A source that cannot do it ignores
/// it: both only save work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// Bytes of this direction below this number are of no interest.
    SkipTo {
        /// Which socket.
        socket: SocketId,
        /// Tells a reused pointer from its predecessor.
        origins: Origins,
        /// Which stream.
        direction: Direction,
        /// First number of interest.
        seq: TcpSeq,
    },
    /// This socket does not speak HTTP/1 (any more).
    Ignore {
        /// Which socket.
        socket: SocketId,
        /// Tells a reused pointer from its predecessor.
        origins: Origins,
    },
    /// Nothing is known of this socket any more: it is to be announced again
    /// if it moves anything.
    Renew {
        /// Which socket.
        socket: SocketId,
    },
}
