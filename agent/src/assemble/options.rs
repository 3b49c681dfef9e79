//! What the assembler may hold, and what it counts.

use crate::http::context::Order;

/// Choices and bounds of an assembler.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// How requests are read.
    pub reading: Reading,
    /// Bounds on state.
    pub limits: Limits,
    /// Give out exchanges when they are over only, without
    /// [`Output::Began`](super::Output::Began) and what comes before it,
    /// because nobody decides anything before.
    pub only_finished: bool,
}

/// How requests are read and what is told of them when they begin. It may
/// change from one request to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Which context format is asked first.
    pub order: Order,
    /// The header, in any case, that is read in place of `uber-trace-id`.
    pub context_header: Option<Box<str>>,
    /// Give out the target of each request when it begins, because somebody
    /// decides by it.
    pub targets: bool,
    /// Give out method, target and host of each request when it begins,
    /// because a sampler decides by the span's name.
    pub lines: bool,
}

/// Bounds on state; what goes over them is given up and counted.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections that are known at a time.
    pub connections: usize,
    /// Unanswered requests of one connection.
    pub pipelined: usize,
    /// Bytes of incomplete heads and of the strings of open exchanges.
    pub held: usize,
    /// Nanoseconds after which a connection without open exchanges is
    /// forgotten; it is picked up again at its next message.
    pub idle: u64,
    /// Nanoseconds without any record after which open exchanges are given
    /// up.
    pub silent: u64,
}

impl Default for Limits {
    fn default() -> Self {
        const MINUTE: u64 = 60 * 1_000_000_000;
        Self {
            connections: 65_536,
            pipelined: 256,
            held: 32 * 1024 * 1024,
            idle: 15 * MINUTE,
            silent: 60 * MINUTE,
        }
    }
}

/// What the assembler has seen, and why something is missing. They only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records of any kind.
    pub records: u64,
    /// Records that repeat bytes and bring none.
    pub repeated: u64,
    /// Request heads that were read.
    pub requests: u64,
    /// Final response heads that were read.
    pub responses: u64,
    /// Exchanges that were begun; each is finished once.
    pub began: u64,
    /// Exchanges that were finished.
    pub finished: u64,
    /// Exchanges that finished as [`Failure::Lost`](super::Failure::Lost).
    pub lost: u64,
    /// Exchanges that finished as
    /// [`Failure::Expired`](super::Failure::Expired).
    pub expired: u64,
    /// Heads that the parser refused and whose start line could be read.
    pub heads_lenient: u64,
    /// Heads over 64 KiB.
    pub heads_too_long: u64,
    /// Heads of which bytes were lost, at least.
    pub heads_lost: u64,
    /// Heads cut off by the end of their stream.
    pub heads_cut: u64,
    /// Heads given up because too much was held.
    pub heads_no_room: u64,
    /// Bytes where a message must start that are no start.
    pub not_a_start: u64,
    /// Message starts that could not be seen behind a body inside one call,
    /// at least.
    pub starts_unseen: u64,
    /// Ranges of a stream that no record covers and nobody asked to skip.
    pub gaps: u64,
    /// Bodies whose chunk framing was lost.
    pub chunks_lost: u64,
    /// Responses whose request was not seen.
    pub responses_unasked: u64,
    /// Times a connection lost track of which response answers which request.
    pub doubts: u64,
    /// Connections picked up in the middle.
    pub picked_up: u64,
    /// Connections that speak TLS.
    pub tls: u64,
    /// Connections that speak HTTP/2.
    pub http2: u64,
    /// Connections on which HTTP ended by 101 or CONNECT.
    pub upgraded: u64,
    /// Connections that speak something else.
    pub other: u64,
    /// Sockets that were reused before they were seen to close.
    pub reused: u64,
    /// Connections forgotten because there were too many, or too much held.
    pub evicted: u64,
    /// Connections forgotten because nothing happened on them.
    pub idle: u64,
    /// Requests to the source that were not passed on because too many
    /// waited.
    pub commands_dropped: u64,
}
