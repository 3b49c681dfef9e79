//! Which encoding a backend gets. (Stub: branch `we` has the real one.)

use super::zipkin::Zipkin;
use super::{Encoder, Wording};

/// An encoding, and by that a way of delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// Zipkin v2, JSON.
    ZipkinJson,
}

impl Protocol {
    /// Makes the encoder.
    #[must_use]
    pub fn encoder(self, wording: Wording, _limits: Limits) -> Box<dyn Encoder> {
        Box::new(Zipkin::new(wording))
    }

    /// Whether batches go out as datagrams.
    #[must_use]
    pub const fn is_datagrams(self) -> bool {
        false
    }
}

/// What an encoding may be bounded by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of a datagram.
    pub datagram: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { datagram: 65_000 }
    }
}
