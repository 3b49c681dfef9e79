//! Writes captures, for tests and for the bench.

mod frame;
mod load;

use std::io::{self, Write};

pub use frame::{ACK, FIN, PSH, RST, SYN, Tcp};
pub use load::{Conversation, Load, generate};

/// Bytes of a packet that are kept at most.
const SNAP_LEN: u32 = 262_144;
const LINKTYPE_ETHERNET: u32 = 1;

/// Resolution of a capture's timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// Microseconds, as tcpdump writes by default.
    Micros,
    /// Nanoseconds.
    Nanos,
}

/// A pcap file of Ethernet frames, little-endian (draft-ietf-opsawg-pcap).
#[derive(Debug)]
pub struct Writer<W> {
    out: W,
    precision: Precision,
}

impl<W: Write> Writer<W> {
    /// Writes the file header.
    pub fn new(mut out: W, precision: Precision) -> io::Result<Self> {
        let magic: u32 = match precision {
            Precision::Micros => 0xa1b2_c3d4,
            Precision::Nanos => 0xa1b2_3c4d,
        };
        let version = 2 | 4 << 16;
        for word in [magic, version, 0, 0, SNAP_LEN, LINKTYPE_ETHERNET] {
            out.write_all(&word.to_le_bytes())?;
        }
        Ok(Self { out, precision })
    }

    /// Writes a frame captured at this UNIX time in nanoseconds.
    pub fn frame(&mut self, at: u64, frame: &[u8]) -> io::Result<()> {
        self.cut_frame(at, frame, frame.len())
    }

    /// Writes a frame of which only `kept` bytes were captured.
    pub fn cut_frame(&mut self, at: u64, frame: &[u8], kept: usize) -> io::Result<()> {
        let unit = match self.precision {
            Precision::Micros => 1_000,
            Precision::Nanos => 1,
        };
        let kept = frame.get(..kept).unwrap_or(frame);
        let seconds = (at / 1_000_000_000) as u32;
        let fraction = (at % 1_000_000_000 / unit) as u32;
        for word in [seconds, fraction, kept.len() as u32, frame.len() as u32] {
            self.out.write_all(&word.to_le_bytes())?;
        }
        self.out.write_all(kept)
    }

    /// Flushes, and gives back what it wrote to.
    pub fn into_inner(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }
}
