//! What a connection speaks that is not HTTP/1.

use super::connection::Strange;
use super::exchange::Opaque;
use crate::units::Direction;

/// Changes of direction without a start in either. HTTP/1 has one start in
/// two changes, and one more where `Expect` is answered, so eight leave room
/// for losses.
const TURNS: u16 = 8;
/// Segments without a start: 16 MiB of an upload in calls of 1 KiB, whose
/// response would have come.
const SEGMENTS: u32 = 16 * 1024;
/// A connection that has spoken HTTP/1 gets so much more.
const BENEFIT: u16 = 8;

/// What the first bytes of a connection say, if they say it clearly.
pub(super) fn recognise(bytes: &[u8]) -> Option<Opaque> {
    if is_tls_handshake(bytes) {
        return Some(Opaque::Tls);
    }
    (bytes.starts_with(b"PRI * HTTP/2.0") || is_http2_settings(bytes)).then_some(Opaque::Http2)
}

/// A handshake record of any version (RFC 8446 section 5.1).
fn is_tls_handshake(bytes: &[u8]) -> bool {
    matches!(bytes, [0x16, 0x03, 0..=4, ..] | [0x16, 0x03])
}

/// Application data of TLS 1.2 or 1.3, of at most 2^14 + 256 bytes (RFC 8446
/// section 5.2).
fn is_tls_data(bytes: &[u8]) -> bool {
    matches!(bytes, [0x17, 0x03, 0x03, 0..=0x41, _, ..])
}

/// The server's SETTINGS frame, which may come before the client's preface
/// (RFC 9113 section 3.4 and 6.5).
fn is_http2_settings(bytes: &[u8]) -> bool {
    matches!(bytes, [0, high, low, 4, 0, 0, 0, 0, 0, ..]
        if u16::from_be_bytes([*high, *low]) % 6 == 0)
}

impl Strange {
    /// A segment that starts no message while nobody knows what it is.
    pub(super) fn note(&mut self, direction: Direction, bytes: &[u8]) {
        self.segments = self.segments.saturating_add(1);
        if self.last.is_some_and(|last| last != direction) {
            self.turns = self.turns.saturating_add(1);
        }
        self.last = Some(direction);
        if is_tls_data(bytes) {
            self.tls = self.tls.saturating_add(1);
        }
    }

    /// One such segment may be chance in a body, two are none.
    pub(super) fn is_tls(&self) -> bool {
        self.tls >= 2
    }

    pub(super) fn is_not_http(&self, has_been: bool) -> bool {
        let times = if has_been { BENEFIT } else { 1 };
        self.turns >= TURNS * times || self.segments >= SEGMENTS * u32::from(times)
    }
}
