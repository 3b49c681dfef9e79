//! From a captured packet to its TCP segment. Checksums are not looked at:
//! where the network card computes them a capture has none that are right.

mod ip;
mod link;
mod tcp;

pub(super) use link::Link;
pub(super) use tcp::Flags;

use super::counters::Counters;
use super::reader::Packet;
use super::table::{End, Key};
use crate::units::{MonoNanos, TcpSeq};

/// Payload bytes that one packet can have; one that claims more is malformed.
const MAX_PAYLOAD: usize = super::reader::MAX_RECORD;

/// A TCP segment of some connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment<'a> {
    /// The connection.
    pub(super) key: Key,
    /// Which of its ends sent it.
    pub(super) from: End,
    pub(super) seq: TcpSeq,
    pub(super) ack: TcpSeq,
    pub(super) flags: Flags,
    /// Payload bytes.
    pub(super) len: u32,
    /// Those of them that were captured.
    pub(super) head: &'a [u8],
    pub(super) at: MonoNanos,
}

/// Why a packet is not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Link,
    NonIp,
    NonTcp,
    Fragment,
    Cut,
    Malformed,
}

/// Takes a packet apart; refused ones are counted.
#[inline]
pub(super) fn decode<'a>(packet: &Packet<'a>, counters: &mut Counters) -> Option<Segment<'a>> {
    match segment(packet, counters) {
        Ok(segment) => {
            counters.tcp += 1;
            counters.payload_bytes += u64::from(segment.len);
            if (segment.head.len() as u32) < segment.len {
                counters.truncated += 1;
            }
            Some(segment)
        }
        Err(reason) => {
            *match reason {
                Refused::Link => &mut counters.link,
                Refused::NonIp => &mut counters.non_ip,
                Refused::NonTcp => &mut counters.non_tcp,
                Refused::Fragment => &mut counters.fragments,
                Refused::Cut => &mut counters.cut,
                Refused::Malformed => &mut counters.malformed,
            } += 1;
            None
        }
    }
}

#[inline]
fn segment<'a>(packet: &Packet<'a>, counters: &mut Counters) -> Result<Segment<'a>, Refused> {
    let frame = packet.bytes;
    let link = packet.link.ok_or(Refused::Link)?;
    let network = link.network(frame)?;
    let wire_len = (packet.wire_len as usize).max(frame.len());
    let datagram = ip::datagram(frame, network, wire_len)?;
    let header = tcp::header(frame, datagram.payload, datagram.end)?;
    let len = datagram.end - header.payload;
    if len > MAX_PAYLOAD {
        return Err(Refused::Malformed);
    }
    counters.first_fragments += u64::from(datagram.fragment);
    let captured = datagram.end.min(frame.len());
    let (key, from) = Key::new(
        datagram.addresses,
        header.source_port,
        header.destination_port,
    );
    Ok(Segment {
        key,
        from,
        seq: header.seq,
        ack: header.ack,
        flags: header.flags,
        len: len as u32,
        head: frame.get(header.payload..captured).unwrap_or_default(),
        at: packet.at,
    })
}

/// `N` bytes of a frame from a place on.
#[inline]
fn bytes<const N: usize>(frame: &[u8], at: usize) -> Result<&[u8; N], Refused> {
    frame
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .ok_or(Refused::Cut)
}

/// A number of 16 bits in network byte order.
#[inline]
fn half(frame: &[u8], at: usize) -> Result<u16, Refused> {
    bytes(frame, at).map(|bytes| u16::from_be_bytes(*bytes))
}
