//! The pcapng format (draft-ietf-opsawg-pcapng): blocks of a type and a
//! length, in sections that each have a byte order and interfaces of their own.

use std::io::Read;

use super::decode::Link;
use super::error::PcapError;
use super::input::Input;
use super::reader::{MAX_RECORD, Packet, Stopped, Take, array};
use crate::units::MonoNanos;

/// First bytes of a section header block, the same in both byte orders
/// (section 4.1).
pub(super) const SECTION_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Type and length before a block's body, the length again behind it.
const BLOCK_HEAD: usize = 8;
const BLOCK_TAIL: usize = 4;
/// Type, length, byte-order magic, version, section length.
const SECTION_HEAD: usize = 24;
const BYTE_ORDER: u32 = 0x1a2b_3c4d;

const OPTION_END: u16 = 0;
const OPTION_TSRESOL: u16 = 9;
const OPTION_TSOFFSET: u16 = 14;

const NANOS_PER_SEC: u64 = 1_000_000_000;

/// The section being read.
#[derive(Debug)]
pub(super) struct Ng {
    big_endian: bool,
    interfaces: Vec<Interface>,
    /// Time of the last packet that had one.
    last: MonoNanos,
}

/// An interface description block.
#[derive(Clone, Copy, Debug)]
struct Interface {
    link: Option<Link>,
    snap_len: u32,
    clock: Clock,
}

/// What the units of an interface's timestamps are.
#[derive(Clone, Copy, Debug)]
enum Clock {
    /// Whole nanoseconds, no offset.
    Nanos(u64),
    /// Anything else.
    Other {
        units_per_sec: Option<u128>,
        offset_secs: i64,
    },
}

impl Ng {
    /// Reads the first section header.
    pub(super) fn open<R: Read>(input: &mut Input<R>) -> Result<Self, PcapError> {
        let mut ng = Self {
            big_endian: false,
            interfaces: Vec::new(),
            last: MonoNanos(0),
        };
        if ng.section(input)? {
            Ok(ng)
        } else {
            Err(PcapError::CutHeader)
        }
    }

    /// Hands out the packets of the next blocks (section 3.1).
    #[inline]
    pub(super) fn read<R: Read>(
        &mut self,
        input: &mut Input<R>,
        budget: usize,
        into: &mut impl Take,
    ) -> Result<Stopped, PcapError> {
        for taken in 0..budget {
            if taken > 0 && input.waits && !self.has_block(input) {
                return Ok(Stopped::Dry);
            }
            let have = input.want(BLOCK_HEAD)?;
            if have < BLOCK_HEAD {
                let truncated = have > 0;
                return Ok(Stopped::End { truncated });
            }
            let fields = Fields::new(self.big_endian, input.window());
            let (kind, length) = (fields.word(0), fields.word(4) as usize);
            let whole = match kind {
                SECTION => self.section(input)?,
                _ if length < BLOCK_HEAD + BLOCK_TAIL || !length.is_multiple_of(4) => {
                    return damaged(input.offset(), "a block of impossible length");
                }
                INTERFACE | OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET => {
                    if length > MAX_RECORD {
                        return damaged(input.offset(), "a block of impossible length");
                    }
                    let whole = input.want(length)? >= length;
                    if whole {
                        self.block(kind, input.offset(), input.take(length), into)?;
                    }
                    whole
                }
                // A block of another type is passed over.
                _ => input.skip(length)?,
            };
            if !whole {
                return Ok(Stopped::End { truncated: true });
            }
        }
        Ok(Stopped::Budget)
    }

    /// Whether the window holds the next block.
    fn has_block<R: Read>(&self, input: &Input<R>) -> bool {
        let window = input.window();
        let length = Fields::new(self.big_endian, window).word(4) as usize;
        window.len() >= length.max(BLOCK_HEAD)
    }

    /// Reads a block with a packet or an interface.
    #[inline(never)]
    fn block(
        &mut self,
        kind: u32,
        offset: u64,
        block: &[u8],
        into: &mut impl Take,
    ) -> Result<(), PcapError> {
        let end = block.len() - BLOCK_TAIL;
        if Fields::new(self.big_endian, block).word(end) as usize != block.len() {
            return damaged(offset, "a block whose two lengths differ");
        }
        let body = block.get(BLOCK_HEAD..end).unwrap_or_default();
        let body = Fields::new(self.big_endian, body);
        if kind == INTERFACE {
            self.interfaces.push(Interface::read(&body));
        } else if let Some(packet) = self.packet(kind, &body) {
            into.take(packet);
        } else {
            return damaged(offset, "a packet longer than its block");
        }
        Ok(())
    }

    /// Reads a section header block (section 4.1); false if the file ends in it.
    #[cold]
    fn section<R: Read>(&mut self, input: &mut Input<R>) -> Result<bool, PcapError> {
        if input.want(SECTION_HEAD)? < SECTION_HEAD {
            return Ok(false);
        }
        let big_endian = {
            let order = Fields::new(false, input.window()).word(8);
            match (order, order.swap_bytes()) {
                (BYTE_ORDER, _) => false,
                (_, BYTE_ORDER) => true,
                _ => return damaged(input.offset(), "a section without byte order"),
            }
        };
        let fields = Fields::new(big_endian, input.window());
        let length = fields.word(4) as usize;
        let (major, minor) = (fields.half(12), fields.half(14));
        if major != 1 {
            return Err(PcapError::Version { major, minor });
        }
        if length < SECTION_HEAD + BLOCK_TAIL || !length.is_multiple_of(4) {
            return damaged(input.offset(), "a section header of impossible length");
        }
        self.big_endian = big_endian;
        self.interfaces.clear();
        Ok(input.skip(length)?)
    }

    /// Reads one of the three kinds of packet block; `None` if it contradicts
    /// itself.
    #[inline]
    fn packet<'a>(&mut self, kind: u32, body: &Fields<'a>) -> Option<Packet<'a>> {
        let (interface, time, captured, wire_len, data) = match kind {
            // Section 4.4: no time, no interface but the first.
            SIMPLE_PACKET => {
                let wire_len = body.word(0);
                let data = body.bytes.get(4..)?;
                let snap_len = match self.interfaces.first().map(|first| first.snap_len) {
                    None | Some(0) => u32::MAX,
                    Some(limit) => limit,
                };
                let captured = (wire_len.min(snap_len) as usize).min(data.len());
                (self.interfaces.first(), None, captured, wire_len, data)
            }
            // Section 4.3 and, for the obsolete block, its appendix: they
            // differ in the width of the interface's number only.
            _ => {
                let number = if kind == ENHANCED_PACKET {
                    body.word(0) as usize
                } else {
                    usize::from(body.half(0))
                };
                let time = u64::from(body.word(4)) << 32 | u64::from(body.word(8));
                (
                    self.interfaces.get(number),
                    Some(time),
                    body.word(12) as usize,
                    body.word(16),
                    body.bytes.get(20..)?,
                )
            }
        };
        if let (Some(interface), Some(time)) = (interface, time) {
            self.last = interface.clock.nanos(time);
        }
        Some(Packet {
            link: interface.and_then(|interface| interface.link),
            at: self.last,
            wire_len,
            bytes: data.get(..captured)?,
        })
    }
}

impl Interface {
    /// Reads an interface description block (section 4.2) with the two options
    /// that say what a timestamp means.
    #[cold]
    fn read(body: &Fields<'_>) -> Self {
        let mut resolution = 6;
        let mut offset_secs = 0;
        let mut at = 8;
        while at + 4 <= body.bytes.len() {
            let (code, length) = (body.half(at), usize::from(body.half(at + 2)));
            match code {
                OPTION_END => break,
                OPTION_TSRESOL => {
                    resolution = body.bytes.get(at + 4).copied().unwrap_or(resolution);
                }
                OPTION_TSOFFSET if length == 8 => offset_secs = body.long(at + 4).cast_signed(),
                _ => {}
            }
            at += 4 + length.next_multiple_of(4);
        }
        Self {
            link: Link::from_number(u32::from(body.half(0))),
            snap_len: body.word(4),
            clock: Clock::new(resolution, offset_secs),
        }
    }
}

impl Clock {
    /// A clock of this `if_tsresol`: a negative power of 2 if the highest bit
    /// is set, else of 10 (section 4.2).
    fn new(resolution: u8, offset_secs: i64) -> Self {
        match (resolution, offset_secs) {
            (6, 0) => Self::Nanos(1_000),
            (9, 0) => Self::Nanos(1),
            _ => {
                let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
                Self::Other {
                    units_per_sec: base.checked_pow(u32::from(resolution & 0x7f)),
                    offset_secs,
                }
            }
        }
    }

    #[inline]
    fn nanos(self, time: u64) -> MonoNanos {
        match self {
            Self::Nanos(unit) => MonoNanos(time.saturating_mul(unit)),
            Self::Other {
                units_per_sec,
                offset_secs,
            } => {
                // Units so small that 2^64 of them are no time at all.
                let nanos = units_per_sec.map_or(0, |units| {
                    u128::from(time) * u128::from(NANOS_PER_SEC) / units
                });
                let nanos = i128::try_from(nanos).unwrap_or(i128::MAX);
                let offset = i128::from(offset_secs) * i128::from(NANOS_PER_SEC);
                let sum = nanos.saturating_add(offset).max(0);
                MonoNanos(u64::try_from(sum).unwrap_or(u64::MAX))
            }
        }
    }
}

/// Numbers in the section's byte order; zero where there are no bytes, so
/// lengths are checked where they matter.
struct Fields<'a> {
    big_endian: bool,
    bytes: &'a [u8],
}

impl<'a> Fields<'a> {
    const fn new(big_endian: bool, bytes: &'a [u8]) -> Self {
        Self { big_endian, bytes }
    }

    #[inline]
    fn array<const N: usize>(&self, at: usize) -> [u8; N] {
        let mut bytes = array(self.bytes, at);
        if self.big_endian {
            bytes.reverse();
        }
        bytes
    }

    #[inline]
    fn half(&self, at: usize) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    #[inline]
    fn word(&self, at: usize) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    fn long(&self, at: usize) -> u64 {
        u64::from_le_bytes(self.array(at))
    }
}

fn damaged<T>(offset: u64, what: &'static str) -> Result<T, PcapError> {
    Err(PcapError::Damaged { offset, what })
}
