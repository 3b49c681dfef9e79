//! The TCP header (RFC 9293 section 3.1).

use super::{Refused, bytes};
use crate::capture::pcap::reader::array;
use crate::units::TcpSeq;

/// The control bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture::pcap) struct Flags(pub(in crate::capture::pcap) u8);

impl Flags {
    pub(in crate::capture::pcap) const FIN: u8 = 0x01;
    pub(in crate::capture::pcap) const SYN: u8 = 0x02;
    pub(in crate::capture::pcap) const RST: u8 = 0x04;
    pub(in crate::capture::pcap) const ACK: u8 = 0x10;

    /// Whether any of these bits is set.
    #[inline]
    pub(in crate::capture::pcap) const fn any(self, bits: u8) -> bool {
        self.0 & bits != 0
    }

    /// Whether it neither begins nor ends anything.
    #[inline]
    pub(in crate::capture::pcap) const fn plain(self) -> bool {
        !self.any(Self::FIN | Self::SYN | Self::RST)
    }
}

/// What is used of a TCP header.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) source_port: u16,
    pub(super) destination_port: u16,
    pub(super) seq: TcpSeq,
    pub(super) ack: TcpSeq,
    pub(super) flags: Flags,
    /// Where the payload begins in the frame, not behind the packet's end.
    pub(super) payload: usize,
}

/// Reads the header at `at` of a packet that ends at `end`.
#[inline]
pub(super) fn header(frame: &[u8], at: usize, end: usize) -> Result<Header, Refused> {
    if end - at < 20 {
        return Err(Refused::Malformed);
    }
    let fixed = bytes::<20>(frame, at)?;
    let [offset, flags] = array(fixed, 12);
    let length = usize::from(offset >> 4) * 4;
    if length < 20 || end - at < length {
        return Err(Refused::Malformed);
    }
    Ok(Header {
        source_port: u16::from_be_bytes(array(fixed, 0)),
        destination_port: u16::from_be_bytes(array(fixed, 2)),
        seq: TcpSeq(u32::from_be_bytes(array(fixed, 4))),
        ack: TcpSeq(u32::from_be_bytes(array(fixed, 8))),
        flags: Flags(flags),
        payload: at + length,
    })
}
