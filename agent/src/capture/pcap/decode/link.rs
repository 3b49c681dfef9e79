//! Link-layer headers (the registry of `LINKTYPE_` values,
//! draft-ietf-opsawg-pcaplinktype).

use super::{Refused, bytes, half};

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// Tags of IEEE 802.1Q, 802.1ad, and what was used before the latter.
const TAGS: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// Tags on one another; more is damage.
const MAX_TAGS: usize = 8;
/// `AF_INET`, and `AF_INET6` of Linux, BSDs and macOS.
const FAMILIES: [u32; 5] = [2, 10, 24, 28, 30];

/// The link types that are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::capture::pcap) enum Link {
    Ethernet,
    /// `LINKTYPE_LINUX_SLL`.
    Cooked,
    /// `LINKTYPE_LINUX_SLL2`.
    CookedV2,
    /// An IP packet, the version in its first bits.
    Raw,
    /// An address family of 4 bytes in either byte order, then IP.
    Loopback,
}

/// Where an IP packet begins in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Network {
    V4(usize),
    V6(usize),
}

impl Link {
    /// The type of this number.
    pub(in crate::capture::pcap) const fn from_number(number: u32) -> Option<Self> {
        Some(match number {
            0 | 108 => Self::Loopback,
            1 => Self::Ethernet,
            // LINKTYPE_RAW, what DLT_RAW is on various systems, and the two
            // types for one IP version each.
            12 | 14 | 101 | 228 | 229 => Self::Raw,
            113 => Self::Cooked,
            276 => Self::CookedV2,
            _ => return None,
        })
    }

    /// Finds the IP packet.
    #[inline]
    pub(super) fn network(self, frame: &[u8]) -> Result<Network, Refused> {
        match self {
            Self::Ethernet => by_ethertype(frame, 12, 14),
            Self::Cooked => by_ethertype(frame, 14, 16),
            Self::CookedV2 => by_ethertype(frame, 0, 20),
            Self::Raw => by_version(frame, 0),
            Self::Loopback => {
                let family = *bytes::<4>(frame, 0)?;
                if [u32::from_le_bytes(family), u32::from_be_bytes(family)]
                    .iter()
                    .any(|family| FAMILIES.contains(family))
                {
                    by_version(frame, 4)
                } else {
                    Err(Refused::NonIp)
                }
            }
        }
    }
}

/// Follows the type field at `field`, whose payload is at `payload`, through
/// tags: each is two bytes and the type of what is inside.
#[inline]
fn by_ethertype(frame: &[u8], field: usize, payload: usize) -> Result<Network, Refused> {
    let mut kind = half(frame, field)?;
    let mut payload = payload;
    for _ in 0..=MAX_TAGS {
        match kind {
            IPV4 => return Ok(Network::V4(payload)),
            IPV6 => return Ok(Network::V6(payload)),
            tag if TAGS.contains(&tag) => {
                kind = half(frame, payload + 2)?;
                payload += 4;
            }
            _ => break,
        }
    }
    Err(Refused::NonIp)
}

fn by_version(frame: &[u8], at: usize) -> Result<Network, Refused> {
    match frame.get(at).ok_or(Refused::Cut)? >> 4 {
        4 => Ok(Network::V4(at)),
        6 => Ok(Network::V6(at)),
        _ => Err(Refused::NonIp),
    }
}
