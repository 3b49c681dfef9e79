//! IP headers: RFC 791 and RFC 8200.
//!
//! Fragments: the first of a packet has the TCP header and is read as a
//! segment of its own bytes; the others are refused, so what they carry is
//! missing in the stream. A length of zero means that the packet was captured
//! before the network card cut it up (segmentation offload, BIG TCP with its
//! jumbo payload option): then it is as long as the capture says.

use super::link::Network;
use super::{Refused, bytes};
use crate::capture::pcap::reader::array;
use crate::capture::pcap::table::Addresses;

const TCP: u8 = 6;
/// Extension headers in one packet; more is damage.
const MAX_EXTENSIONS: usize = 16;

/// An IP packet that carries TCP.
#[derive(Clone, Copy, Debug)]
pub(super) struct Datagram {
    pub(super) addresses: Addresses,
    /// Where its payload begins in the frame.
    pub(super) payload: usize,
    /// Where it ends; beyond the frame if that was not captured whole. Not
    /// before `payload`.
    pub(super) end: usize,
    /// It is the first of several fragments.
    pub(super) fragment: bool,
}

/// Reads the IP headers of a frame that was `wire_len` bytes long.
#[inline]
pub(super) fn datagram(
    frame: &[u8],
    network: Network,
    wire_len: usize,
) -> Result<Datagram, Refused> {
    let datagram = match network {
        Network::V4(at) => v4(frame, at, wire_len)?,
        Network::V6(at) => v6(frame, at, wire_len)?,
    };
    if datagram.end < datagram.payload {
        return Err(Refused::Malformed);
    }
    Ok(datagram)
}

#[inline]
fn v4(frame: &[u8], at: usize, wire_len: usize) -> Result<Datagram, Refused> {
    let fixed = bytes::<20>(frame, at)?;
    let [first] = array(fixed, 0);
    let [protocol] = array(fixed, 9);
    let header = usize::from(first & 0x0f) * 4;
    if first >> 4 != 4 || header < 20 {
        return Err(Refused::Malformed);
    }
    if protocol != TCP {
        return Err(Refused::NonTcp);
    }
    let fragment = u16::from_be_bytes(array(fixed, 6));
    if fragment & 0x1fff != 0 {
        return Err(Refused::Fragment);
    }
    let total = usize::from(u16::from_be_bytes(array(fixed, 2)));
    Ok(Datagram {
        addresses: Addresses::V4 {
            source: u32::from_be_bytes(array(fixed, 12)),
            destination: u32::from_be_bytes(array(fixed, 16)),
        },
        payload: at + header,
        end: if total == 0 { wire_len } else { at + total },
        fragment: fragment & 0x2000 != 0,
    })
}

fn v6(frame: &[u8], at: usize, wire_len: usize) -> Result<Datagram, Refused> {
    let &[version, _, _, _, l0, l1, mut next, _] = bytes::<8>(frame, at)?;
    if version >> 4 != 6 {
        return Err(Refused::Malformed);
    }
    let source = u128::from_be_bytes(*bytes(frame, at + 8)?);
    let destination = u128::from_be_bytes(*bytes(frame, at + 24)?);
    let length = usize::from(u16::from_be_bytes([l0, l1]));
    let mut payload = at + 40;
    let end = if length == 0 {
        wire_len
    } else {
        payload + length
    };
    let mut fragment = false;
    for _ in 0..=MAX_EXTENSIONS {
        if next == TCP {
            return Ok(Datagram {
                addresses: Addresses::V6 {
                    source,
                    destination,
                },
                payload,
                end,
                fragment,
            });
        }
        let &[following, length] = match next {
            0 | 43 | 44 | 51 | 60 | 135 | 139 | 140 => bytes::<2>(frame, payload)?,
            _ => return Err(Refused::NonTcp),
        };
        payload += match next {
            44 => {
                let &[high, low] = bytes::<2>(frame, payload + 2)?;
                let field = u16::from_be_bytes([high, low]);
                if field & 0xfff8 != 0 {
                    return Err(Refused::Fragment);
                }
                fragment = field & 1 != 0;
                8
            }
            // The authentication header counts in 4 bytes (RFC 4302).
            51 => (usize::from(length) + 2) * 4,
            _ => (usize::from(length) + 1) * 8,
        };
        next = following;
    }
    Err(Refused::Malformed)
}
