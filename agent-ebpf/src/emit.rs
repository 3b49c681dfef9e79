//! What of a call's bytes goes up.
//!
//! A small call goes up whole. A larger one goes up whole, in chunks, if it
//! may start a message or a head is pending: 16 KiB of it, and more until the
//! head has ended, up to 64 KiB. Any other sends its first and last bytes,
//! and nothing at all if user space said it may be skipped.

use agent_ebpf::{
    Counter, Direction, FLAG_FAULT, FLAG_NO_BYTES, Kind, RawRecord, SMALL, Skip, skip_key,
};

use crate::buffer::{IoVec, Pieces};
use crate::call::Call;
use crate::chunks::{glimpse, whole};
use crate::maps::{IGNORED, SCRATCH, SKIPS};
use crate::mem::{clamp, opaque, read_kernel, read_user};
use crate::ring;
use crate::sniff::{WINDOW, may_start};

/// A head may be as long as this, over however many calls.
pub(crate) const HEAD_LIMIT: u32 = 64 << 10;

/// Reports `len` bytes from `seq` on.
#[inline(always)]
pub(crate) fn bytes(call: &Call, seq: u32, len: u32, pieces: Pieces) {
    if pieces.first == 0 {
        if !skipped(call, seq, len) {
            bare(call, seq, len, FLAG_NO_BYTES);
        }
        return;
    }
    if len <= SMALL as u32 {
        if pieces.first_len >= u64::from(len) {
            small::<Small>(call, seq, len, &pieces);
            return;
        }
        // A head in one piece and a body in the next, most of the time.
        if small::<Pieced>(call, seq, len, &pieces) {
            return;
        }
    }
    large(call, seq, len, pieces);
}

/// A call that fits the small class: read once, straight into the ring.
/// False if it lies in more pieces than are read here.
#[inline(always)]
fn small<R: Room>(call: &Call, seq: u32, len: u32, pieces: &Pieces) -> bool {
    let Some(mut room) = ring::reserve::<R>(call) else {
        return true;
    };
    let (record, payload) = R::parts(room.as_mut_ptr());
    match R::read(payload, len, pieces) {
        Read::Whole => {}
        Read::Fault => {
            call.count(Counter::Fault, 1);
            call.write(record, Kind::Segment, seq, len, 0, 0, FLAG_FAULT);
            ring::submit(call, room, false);
            return true;
        }
        Read::More => {
            ring::discard(call, room);
            return false;
        }
    }
    let start = may_start(payload, u64::from(len));
    let wanted = start || pending(call) != 0;
    if (!wanted || in_body(call)) && skipped(call, seq, len) {
        ring::discard(call, room);
        return true;
    }
    call.write(record, Kind::Segment, seq, len, len as u16, 0, 0);
    let ended = len >= 4 && {
        let last = clamp::<{ SMALL as u64 - 4 }>(opaque(u64::from(len)).wrapping_sub(4));
        // SAFETY: `last` is at most SMALL - 4.
        unsafe { payload.add(last as usize).cast::<u32>().read_unaligned() == END_OF_HEAD }
    };
    let urgent = settle(call, start, ended, len);
    call.count(Counter::RingBytes, u64::from(len));
    ring::submit(call, room, urgent);
    true
}

/// What became of reading a call's bytes.
enum Read {
    Whole,
    Fault,
    /// It lies in more pieces.
    More,
}

/// Room in the ring for a small call.
trait Room: Sized + 'static {
    /// Where the record and its payload go.
    fn parts(room: *mut Self) -> (*mut RawRecord, *mut u8);
    /// Reads the call's bytes.
    fn read(payload: *mut u8, len: u32, pieces: &Pieces) -> Read;
}

/// Room for a call in one piece.
#[repr(C)]
struct Small {
    record: RawRecord,
    payload: [u8; SMALL],
}

impl Room for Small {
    #[inline(always)]
    fn parts(room: *mut Self) -> (*mut RawRecord, *mut u8) {
        // SAFETY: ring memory of that size; nothing is read.
        unsafe { (&raw mut (*room).record, (&raw mut (*room).payload).cast()) }
    }

    #[inline(always)]
    fn read(payload: *mut u8, len: u32, pieces: &Pieces) -> Read {
        let n = clamp::<{ SMALL as u64 }>(u64::from(len));
        if read_user(payload, n, pieces.first) {
            Read::Whole
        } else {
            Read::Fault
        }
    }
}

/// Room for a call in a few pieces; twice as large, so that position and
/// length of a piece may each go up to the whole.
#[repr(C)]
struct Pieced {
    record: RawRecord,
    payload: [u8; 2 * SMALL],
}

/// Pieces of a small call that are read here.
const FEW: u32 = 4;

impl Room for Pieced {
    #[inline(always)]
    fn parts(room: *mut Self) -> (*mut RawRecord, *mut u8) {
        // SAFETY: ring memory of that size; nothing is read.
        unsafe { (&raw mut (*room).record, (&raw mut (*room).payload).cast()) }
    }

    #[inline(always)]
    fn read(payload: *mut u8, len: u32, pieces: &Pieces) -> Read {
        let mut vector = pieces.vectors;
        let mut address = pieces.first;
        let mut piece = pieces.first_len;
        let mut at = 0_u64;
        for _ in 0..FEW {
            let left = u64::from(len).wrapping_sub(at);
            let n = clamp::<{ SMALL as u64 }>(opaque(if piece < left { piece } else { left }));
            let to = clamp::<{ SMALL as u64 }>(opaque(at));
            // SAFETY: `to` and `n` are at most SMALL each, and there is room
            // for two.
            if n != 0 && !read_user(unsafe { payload.add(to as usize) }, n, address) {
                return Read::Fault;
            }
            at = to + n;
            if at >= u64::from(len) {
                return Read::Whole;
            }
            vector = vector.wrapping_add(size_of::<IoVec>() as u64);
            let Some(next) = read_kernel::<IoVec>(vector) else {
                return Read::Fault;
            };
            address = next.base;
            piece = next.len;
        }
        Read::More
    }
}

/// A call that moved this much may be part of a body worth skipping.
const LONG: u32 = 1024;
const END_OF_HEAD: u32 = u32::from_le_bytes(*b"\r\n\r\n");

/// A call that is larger or lies in several pieces.
#[inline(always)]
fn large(call: &Call, seq: u32, len: u32, pieces: Pieces) {
    let Some(scratch) = SCRATCH.get_ptr_mut(call.program as u32) else {
        return;
    };
    // SAFETY: a live map value of this CPU and program.
    let payload = unsafe { (&raw mut (*scratch).payload).cast::<u8>() };
    let window = clamp::<WINDOW>(if pieces.first_len < u64::from(len) {
        pieces.first_len
    } else {
        u64::from(len)
    });
    if !read_user(payload, window, pieces.first) {
        call.count(Counter::Fault, 1);
        bare(call, seq, len, FLAG_FAULT);
        return;
    }
    let start = may_start(payload, window);
    let wanted = start || pending(call) != 0;
    // Asked whatever the bytes look like: bodies hold prose, logs and HTML, and
    // each call of one that seems to start something would come up whole.
    if skipped(call, seq, len) {
        return;
    }
    // SAFETY: a live map value of this CPU and program.
    unsafe {
        call.write(&raw mut (*scratch).record, Kind::Segment, seq, len, 0, 0, 0);
        let work = &raw mut (*scratch).work;
        (*work).pieces = pieces;
        (*work).vector = pieces.vectors;
        (*work).address = pieces.first;
        (*work).piece = pieces.first_len;
        (*work).fill = 0;
        (*work).seq = seq;
        (*work).len = len;
        (*work).sent = 0;
        (*work).limit = if len < HEAD_LIMIT { len } else { HEAD_LIMIT };
        (*work).ended = 0;
    }
    let program = call.program as u32;
    if wanted || len <= SMALL as u32 {
        whole(program);
        // SAFETY: as above.
        let (sent, ended) = unsafe {
            let work = &raw const (*scratch).work;
            (
                (&raw const (*work).sent).read_volatile(),
                (&raw const (*work).ended).read_volatile(),
            )
        };
        let urgent = settle(call, start, ended != 0, len);
        if sent < len {
            // The rest: a body, or what could not be read.
            glimpse(program, u32::from(urgent));
        }
    } else {
        let urgent = settle(call, false, false, len);
        glimpse(program, u32::from(urgent));
    }
}

/// A record without bytes.
#[inline(always)]
fn bare(call: &Call, seq: u32, len: u32, flags: u16) {
    let Some(mut room) = ring::reserve::<RawRecord>(call) else {
        return;
    };
    call.write(room.as_mut_ptr(), Kind::Segment, seq, len, 0, 0, flags);
    let urgent = settle(call, false, false, len);
    ring::submit(call, room, urgent);
}

/// Notes what the call says about the calls to come. Returns whether the
/// reader's word on a long body is wanted at once.
#[inline(always)]
fn settle(call: &Call, start: bool, ended: bool, len: u32) -> bool {
    let way = call.direction as usize & 1;
    // SAFETY: a live map value; `way` is 0 or 1. Two calls at once on one
    // direction of a socket are a program's own fault.
    unsafe {
        let pending = &raw mut (*call.state).pending[way];
        let quiet = &raw mut (*call.state).quiet[way];
        if start {
            // A start behind one whose head has not ended, or one whose head is
            // too long: most likely a body of lines that look like a start.
            let again = !ended && (*pending != 0 || len >= HEAD_LIMIT);
            *pending = if ended || len >= HEAD_LIMIT {
                0
            } else {
                HEAD_LIMIT - len
            };
            *quiet = 0;
            return again && len > LONG;
        }
        if ended || *pending <= len {
            *pending = 0;
        } else {
            *pending -= len;
        }
        *quiet += 1;
        // The second long call in a row that starts nothing: a long body.
        *quiet == 2 && len > LONG
    }
}

#[inline(always)]
fn pending(call: &Call) -> u32 {
    // SAFETY: a live map value.
    unsafe { (*call.state).pending[call.direction as usize & 1] }
}

/// Whether the call before this one started nothing. Then user space has its
/// say even of bytes that look like a start.
#[inline(always)]
fn in_body(call: &Call) -> bool {
    // SAFETY: a live map value.
    unsafe { (*call.state).quiet[call.direction as usize & 1] != 0 }
}

/// Whether user space has no use for these bytes.
#[inline(always)]
fn skipped(call: &Call, seq: u32, len: u32) -> bool {
    let key = skip_key(call.sock, call.direction);
    let Some(skip) = SKIPS.get_ptr(&key) else {
        return false;
    };
    // SAFETY: a live map value.
    let Skip {
        local_origin,
        peer_origin,
        until,
        ignore,
    } = unsafe { *skip };
    // SAFETY: as above.
    let state = unsafe { &*call.state };
    if local_origin != state.local_origin || peer_origin != state.peer_origin {
        return false;
    }
    if ignore != 0 {
        let slot = agent_ebpf::ignored_slot(call.sock) & (agent_ebpf::IGNORED_SLOTS - 1);
        if let Some(to) = IGNORED.get_ptr_mut(slot) {
            // SAFETY: as above.
            unsafe {
                *to = agent_ebpf::IgnoredSocket {
                    sock: call.sock,
                    ports: state.ports,
                    calls: 0,
                };
            }
        }
        return true;
    }
    let end = seq.wrapping_add(len);
    if (until.wrapping_sub(end) as i32) >= 0 {
        call.count(Counter::Skipped, 1);
        call.count(Counter::SkippedBytes, u64::from(len));
        return true;
    }
    if (seq.wrapping_sub(until) as i32) > 0 {
        let _ = SKIPS.remove(&key);
    }
    false
}

/// Forgets what user space said of a closed socket.
#[inline(always)]
pub(crate) fn forget(sock: u64) {
    let _ = SKIPS.remove(skip_key(sock, Direction::In));
    let _ = SKIPS.remove(skip_key(sock, Direction::Out));
}
