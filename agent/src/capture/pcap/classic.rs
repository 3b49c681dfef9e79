//! The pcap format (draft-ietf-opsawg-pcap): a header of 24 bytes, then
//! records of 16 bytes and a packet each.

use std::io::Read;

use super::decode::Link;
use super::error::PcapError;
use super::input::Input;
use super::reader::{MAX_RECORD, Packet, Stopped, Take, array};
use crate::units::MonoNanos;

const FILE_HEADER: usize = 24;
const RECORD_HEADER: usize = 16;
const MICROS: u32 = 0xa1b2_c3d4;
const NANOS: u32 = 0xa1b2_3c4d;
const NANOS_PER_SEC: u64 = 1_000_000_000;

/// What the file header says of its records.
#[derive(Debug)]
pub(super) struct Classic {
    big_endian: bool,
    nanos_per_unit: u64,
    link: Link,
}

impl Classic {
    /// Reads the file header (section 4).
    pub(super) fn open<R: Read>(input: &mut Input<R>, magic: [u8; 4]) -> Result<Self, PcapError> {
        let (big_endian, unit) = match (u32::from_le_bytes(magic), u32::from_be_bytes(magic)) {
            (MICROS, _) => (false, 1_000),
            (NANOS, _) => (false, 1),
            (_, MICROS) => (true, 1_000),
            (_, NANOS) => (true, 1),
            (_, other) => return Err(PcapError::Magic(other)),
        };
        input.want(FILE_HEADER)?;
        let header = *input
            .window()
            .first_chunk::<FILE_HEADER>()
            .ok_or(PcapError::CutHeader)?;
        input.consume(FILE_HEADER);
        let version = |at| {
            let bytes = array(&header, at);
            if big_endian {
                u16::from_be_bytes(bytes)
            } else {
                u16::from_le_bytes(bytes)
            }
        };
        let (major, minor) = (version(4), version(6));
        if major != 2 {
            return Err(PcapError::Version { major, minor });
        }
        // The upper bits tell of a frame check sequence (section 4, LinkType
        // and additional information): it lies behind what IP says is its end.
        let number = word(big_endian, array(&header, 20)) & 0x0000_ffff;
        Ok(Self {
            big_endian,
            nanos_per_unit: unit,
            link: Link::from_number(number).ok_or(PcapError::LinkType(number))?,
        })
    }

    /// Hands out the next packets (section 5).
    #[inline]
    pub(super) fn read<R: Read>(
        &self,
        input: &mut Input<R>,
        budget: usize,
        into: &mut impl Take,
    ) -> Result<Stopped, PcapError> {
        // Decided here, not at each field of each packet.
        if self.big_endian {
            self.read_as::<true, R>(input, budget, into)
        } else {
            self.read_as::<false, R>(input, budget, into)
        }
    }

    #[inline(always)]
    fn read_as<const BIG_ENDIAN: bool, R: Read>(
        &self,
        input: &mut Input<R>,
        budget: usize,
        into: &mut impl Take,
    ) -> Result<Stopped, PcapError> {
        for taken in 0..budget {
            let mut record = input.record(captured::<BIG_ENDIAN>);
            if record.is_none() {
                if taken > 0 && input.waits {
                    return Ok(Stopped::Dry);
                }
                if let Some(end) = self.fill(input)? {
                    return Ok(end);
                }
                record = input.record(captured::<BIG_ENDIAN>);
            }
            if let Some((header, bytes)) = record {
                into.take(self.packet::<BIG_ENDIAN>(header, bytes));
            }
        }
        Ok(Stopped::Budget)
    }

    #[inline]
    fn packet<'a, const BIG_ENDIAN: bool>(
        &self,
        header: &[u8; RECORD_HEADER],
        bytes: &'a [u8],
    ) -> Packet<'a> {
        let field = |at| u64::from(word(BIG_ENDIAN, array(header, at)));
        Packet {
            link: Some(self.link),
            at: MonoNanos(field(0) * NANOS_PER_SEC + field(4) * self.nanos_per_unit),
            wire_len: word(BIG_ENDIAN, array(header, 12)),
            bytes,
        }
    }

    /// Makes the window hold the next record, if there is one.
    #[cold]
    fn fill<R: Read>(&self, input: &mut Input<R>) -> Result<Option<Stopped>, PcapError> {
        let have = input.want(RECORD_HEADER)?;
        let Some(header) = input.window().first_chunk::<RECORD_HEADER>() else {
            let truncated = have > 0;
            return Ok(Some(Stopped::End { truncated }));
        };
        let captured = word(self.big_endian, array(header, 8)) as usize;
        if captured > MAX_RECORD {
            return Err(PcapError::Damaged {
                offset: input.offset(),
                what: "a packet of impossible length",
            });
        }
        let length = RECORD_HEADER + captured;
        Ok((input.want(length)? < length).then_some(Stopped::End { truncated: true }))
    }
}

/// Bytes of a packet that are in the file.
#[inline]
fn captured<const BIG_ENDIAN: bool>(header: &[u8; RECORD_HEADER]) -> usize {
    word(BIG_ENDIAN, array(header, 8)) as usize
}

#[inline]
const fn word(big_endian: bool, bytes: [u8; 4]) -> u32 {
    if big_endian {
        u32::from_be_bytes(bytes)
    } else {
        u32::from_le_bytes(bytes)
    }
}
