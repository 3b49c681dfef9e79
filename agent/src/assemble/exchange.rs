//! The exchange: one request and its response, as seen at one end.

use crate::http::context::TraceContext;
use crate::units::{Endpoint, MonoNanos, OwnerId, Side, WireId};

/// What the assembler has to say.
#[derive(Debug)]
pub enum Output {
    /// Target of the request whose [`Output::Began`] comes next, only if it
    /// was asked for ([`Options::targets`](super::Options::targets)).
    Target(Box<[u8]>),
    /// Method, target and host of that request, the other strings empty; only
    /// if they were asked for ([`Options::lines`](super::Options::lines)).
    Line(Box<Text>),
    /// A request head is complete; its exchange is in flight. Not if
    /// [`Options::only_finished`](super::Options::only_finished).
    Began(Box<Began>),
    /// The exchange of an earlier [`Output::Began`] is over.
    Finished(Box<Exchange>),
    /// A connection was recognised as something that is not traced.
    Opaque {
        /// Whose connection it is.
        owner: OwnerId,
        /// Process that moved the bytes.
        pid: u32,
        /// What it speaks.
        protocol: Opaque,
    },
}

/// What an untraced connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Opaque {
    /// A TLS record came first.
    Tls,
    /// The HTTP/2 connection preface came first.
    Http2,
    /// HTTP/1 ended by 101 or by a successful CONNECT.
    Upgraded,
    /// Anything else.
    Other,
}

/// What is known of an exchange once its request head is complete.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    /// The same number as in the finished [`Exchange`]; unique in this run.
    pub serial: u64,
    /// Which end this is.
    pub side: Side,
    /// Identity of the request on the wire.
    pub wire: WireId,
    /// Trace context the request carries.
    pub context: TraceContext,
    /// What a new trace id is made from when the context has none.
    pub seed: Seed,
    /// Who.
    pub owner: OwnerId,
    /// Process id of the caller, 0 if not known.
    pub pid: u32,
    /// This end's address.
    pub local: Option<Endpoint>,
    /// The other end's address.
    pub peer: Option<Endpoint>,
    /// Time of the request's first byte.
    pub start: MonoNanos,
}

/// What a new trace id is made from (ARCHITECTURE.md, Identity, rule 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Seed {
    /// The context supplies the ids.
    Carried,
    /// 128-bit unkeyed digest of the `x-request-id` value.
    RequestId(u128),
    /// 64-bit unkeyed digest of the head's bytes.
    Head(u64),
}

/// One request and its response, as seen at one end.
#[derive(Debug)]
pub struct Exchange {
    /// What was known when it began.
    pub began: Began,
    /// Strings of both heads.
    pub text: Text,
    /// When the first byte of the final response moved (entry of the send at a
    /// server, exit of the receive at a client).
    pub first_byte: Option<MonoNanos>,
    /// When the last byte moved.
    pub end: MonoNanos,
    /// Final status as it was on the wire; none is ever invented.
    pub status: Option<u16>,
    /// `HTTP/1.1` is 1, `HTTP/1.0` is 0: of the request.
    pub minor_version: u8,
    /// Body of the request.
    pub request_body: BodySize,
    /// Body of the response.
    pub response_body: BodySize,
    /// Why it is not whole, if it is not.
    pub failure: Option<Failure>,
    /// The parser refused a head whose start line could be read.
    pub lenient: bool,
}

/// Exchanges that are done with: memory for others.
pub type Spare = Vec<Box<Exchange>>;

/// Bytes of a body as seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BodySize {
    /// Body bytes, without chunk framing unless `wire` is set.
    pub bytes: u64,
    /// The size includes chunk framing, because part of it was not seen.
    pub wire: bool,
}

/// Why an exchange is not whole; [`Failure::as_str`] is the span's `error`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Failure {
    /// The capture ended before the exchange did.
    CaptureEnded,
    /// The connection was reset.
    Reset,
    /// The connection timed out or failed in another way.
    ConnectionFailed,
    /// The connection was closed before any response.
    NoResponse,
    /// The connection was closed inside the response.
    ResponseCut,
    /// The connection was closed inside the request's body.
    RequestCut,
    /// Bytes that were needed were lost on the way to the agent.
    Lost,
    /// State was given up: too old, or too many.
    Expired,
}

impl Failure {
    /// The text of the span's `error` tag.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CaptureEnded => "capture ended",
            Self::Reset => "connection reset",
            Self::ConnectionFailed => "connection failed",
            Self::NoResponse => "no response",
            Self::ResponseCut => "response cut short",
            Self::RequestCut => "request cut short",
            Self::Lost => "bytes lost",
            Self::Expired => "expired",
        }
    }
}

/// Copies few bytes with few steps: two words that overlap make any length.
#[inline(always)]
fn copy(from: &[u8], to: &mut [u8]) {
    match from.len() {
        8..=16 => copy_ends::<8>(from, to),
        4..=7 => copy_ends::<4>(from, to),
        2..=3 => copy_ends::<2>(from, to),
        _ => to.copy_from_slice(from),
    }
}

/// Copies the first `N` bytes and the last, where there are as many.
#[inline(always)]
fn copy_ends<const N: usize>(from: &[u8], to: &mut [u8]) {
    if let Some((from, to)) = from.first_chunk::<N>().zip(to.first_chunk_mut()) {
        *to = *from;
    }
    if let Some((from, to)) = from.last_chunk::<N>().zip(to.last_chunk_mut()) {
        *to = *from;
    }
}

/// The few strings of the heads that leave the node, in one allocation.
#[derive(Clone, Debug, Default)]
pub struct Text {
    /// What is behind the last end is left over from before.
    bytes: Vec<u8>,
    ends: [u32; 5],
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.ends == other.ends && self.all() == other.all()
    }
}

impl Eq for Text {}

impl Text {
    /// Copies the strings together. Bytes that are not UTF-8 are kept and
    /// replaced when read.
    #[must_use]
    pub fn new(
        method: &[u8],
        target: &[u8],
        host: &[u8],
        user_agent: &[u8],
        request_id: &[u8],
    ) -> Self {
        let mut text = Self::default();
        text.set([method, target, host, user_agent, request_id]);
        text
    }

    /// Replaces the strings: method, target, `Host`, `User-Agent` and
    /// `X-Request-Id`.
    #[inline(always)]
    pub(super) fn set(&mut self, parts: [&[u8]; 5]) {
        // Parts of a head, which has at most 64 KiB.
        let mut end = 0;
        self.ends = parts.map(|part| {
            end += part.len() as u32;
            end
        });
        if self.bytes.len() < end as usize {
            self.bytes.resize(end as usize, 0);
        }
        for (part, end) in parts.into_iter().zip(self.ends) {
            let end = end as usize;
            if !part.is_empty()
                && let Some(place) = self.bytes.get_mut(end - part.len()..end)
            {
                copy(part, place);
            }
        }
    }

    /// Length of all strings together.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        let [.., end] = self.ends;
        end as usize
    }

    /// Whether all are empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All strings in one row: what is true of every byte of it is true of
    /// each string.
    #[must_use]
    #[inline]
    pub fn all(&self) -> &[u8] {
        let [.., end] = self.ends;
        self.bytes.get(..end as usize).unwrap_or_default()
    }

    /// Request method.
    #[must_use]
    pub fn method(&self) -> &[u8] {
        self.part(0)
    }

    /// Request target exactly as sent, query included.
    #[must_use]
    pub fn target(&self) -> &[u8] {
        self.part(1)
    }

    /// First `Host` header, empty if there is none.
    #[must_use]
    pub fn host(&self) -> &[u8] {
        self.part(2)
    }

    /// First `User-Agent` header, empty if there is none.
    #[must_use]
    pub fn user_agent(&self) -> &[u8] {
        self.part(3)
    }

    /// First `X-Request-Id` header, empty if there is none.
    #[must_use]
    pub fn request_id(&self) -> &[u8] {
        self.part(4)
    }

    fn part(&self, n: usize) -> &[u8] {
        let start = n.checked_sub(1).map_or(0, |before| self.ends[before]);
        self.bytes
            .get(start as usize..self.ends[n] as usize)
            .unwrap_or_default()
    }
}
