//! Why a capture cannot be read.

use std::io;

/// Why a capture cannot be read (any further).
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PcapError {
    /// Nothing in it.
    #[error("the file is empty")]
    Empty,
    /// Neither pcap nor pcapng.
    #[error("not a pcap or pcapng file (it begins with {0:#010x})")]
    Magic(u32),
    /// Packed.
    #[error("the capture is compressed: unpack it first")]
    Compressed,
    /// The file header is not complete.
    #[error("the file ends inside its header")]
    CutHeader,
    /// A version nobody has written yet.
    #[error("version {major}.{minor} of the file format is not supported")]
    Version {
        /// Major version.
        major: u16,
        /// Minor version.
        minor: u16,
    },
    /// The whole file is of a link type that is not read here.
    #[error("link type {0} is not supported (Ethernet, Linux cooked, raw IP and loopback are)")]
    LinkType(u32),
    /// A record that cannot be.
    #[error("damaged at byte {offset}: {what}")]
    Damaged {
        /// Where in the file the record begins.
        offset: u64,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The file could not be read.
    #[error("cannot read: {0}")]
    Io(#[from] io::Error),
}
