//! Capture files: which format, and one packet after the other.

use std::io::Read;

use super::classic::Classic;
use super::decode::Link;
use super::error::PcapError;
use super::input::Input;
use super::ng::Ng;
use crate::units::MonoNanos;

/// Bytes a record may have. BIG TCP makes packets of up to 512 KiB; what is
/// far beyond is damage.
pub(super) const MAX_RECORD: usize = 16 * 1024 * 1024;

/// A packet as the file has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Packet<'a> {
    /// What its first header is; `None` if that is not supported.
    pub(super) link: Option<Link>,
    /// When it was captured.
    pub(super) at: MonoNanos,
    /// How long it was on the wire.
    pub(super) wire_len: u32,
    /// What of it was captured.
    pub(super) bytes: &'a [u8],
}

/// What packets are handed to: a closure, but one that is always inlined.
pub(super) trait Take {
    fn take(&mut self, packet: Packet<'_>);
}

/// Where a reader stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The budget is used up.
    Budget,
    /// What has come out of a pipe is used up.
    Dry,
    /// The file ends here.
    End {
        /// Its last record is not whole.
        truncated: bool,
    },
}

/// A file of either format.
#[derive(Debug)]
pub(super) struct Reader<R> {
    input: Input<R>,
    format: Format,
}

#[derive(Debug)]
enum Format {
    Classic(Classic),
    Ng(Ng),
}

impl<R: Read> Reader<R> {
    /// Reads the file header.
    pub(super) fn new(mut input: Input<R>) -> Result<Self, PcapError> {
        if input.want(4)? == 0 {
            return Err(PcapError::Empty);
        }
        let magic = *input
            .window()
            .first_chunk::<4>()
            .ok_or(PcapError::CutHeader)?;
        let format = match magic {
            super::ng::SECTION_MAGIC => Format::Ng(Ng::open(&mut input)?),
            [0x1f, 0x8b, ..] | [0x28, 0xb5, 0x2f, 0xfd] | [0xfd, b'7', b'z', b'X'] => {
                return Err(PcapError::Compressed);
            }
            _ => Format::Classic(Classic::open(&mut input, magic)?),
        };
        Ok(Self { input, format })
    }

    /// The pipe that is read, if it is one.
    pub(super) const fn pipe(&self) -> Option<&R> {
        self.input.pipe()
    }

    /// Hands out what the next `budget` records bring.
    #[inline]
    pub(super) fn read(
        &mut self,
        budget: usize,
        into: &mut impl Take,
    ) -> Result<Stopped, PcapError> {
        match &mut self.format {
            Format::Classic(classic) => classic.read(&mut self.input, budget, into),
            Format::Ng(ng) => ng.read(&mut self.input, budget, into),
        }
    }
}

/// `N` bytes of a header from a fixed place on, which it has.
#[inline]
pub(super) fn array<const N: usize>(header: &[u8], at: usize) -> [u8; N] {
    header
        .get(at..)
        .and_then(<[u8]>::first_chunk)
        .copied()
        .unwrap_or([0; N])
}
