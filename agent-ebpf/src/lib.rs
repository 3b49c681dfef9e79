//! The layout of what the kernel programs and the agent exchange.
//!
//! Everything here crosses the ring buffer or a map, so each type is
//! `#[repr(C)]` without padding, its size is asserted below, and a change of
//! layout raises [`LAYOUT_VERSION`]. User space refuses an object of another
//! version.
#![no_std]

/// Raised with every change of this file that changes bytes.
pub const LAYOUT_VERSION: u32 = 1;

/// Payload bytes of one record at most. A call that may start a message comes
/// up in several records of this size.
pub const CHUNK: usize = 4096;
/// Payload bytes of the small record class, which holds most heads whole.
pub const SMALL: usize = 448;
/// Chunks a single call may bring: 16 KiB.
pub const MAX_CHUNKS: u32 = 4;
/// First bytes of a call that starts no message.
pub const PEEK_HEAD: u32 = 128;
/// Last bytes of a call that starts no message.
pub const PEEK_TAIL: u32 = 16;

/// What a record reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// First sight of a socket; the payload is [`Tuple`].
    Opened = 1,
    /// Bytes of one call; `head_len` bytes from `seq` on and, behind them in
    /// the payload, the last `tail_len` bytes.
    Segment = 2,
    /// A receive returned 0: the peer will send nothing more.
    Ended = 3,
    /// A call failed with `-len` as its errno.
    Failed = 4,
    /// The socket was closed by its owner.
    Closed = 5,
}

/// Which way the bytes of a record went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Direction {
    /// Received by the socket's owner.
    In = 0,
    /// Sent by the socket's owner.
    Out = 1,
}

/// Head of every record in the ring; the payload follows.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct RawRecord {
    /// [`Kind`].
    pub kind: u8,
    /// [`Direction`].
    pub direction: u8,
    /// Bit set of `FLAG_*`.
    pub flags: u16,
    /// First sequence number the record covers.
    pub seq: u32,
    /// How many bytes of the stream the record covers from `seq` on, or a
    /// negated errno.
    pub len: u32,
    /// Payload bytes from `seq` on.
    pub head_len: u16,
    /// Payload bytes behind those: the last ones of the covered range.
    pub tail_len: u16,
    /// `snd_una - bytes_acked` at first sight of the socket.
    pub local_origin: u32,
    /// `rcv_nxt - bytes_received` at first sight of the socket.
    pub peer_origin: u32,
    /// Address of the kernel's `struct sock`.
    pub sock: u64,
    /// Owner key: cgroup id, or [`OWNER_PROCESS`] and the process id.
    pub owner: u64,
    /// `CLOCK_MONOTONIC` at entry of the call, 0 if not known.
    pub entry: u64,
    /// `CLOCK_MONOTONIC` at exit of the call.
    pub exit: u64,
    /// Process (thread group) and thread id, as `bpf_get_current_pid_tgid`.
    pub pid_tgid: u64,
}

/// Payload of [`Kind::Opened`].
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Tuple {
    /// `AF_INET` or `AF_INET6`.
    pub family: u16,
    /// Local port, host order.
    pub local_port: u16,
    /// Peer's port, network order as the kernel keeps it.
    pub peer_port: u16,
    /// Unused, zero.
    pub reserved: u16,
    /// Local address; IPv4 in the first four bytes.
    pub local: [u8; 16],
    /// Peer's address; IPv4 in the first four bytes.
    pub peer: [u8; 16],
}

/// Bit in an owner key that says the key is a process, not a cgroup.
pub const OWNER_PROCESS: u64 = 1 << 62;

/// The bytes could not be read, `head_len` is 0.
pub const FLAG_FAULT: u16 = 1;
/// The call's buffer was of a kind that has no user address (kernel pages).
pub const FLAG_NO_BYTES: u16 = 2;
/// `write_seq` did not advance by exactly what the call returned.
pub const FLAG_SEQ_UNCERTAIN: u16 = 4;

const _: () = assert!(size_of::<RawRecord>() == 64);
const _: () = assert!(size_of::<Tuple>() == 40);
