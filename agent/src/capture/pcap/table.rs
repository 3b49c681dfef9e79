//! Which connection a packet belongs to.

use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rustc_hash::FxHashMap;

use crate::units::Endpoint;

/// One of a connection's ends: that with the lower address (and port), or the
/// other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Low,
    High,
}

impl End {
    #[inline]
    pub(super) const fn other(self) -> Self {
        match self {
            Self::Low => Self::High,
            Self::High => Self::Low,
        }
    }
}

/// Something that both ends have.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pair<T> {
    pub(super) low: T,
    pub(super) high: T,
}

impl<T> Pair<T> {
    #[inline]
    pub(super) const fn of(&self, end: End) -> &T {
        match end {
            End::Low => &self.low,
            End::High => &self.high,
        }
    }

    #[inline]
    pub(super) const fn of_mut(&mut self, end: End) -> &mut T {
        match end {
            End::Low => &mut self.low,
            End::High => &mut self.high,
        }
    }
}

/// The addresses of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Addresses {
    V4 { source: u32, destination: u32 },
    V6 { source: u128, destination: u128 },
}

/// Both ends' addresses and ports, in an order that does not depend on which
/// of them sent the packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Key {
    V4(V4),
    V6(V6),
}

/// Of each end the address and, in the lowest 16 bits, the port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct V4 {
    low: u64,
    high: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct V6 {
    low: (u128, u16),
    high: (u128, u16),
}

impl V4 {
    /// The connection of a packet, and which end sent it.
    #[inline]
    pub(super) fn new(
        source: u32,
        destination: u32,
        source_port: u16,
        destination_port: u16,
    ) -> (Self, End) {
        let source = u64::from(source) << 16 | u64::from(source_port);
        let destination = u64::from(destination) << 16 | u64::from(destination_port);
        let (low, high, from) = ordered(source, destination);
        (Self { low, high }, from)
    }
}

impl V4 {
    /// Where in [`Table::recent`] it is looked for.
    #[inline]
    const fn place(&self) -> usize {
        // Fibonacci hashing: the upper bits are the mixed ones.
        let mixed = (self.low ^ self.high.rotate_left(32)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (mixed >> (u64::BITS - RECENT.ilog2())) as usize
    }
}

impl Key {
    /// The connection of a packet, and which end sent it.
    #[inline]
    pub(super) fn new(
        addresses: Addresses,
        source_port: u16,
        destination_port: u16,
    ) -> (Self, End) {
        match addresses {
            Addresses::V4 {
                source,
                destination,
            } => {
                let (key, from) = V4::new(source, destination, source_port, destination_port);
                (Self::V4(key), from)
            }
            Addresses::V6 {
                source,
                destination,
            } => {
                let (low, high, from) =
                    ordered((source, source_port), (destination, destination_port));
                (Self::V6(V6 { low, high }), from)
            }
        }
    }

    /// Both ends' ports.
    pub(super) const fn ports(&self) -> (u16, u16) {
        match self {
            Self::V4(key) => (key.low as u16, key.high as u16),
            Self::V6(key) => (key.low.1, key.high.1),
        }
    }

    /// Address and port of one end, IPv4-mapped ones as IPv4.
    pub(super) fn endpoint(&self, end: End) -> Endpoint {
        let (low, high) = self.ports();
        let (port, ip) = match (self, end) {
            (Self::V4(key), End::Low) => (low, v4(key.low)),
            (Self::V4(key), End::High) => (high, v4(key.high)),
            (Self::V6(key), End::Low) => (low, v6(key.low.0)),
            (Self::V6(key), End::High) => (high, v6(key.high.0)),
        };
        Endpoint { ip, port }
    }
}

#[inline]
fn ordered<T: PartialOrd>(source: T, destination: T) -> (T, T, End) {
    if source <= destination {
        (source, destination, End::Low)
    } else {
        (destination, source, End::High)
    }
}

const fn v4(address_and_port: u64) -> IpAddr {
    IpAddr::V4(Ipv4Addr::from_bits((address_and_port >> 16) as u32))
}

const fn v6(address: u128) -> IpAddr {
    Ipv6Addr::from_bits(address).to_canonical()
}

/// A power of two.
const RECENT: usize = 64;

/// A place in the [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Slot(u32);

/// Connections by their key. Places are reused, so memory follows the number
/// of connections held, not of those seen.
#[derive(Debug)]
pub(super) struct Table<T> {
    v4: FxHashMap<V4, Slot>,
    v6: FxHashMap<V6, Slot>,
    entries: Vec<Option<T>>,
    free: Vec<Slot>,
    /// Those of `v4` that were asked for last, by [`V4::place`]: the next
    /// packets are often of the same.
    recent: [Option<(V4, Slot)>; RECENT],
}

impl<T> Default for Table<T> {
    fn default() -> Self {
        Self {
            v4: FxHashMap::default(),
            v6: FxHashMap::default(),
            entries: Vec::new(),
            free: Vec::new(),
            recent: [None; RECENT],
        }
    }
}

impl<T> Table<T> {
    /// How many are held.
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    /// The connection of this key.
    pub(super) fn get(&mut self, key: &Key) -> Option<&mut T> {
        match key {
            Key::V4(key) => self.get_v4(key),
            Key::V6(key) => {
                let slot = *self.v6.get(key)?;
                self.entry(slot)
            }
        }
    }

    /// The same for IPv4.
    #[inline]
    pub(super) fn get_v4(&mut self, key: &V4) -> Option<&mut T> {
        let recent = self.recent.get_mut(key.place())?;
        let slot = match recent {
            Some((recent, slot)) if recent == key => *slot,
            _ => {
                let slot = *self.v4.get(key)?;
                *recent = Some((*key, slot));
                slot
            }
        };
        self.entry(slot)
    }

    #[inline]
    fn entry(&mut self, slot: Slot) -> Option<&mut T> {
        self.entries.get_mut(slot.0 as usize)?.as_mut()
    }

    /// Puts a new key in, which must not be there yet.
    pub(super) fn insert(&mut self, key: Key, entry: T) -> Option<&mut T> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            Slot(self.entries.len() as u32 - 1)
        });
        match key {
            Key::V4(key) => self.v4.insert(key, slot),
            Key::V6(key) => self.v6.insert(key, slot),
        };
        let place = self.entries.get_mut(slot.0 as usize)?;
        Some(place.insert(entry))
    }

    /// Takes a key out.
    pub(super) fn remove(&mut self, key: &Key) -> Option<T> {
        let slot = match key {
            Key::V4(key) => {
                if let Some(recent) = self.recent.get_mut(key.place()) {
                    *recent = None;
                }
                self.v4.remove(key)
            }
            Key::V6(key) => self.v6.remove(key),
        }?;
        let entry = self.entries.get_mut(slot.0 as usize)?.take();
        self.free.push(slot);
        entry
    }

    /// All that are held.
    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.entries.iter_mut().flatten()
    }

    /// All that are held.
    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter().flatten()
    }
}
