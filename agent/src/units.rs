//! Ids and units as types, so that none can be taken for another.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::num::NonZeroU64;

pub use agent_ebpf::Direction;

/// A trace id of 64 or 128 bits, never zero.
///
/// An id whose upper half is zero is a 64-bit one and is written with 16
/// digits: Zipkin trims 32-digit ids with a zero upper half in the same way
/// (`zipkin2/Span.java`, `normalizeTraceId`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId {
    high: u64,
    low: u64,
}

impl TraceId {
    /// An id of these halves, `None` if both are zero.
    #[must_use]
    pub const fn new(high: u64, low: u64) -> Option<Self> {
        if high == 0 && low == 0 {
            None
        } else {
            Some(Self { high, low })
        }
    }

    /// An id of these halves, of which the lower one is known not to be zero.
    #[must_use]
    pub const fn from_halves(high: u64, low: NonZeroU64) -> Self {
        Self {
            high,
            low: low.get(),
        }
    }

    /// Upper 64 bits, zero in a 64-bit id.
    #[must_use]
    pub const fn high(self) -> u64 {
        self.high
    }

    /// Lower 64 bits, what ids of both widths are compared and sampled by.
    #[must_use]
    pub const fn low(self) -> u64 {
        self.low
    }

    /// Whether both are the same trace, where either may have lost its upper
    /// half on the way through a 64-bit tracer.
    #[must_use]
    pub const fn same_trace(self, other: Self) -> bool {
        self.low == other.low && (self.high == other.high || self.high == 0 || other.high == 0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.high != 0 {
            write!(f, "{:016x}", self.high)?;
        }
        write!(f, "{:016x}", self.low)
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TraceId({self})")
    }
}

/// A span id, never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanId(NonZeroU64);

impl SpanId {
    /// The id of this number, `None` for zero.
    #[must_use]
    pub const fn new(id: u64) -> Option<Self> {
        match NonZeroU64::new(id) {
            Some(id) => Some(Self(id)),
            None => None,
        }
    }

    /// The id as a number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0.get()
    }
}

impl From<NonZeroU64> for SpanId {
    fn from(id: NonZeroU64) -> Self {
        Self(id)
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SpanId({self})")
    }
}

/// A TCP sequence number: 32 bits that wrap (RFC 9293 section 3.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct TcpSeq(pub u32);

impl TcpSeq {
    /// The number `n` bytes further on.
    #[must_use]
    pub const fn plus(self, n: u32) -> Self {
        Self(self.0.wrapping_add(n))
    }

    /// Bytes from `earlier` to here, modulo 2^32.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }

    /// Whether this number comes before `other`, by serial number arithmetic
    /// (RFC 1982).
    #[must_use]
    pub const fn before(self, other: Self) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, or of a capture's own clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MonoNanos(pub u64);

impl MonoNanos {
    /// Nanoseconds from `earlier` to here, zero if `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

/// Microseconds since 1970, as Zipkin and Jaeger want them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct UnixMicros(pub u64);

/// One socket while it lives: the kernel's pointer, or a number of a capture's
/// flow. Pointers are reused; together with [`Origins`] it is unique.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SocketId(pub u64);

/// Who moved the bytes: a cgroup, or a process where cgroups do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OwnerId(pub u64);

/// The command name of a process, of which the kernel keeps 15 bytes. Empty if
/// it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Comm([u8; agent_ebpf::COMM]);

impl Comm {
    /// What stands in front of the first zero, cut to what the kernel keeps and
    /// without white space at its end. What is behind may be of an older, longer
    /// name (`__set_task_comm`, fs/exec.c, up to 5.16).
    #[must_use]
    pub fn new(bytes: &[u8]) -> Self {
        let name = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
        let name = name.get(..agent_ebpf::COMM - 1).unwrap_or(name);
        let mut comm = Self::default();
        for (to, byte) in comm.0.iter_mut().zip(name.trim_ascii_end()) {
            *to = *byte;
        }
        comm
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Its text. A process may call itself anything, so what is no UTF-8 is
    /// replaced.
    #[must_use]
    pub fn as_str_lossy(&self) -> Cow<'_, str> {
        let mut parts = self.0.split(|byte| *byte == 0);
        String::from_utf8_lossy(parts.next().unwrap_or_default())
    }
}

/// Sequence numbers of both sides' first data bytes, from one end's view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct Origins {
    /// This end's first byte; one less if `exact` is false and this end opened
    /// the connection, because `bytes_acked` counts its SYN (`tcp_ack` via
    /// `tcp_snd_una_update`).
    pub local: TcpSeq,
    /// The other end's first byte.
    pub peer: TcpSeq,
    /// Whether `local` needs no correction.
    pub exact: bool,
    /// Whether the numbers are known at all: not in a capture that begins in
    /// the middle of the connection.
    pub known: bool,
}

/// The connection's identity, equal at both ends: the sequence numbers of the
/// client's and the server's first data bytes. Zero where not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct ConnId {
    /// The client's first data byte.
    pub client: TcpSeq,
    /// The server's first data byte.
    pub server: TcpSeq,
}

/// What both ends of a call know of it without talking to each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub struct WireId {
    /// C: the connection.
    pub conn: ConnId,
    /// Q: sequence number of the request's first byte.
    pub request: TcpSeq,
}

/// Which end of the exchange the observed socket is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Side {
    /// It sent the request.
    Client,
    /// It received the request.
    Server,
}

/// An address and a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Endpoint {
    /// The address; IPv4-mapped IPv6 addresses are stored as IPv4.
    pub ip: IpAddr,
    /// The port, never zero on a real socket.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        std::net::SocketAddr::new(self.ip, self.port).fmt(f)
    }
}
