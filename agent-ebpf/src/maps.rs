//! The maps. Sizes given here are defaults that the loader may change.

use aya_ebpf::macros::map;
use aya_ebpf::maps::{Array, HashMap, PerCpuArray, RingBuf};

use crate::buffer::Pieces;
use agent_ebpf::{
    CHUNK, COUNTERS, ENTRY_SLOTS, IGNORED_SLOTS, IgnoredSocket, PROGRAMS, RawRecord, SWITCHES,
    Skip, SocketState, VERDICT_SLOTS,
};

/// Records on their way to user space.
#[map]
pub(crate) static RING: RingBuf = RingBuf::with_byte_size(4 << 20, 0);

/// What user space switches, see `SWITCH_ASLEEP` and `SWITCH_ON`.
#[map]
pub(crate) static SWITCH: Array<u32> = Array::with_max_entries(SWITCHES, 0);

/// Verdicts on owners, in full.
#[map]
pub(crate) static OWNERS: HashMap<u64, u64> = HashMap::with_max_entries(16384, 0);

/// Verdicts on owners, direct-mapped: an array look-up is inlined by the JIT,
/// a hash look-up costs five times as much.
#[map]
pub(crate) static VERDICTS: Array<u64> = Array::with_max_entries(VERDICT_SLOTS, 0);

/// Sockets of watched owners.
#[map]
pub(crate) static SOCKETS: HashMap<u64, SocketState> = HashMap::with_max_entries(65536, 0);

/// What user space says of bytes to come.
#[map]
pub(crate) static SKIPS: HashMap<u64, Skip> = HashMap::with_max_entries(32768, 0);

/// Sockets that do not speak HTTP, direct-mapped.
#[map]
pub(crate) static IGNORED: Array<IgnoredSocket> = Array::with_max_entries(IGNORED_SLOTS, 0);

/// Threads that were inside `tcp_recvmsg` when the programs were attached: the
/// exit program does not see that call return.
#[map]
pub(crate) static INSIDE: HashMap<u32, u32> = HashMap::with_max_entries(65536, 0);

/// Sends under way, by thread id.
#[map]
pub(crate) static ENTRIES: Array<Entry> = Array::with_max_entries(ENTRY_SLOTS, 0);

/// Counters and scratch of each program on each CPU.
#[map]
pub(crate) static LOCAL: PerCpuArray<Local> = PerCpuArray::with_max_entries(PROGRAMS, 0);

/// Where records are put together that do not fit the ring's small class.
#[map]
pub(crate) static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(PROGRAMS, 0);

/// A send under way.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Entry {
    pub(crate) pid_tgid: u64,
    pub(crate) time: u64,
    pub(crate) pointer: u64,
    pub(crate) offset: u64,
    pub(crate) segments: u64,
    /// The last call that was reported, by direction: thread and where the
    /// stream stood behind it.
    pub(crate) done: [u64; 2],
}

/// What one program keeps on one CPU.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Local {
    /// A pointer goes in, a number comes out: the verifier forbids arithmetic
    /// on pointers to kernel objects, and forgets what they are in a map.
    pub(crate) cell: u64,
    pub(crate) counters: [u64; COUNTERS],
}

/// A record that is put together.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Scratch {
    pub(crate) work: Work,
    /// Right before the payload: both go out in one piece.
    pub(crate) record: RawRecord,
    /// Twice a chunk, so that position and length may each go up to a chunk.
    pub(crate) payload: [u8; 2 * CHUNK],
}

/// Where the putting together of records stands.
///
/// In memory rather than in variables: what the verifier reads from a map is
/// any number to it, so that one round of a loop looks to it like the next.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Work {
    pub(crate) pieces: Pieces,
    /// The `iovec` in hand, 0 for a single buffer.
    pub(crate) vector: u64,
    /// User address of the next byte.
    pub(crate) address: u64,
    /// Bytes left in the piece in hand.
    pub(crate) piece: u64,
    /// Bytes that lie in the payload.
    pub(crate) fill: u64,
    /// First sequence number and length of the call.
    pub(crate) seq: u32,
    pub(crate) len: u32,
    /// Bytes that went out.
    pub(crate) sent: u32,
    /// Bytes that may go out whole.
    pub(crate) limit: u32,
    /// A head has ended in what went out.
    pub(crate) ended: u32,
    /// Behind the last end of a head in the payload, 0 if there is none.
    pub(crate) behind: u32,
}
