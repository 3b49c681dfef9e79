//! The short way for the packets that captures are full of: IPv4 without
//! options, captured whole, that neither begin nor end a connection.
//!
//! It only saves work. Whatever is unusual goes the long way through `decode`
//! and [`Connection::take`](super::connection::Connection::take), which would
//! do the same to these packets too; a test compares both.

use super::decode::{Flags, Link};
use super::reader::{Packet, array};
use super::stream::Data;
use super::table::{End, V4};
use crate::units::{MonoNanos, TcpSeq};

const IPV4: [u8; 2] = [0x08, 0x00];
const VERSION_4_NO_OPTIONS: u8 = 0x45;
const TCP: u8 = 6;
/// Both headers without options.
const HEADERS: usize = 40;

/// Such a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plain<'a> {
    headers: &'a [u8; HEADERS],
    payload: &'a [u8],
    at: MonoNanos,
}

/// Reads a packet if it is one of these.
#[inline(always)]
pub(super) fn plain(packet: Packet<'_>) -> Option<Plain<'_>> {
    if packet.link == Some(Link::Ethernet) {
        plain_at::<12, 14>(packet.bytes, packet.at)
    } else {
        plain_cooked(packet.link?, packet.bytes, packet.at)
    }
}

#[inline(never)]
fn plain_cooked(link: Link, frame: &[u8], at: MonoNanos) -> Option<Plain<'_>> {
    match link {
        Link::Cooked => plain_at::<14, 16>(frame, at),
        Link::CookedV2 => plain_at::<0, 20>(frame, at),
        Link::Ethernet | Link::Raw | Link::Loopback => None,
    }
}

/// Reads a packet whose link header has the type of what follows at `KIND`, and
/// ends at `NETWORK`.
#[inline(always)]
fn plain_at<const KIND: usize, const NETWORK: usize>(
    frame: &[u8],
    at: MonoNanos,
) -> Option<Plain<'_>> {
    let ip = frame.get(NETWORK..)?;
    let headers = ip.first_chunk::<HEADERS>()?;
    let [version, _] = array(headers, 0);
    let total = usize::from(u16::from_be_bytes(array(headers, 2)));
    let fragment = u16::from_be_bytes(array(headers, 6)) & 0x3fff;
    let [_, protocol] = array(headers, 8);
    let [offset, flags] = array(headers, 32);
    let payload = 20 + usize::from(offset >> 4) * 4;
    if array(frame, KIND) != IPV4
        || version != VERSION_4_NO_OPTIONS
        || fragment != 0
        || protocol != TCP
        || payload < HEADERS
        || !Flags(flags).plain()
    {
        return None;
    }
    Some(Plain {
        headers,
        payload: ip.get(payload..total)?,
        at,
    })
}

impl<'a> Plain<'a> {
    /// Whether it says no more than what its sender has received.
    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.payload.is_empty()
    }

    /// The connection, and which end sent it.
    #[inline]
    pub(super) fn key(self) -> (V4, End) {
        V4::new(
            u32::from_be_bytes(array(self.headers, 12)),
            u32::from_be_bytes(array(self.headers, 16)),
            u16::from_be_bytes(array(self.headers, 20)),
            u16::from_be_bytes(array(self.headers, 22)),
        )
    }

    /// What it carries.
    #[inline]
    pub(super) fn data(self) -> Data<'a> {
        Data {
            seq: TcpSeq(u32::from_be_bytes(array(self.headers, 24))),
            len: self.payload.len() as u32,
            head: self.payload,
            at: self.at,
        }
    }
}
