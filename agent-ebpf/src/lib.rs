//! The layout of what the kernel programs and the agent exchange.
//!
//! Everything here crosses the ring buffer or a map, so each type is
//! `#[repr(C)]` without padding, its size is asserted below, and a change of
//! layout raises [`LAYOUT_VERSION`]. User space refuses an object of another
//! version.
#![no_std]

/// Raised with every change of this file that changes bytes.
pub const LAYOUT_VERSION: u32 = 5;

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

/// Bytes of a command name with its zero (`TASK_COMM_LEN`,
/// include/linux/sched.h, unchanged since 2.6).
pub const COMM: usize = 16;

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
    /// Command name of the caller's process, of its first thread, which the
    /// others may be called differently from; zeros behind it. Empty for a
    /// kernel thread.
    pub comm: [u8; COMM],
}

/// Bit in an owner key that says the key is a process, not a cgroup.
pub const OWNER_PROCESS: u64 = 1 << 60;

/// The bytes could not be read, `head_len` is 0.
pub const FLAG_FAULT: u16 = 1;
/// The call's buffer was of a kind that has no user address (kernel pages).
pub const FLAG_NO_BYTES: u16 = 2;

const _: () = assert!(size_of::<RawRecord>() == 64);
const _: () = assert!(size_of::<Tuple>() == 56);

/// Per-CPU counters of the kernel side, by index.
///
/// They only grow; user space sums them over CPUs and programs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Records the programs had to hand over.
    Records = 0,
    /// Records lost because the ring was full.
    RingFull = 1,
    /// Sockets that found no place in the socket map.
    SocketsFull = 2,
    /// Buffers that could not be read.
    Fault = 3,
    /// Calls whose buffer has no user address (sendfile, kernel callers).
    NoBytes = 4,
    /// Calls with more buffer pieces than are walked.
    Pieces = 5,
    /// Send entries whose slot was taken by another task: the time of the
    /// exit stands for that of the entry.
    EntrySlot = 6,
    /// Calls below `skip_to`, which only count.
    Skipped = 7,
    /// Bytes of those calls.
    SkippedBytes = 8,
    /// Bytes that calls of watched sockets moved.
    MovedBytes = 9,
    /// Bytes of those that crossed the ring.
    RingBytes = 10,
    /// Calls on sockets that are known not to speak HTTP.
    Ignored = 11,
    /// Calls on MPTCP sockets, whose bytes go past the programs.
    Mptcp = 12,
    /// Calls of `splice` that read a socket, whose bytes go past the programs.
    SpliceRead = 13,
    /// Calls on sockets in a sockmap, whose bytes go past the programs.
    Sockmap = 14,
    /// Sockets that were given to the kernel's TLS; their bytes go past the
    /// programs from then on.
    KernelTls = 15,
}

/// How many [`Counter`]s there are.
pub const COUNTERS: usize = 16;

/// Programs that keep counters apart, so that none shares scratch memory with
/// one that may interrupt it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Program {
    /// Entry of `tcp_sendmsg`.
    SendEntry = 0,
    /// Exit of `tcp_sendmsg`.
    SendExit = 1,
    /// Exit of `tcp_recvmsg`.
    RecvExit = 2,
    /// `tcp_close`.
    Close = 3,
    /// Exit of `tcp_sendpage`.
    SendPage = 4,
    /// Exit of `skb_copy_datagram_iter`.
    Copy = 5,
    /// Exit of `tcp_sendmsg`, the second program.
    SendExitAgain = 6,
    /// Exit of `tcp_recvmsg`, the second program.
    RecvExitAgain = 7,
    /// `tcp_close`, the second program.
    CloseAgain = 8,
    /// Those that only count what goes past the others.
    Past = 9,
}

/// How many [`Program`]s there are.
pub const PROGRAMS: u32 = 10;

/// What is to be done with an owner's calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Verdict {
    /// Not decided yet: watched.
    Unknown = 0,
    /// Its calls are reported.
    Watch = 1,
    /// Its calls cost one lookup and nothing else.
    Ignore = 2,
    /// Several workloads share the cgroup: look again by process.
    PerProcess = 3,
}

/// Place of the reader's sleep in the map of switches: 1 while it sleeps until
/// it is woken.
pub const SWITCH_ASLEEP: u32 = 0;
/// Place of the start: 1 once all programs are attached. Until then nobody
/// reports, or one half of a connection would be seen without the other.
pub const SWITCH_ON: u32 = 1;
/// How many switches there are.
pub const SWITCHES: u32 = 2;

/// Stands in a call's place for the BTF id of `bpf_preempt_disable`.
pub const PREEMPT_DISABLE: u32 = 0x6e6f_6401;
/// Stands in a call's place for the BTF id of `bpf_preempt_enable`.
pub const PREEMPT_ENABLE: u32 = 0x6e6f_6402;
/// Stands in a call's place for the BTF id of `bpf_local_irq_save`.
pub const IRQ_SAVE: u32 = 0x6e6f_6403;
/// Stands in a call's place for the BTF id of `bpf_local_irq_restore`.
pub const IRQ_RESTORE: u32 = 0x6e6f_6404;

/// Slots of the verdict cache in front of the owner map. A slot holds
/// `owner << 2 | verdict`.
pub const VERDICT_SLOTS: u32 = 4096;
/// Slots of the table of sockets that do not speak HTTP.
pub const IGNORED_SLOTS: u32 = 8192;
/// Slots for the entry times of calls under way, by thread id.
pub const ENTRY_SLOTS: u32 = 16384;

/// Where a socket sits in the table of ignored ones: by the low half of its
/// address, which is all that a program can compute with.
#[must_use]
pub const fn ignored_slot(sock: u64) -> u32 {
    ((sock as u32) >> 6).wrapping_mul(0x9e37_79b9) >> 19
}

const _: () = assert!(IGNORED_SLOTS == 1 << (32 - 19));

/// A socket that does not speak HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct IgnoredSocket {
    /// Address of the `struct sock`, 0 in an empty slot.
    pub sock: u64,
    /// `skc_dport` and `skc_num` as they lie in memory, against reuse of the
    /// pointer.
    pub ports: u32,
    /// Calls on it so far; the counter has whole 256 of them, and the rest at
    /// the socket's close.
    pub calls: u32,
}

/// What user space knows about the bytes to come in one direction; the key is
/// `sock << 1 | direction` ([`skip_key`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Skip {
    /// As in [`RawRecord`]: against reuse of the pointer.
    pub local_origin: u32,
    /// As in [`RawRecord`].
    pub peer_origin: u32,
    /// First sequence number of interest.
    pub until: u32,
    /// Not 0: nothing on this socket is of interest any more.
    pub ignore: u32,
}

/// Key of the map of [`Skip`]s. Kernel addresses have their top bit set on
/// every architecture, so that shifting it out loses nothing.
#[must_use]
pub const fn skip_key(sock: u64, direction: Direction) -> u64 {
    (sock << 1) | direction as u64
}

/// The kernel's own state of a socket.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct SocketState {
    /// As in [`RawRecord`].
    pub local_origin: u32,
    /// As in [`RawRecord`].
    pub peer_origin: u32,
    /// `skc_dport` and `skc_num` as they lie in memory.
    pub ports: u32,
    /// 0 until the `Opened` record went out.
    pub announced: u32,
    /// Bytes that may still belong to a head, by [`Direction`].
    pub pending: [u32; 2],
    /// Calls since the last message start, by [`Direction`].
    pub quiet: [u32; 2],
}

/// Where the kernel keeps what the programs read; from BTF at start, handed
/// over as the frozen global `LAYOUT`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Layout {
    /// [`LAYOUT_VERSION`].
    pub version: u32,
    /// `msghdr.msg_iter`.
    pub msg_iter: u32,
    /// `iov_iter.iter_type`, or `.type` before 5.14.
    pub iter_kind: u32,
    /// Mask of the kind in the 32 bits at that place.
    pub iter_kind_mask: u32,
    /// `ITER_IOVEC`.
    pub iter_iovec: u32,
    /// `ITER_UBUF`, or [`NONE`] before 6.0.
    pub iter_ubuf: u32,
    /// `iov_iter.iov_offset`.
    pub iter_offset: u32,
    /// `iov_iter.iov`, `.__iov` or `.ubuf`: one place.
    pub iter_pointer: u32,
    /// `iov_iter.nr_segs`.
    pub iter_segments: u32,
    /// `tcp_sock.write_seq`.
    pub write_seq: u32,
    /// `tcp_sock.copied_seq`.
    pub copied_seq: u32,
    /// `tcp_sock.rcv_nxt`.
    pub rcv_nxt: u32,
    /// `tcp_sock.bytes_received`.
    pub bytes_received: u32,
    /// `tcp_sock.snd_una`.
    pub snd_una: u32,
    /// `tcp_sock.bytes_acked`.
    pub bytes_acked: u32,
    /// `sock_common.skc_flags`.
    pub flags: u32,
    /// The bit of `SOCK_DONE` in it.
    pub flag_done: u32,
    /// `sock_common.skc_dport`, followed by `skc_num`.
    pub dport: u32,
    /// `sock_common.skc_family`.
    pub family: u32,
    /// `sock_common.skc_daddr`.
    pub daddr: u32,
    /// `sock_common.skc_rcv_saddr`.
    pub saddr: u32,
    /// `sock_common.skc_v6_daddr`, or [`NONE`].
    pub daddr6: u32,
    /// `sock_common.skc_v6_rcv_saddr`, or [`NONE`].
    pub saddr6: u32,
    /// `task_struct.flags`.
    pub task_flags: u32,
    /// `task_struct.group_leader`.
    pub task_leader: u32,
    /// `task_struct.comm`.
    pub task_comm: u32,
    /// `sock.sk_cgrp_data.cgroup`.
    pub sock_cgroup: u32,
    /// `cgroup.kn`.
    pub cgroup_kn: u32,
    /// `kernfs_node.id`.
    pub kn_id: u32,
    /// `sock.sk_protocol`.
    pub protocol: u32,
    /// `sk_buff.sk`.
    pub skb_sock: u32,
    /// `tcp_skb_cb.seq` in `sk_buff.cb`.
    pub skb_seq: u32,
}

/// A place that this kernel does not have.
pub const NONE: u32 = u32::MAX;

/// Other frozen settings, the global `SETTINGS`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Settings {
    /// 1: an owner is a cgroup; 0: a process (no cgroup v2).
    pub by_cgroup: u32,
    /// Ring fill in bytes from which the reader is woken.
    pub wake_bytes: u32,
    /// 1: each program is attached twice, see `again` in `main.rs`.
    pub twice: u32,
}

const _: () = assert!(size_of::<SocketState>() == 32);
const _: () = assert!(size_of::<Skip>() == 16);
const _: () = assert!(size_of::<IgnoredSocket>() == 16);
