//! Ids that both ends of a call arrive at by themselves.

use std::fmt;
use std::num::NonZeroU64;

use siphasher::sip128::SipHasher24;

use super::sip::Sip13;
use crate::assemble::{Began, Seed};
use crate::units::{SpanId, TraceId, WireId};

/// The key of every agent that has no other: the first 16 bytes of
/// `SHA-256("nodespan wire identity 1")`. It is published because it need not
/// be secret: it makes agents agree, and sets the ids apart from other hashes
/// of the same numbers.
pub const PUBLISHED_KEY: [u8; 16] = [
    0xb8, 0xe1, 0xf2, 0x58, 0xfc, 0x89, 0x1d, 0x34, 0x44, 0xb5, 0x90, 0x69, 0xaf, 0x5c, 0x2e, 0x30,
];

/// What tells a hop from other hashes, behind Q.
const DOMAIN_HOP: u64 = (b'h' as u64) << 32;
/// What tells a trace id from `x-request-id`.
const DOMAIN_REQUEST_ID: u64 = (b'r' as u64) << 32;
/// What tells a trace id of a request that says nothing.
const DOMAIN_HEAD: u64 = (b't' as u64) << 32;

/// The hash key, equal on all nodes whose spans shall join.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct IdentityKey([u8; 16]);

/// A key file is too short to be a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the key has {found} bytes, at least {} are needed",
    IdentityKey::MIN_BYTES
)]
pub struct KeyTooShort {
    /// Bytes without the line end.
    pub found: usize,
}

impl IdentityKey {
    /// Fewest bytes that a key file must hold, line ends at its end not
    /// counted.
    pub const MIN_BYTES: usize = 16;

    /// The key of a key file's content: its SipHash-2-4-128 under
    /// [`PUBLISHED_KEY`]. Line ends at the end do not count, because editors
    /// and Secrets disagree about them.
    ///
    /// # Errors
    /// The content is shorter than [`Self::MIN_BYTES`].
    pub fn derive(content: &[u8]) -> Result<Self, KeyTooShort> {
        let mut content = content;
        while let [rest @ .., b'\n' | b'\r'] = content {
            content = rest;
        }
        if content.len() < Self::MIN_BYTES {
            return Err(KeyTooShort {
                found: content.len(),
            });
        }
        let hash = SipHasher24::new_with_key(&PUBLISHED_KEY).hash(content);
        Ok(Self(hash.as_u128().to_be_bytes()))
    }
}

impl Default for IdentityKey {
    fn default() -> Self {
        Self(PUBLISHED_KEY)
    }
}

impl fmt::Debug for IdentityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0 == PUBLISHED_KEY {
            "IdentityKey(published)"
        } else {
            "IdentityKey(own)"
        })
    }
}

/// Width of the trace ids that the agent makes; ids that a request carries
/// keep theirs (rule 8).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum TraceWidth {
    /// 16 digits.
    Bits64,
    /// 32 digits.
    #[default]
    Bits128,
}

/// Ids of one exchange, equal at both of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// T: the carried trace id, or a new one (rule 2).
    pub trace: TraceId,
    /// S: the carried span id.
    pub carried: Option<SpanId>,
    /// Identity of this hop, the client span's id (rule 1).
    pub hop: SpanId,
    /// The server span's id where it must differ from the hop (rule 4).
    pub second: SpanId,
    /// Another exchange can have the same (T, S), because an application
    /// forwarded what they are made from.
    pub forwardable: bool,
}

/// Makes ids.
#[derive(Clone, Copy, Debug)]
pub struct Minter {
    hasher: Sip13,
}

impl Minter {
    /// A minter with this key.
    #[must_use]
    pub fn new(key: IdentityKey) -> Self {
        Self {
            hasher: Sip13::new(u128::from_le_bytes(key.0)),
        }
    }

    /// The ids of an exchange (rules 1 and 2).
    #[must_use]
    #[inline(always)]
    pub fn mint(&self, began: &Began, width: TraceWidth) -> Identity {
        let (trace, carried) = match began.context.ids {
            Some(ids) => (ids.trace, Some(ids.span)),
            None => (self.new_trace(began.seed, began.wire, width), None),
        };
        let (hop, second) = self.hop(trace, carried, began.wire);
        Identity {
            trace,
            carried,
            hop,
            second,
            forwardable: carried.is_some() || matches!(began.seed, Seed::RequestId(_)),
        }
    }

    /// Both 64-bit halves of one 128-bit hash of T, S, C and Q: the hop, and
    /// the second id. The halves of SipHash-128 are as independent as two
    /// hashes in two domains, at the price of one.
    ///
    /// Hashed are 38 bytes, numbers little-endian: T (its upper half and its
    /// lower, 8 each), S or zeros (8), the client's origin, the server's origin,
    /// Q (4 each), `'h'`, whether S is there (1 or 0).
    #[inline(always)]
    fn hop(&self, trace: TraceId, carried: Option<SpanId>, wire: WireId) -> (SpanId, SpanId) {
        let (first, second) = self.hasher.hash(
            [
                trace.high(),
                trace.low(),
                carried.map_or(0, SpanId::get),
                origins(wire),
            ],
            request(wire) | DOMAIN_HOP | u64::from(carried.is_some()) << 40,
        );
        (never_zero(first).into(), never_zero(second).into())
    }

    /// Hashed are, numbers little-endian: the digest of `x-request-id` (16),
    /// four zeros, `'r'` and a zero; or the digest of the head (8), the client's
    /// origin, the server's origin, Q (4 each), `'t'` and a zero.
    #[inline(never)]
    fn new_trace(&self, seed: Seed, wire: WireId, width: TraceWidth) -> TraceId {
        let (low, high) = match seed {
            Seed::RequestId(digest) => self
                .hasher
                .hash([digest as u64, (digest >> 64) as u64], DOMAIN_REQUEST_ID),
            Seed::Head(_) | Seed::Carried => {
                let digest = match seed {
                    Seed::Head(digest) => digest,
                    _ => 0,
                };
                self.hasher
                    .hash([digest, origins(wire)], request(wire) | DOMAIN_HEAD)
            }
        };
        let high = match width {
            TraceWidth::Bits64 => 0,
            // A zero upper half would make it a 64-bit id.
            TraceWidth::Bits128 => never_zero(high).get(),
        };
        TraceId::from_halves(high, never_zero(low))
    }
}

/// Q, in the lower half of a word.
const fn request(wire: WireId) -> u64 {
    wire.request.0 as u64
}

/// C as a word.
const fn origins(wire: WireId) -> u64 {
    wire.conn.client.0 as u64 | (wire.conn.server.0 as u64) << 32
}

/// One for zero: an id is never zero, and both ends must agree which it is.
fn never_zero(id: u64) -> NonZeroU64 {
    NonZeroU64::new(id).unwrap_or(NonZeroU64::MIN)
}
