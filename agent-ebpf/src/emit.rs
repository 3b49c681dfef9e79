//! What of a call's bytes goes up.
//!
//! A small call goes up whole. A larger one goes up whole, in chunks, if it
//! may start a message or a head is pending: 16 KiB of it, and more until the
//! head has ended, up to 64 KiB. Any other sends its first and last bytes,
//! and nothing at all if user space said it may be skipped.

use agent_ebpf::{
    CHUNK, Counter, Direction, FLAG_FAULT, FLAG_NO_BYTES, Kind, MAX_CHUNKS, PEEK_HEAD, PEEK_TAIL, RawRecord, SMALL,
    Skip, skip_key,
};

use crate::buffer::{IoVec, Pieces};
use crate::call::Call;
use crate::maps::{IGNORED, SCRATCH, SKIPS, Scratch};
use crate::mem::{clamp, opaque, read_kernel, read_user};
use crate::ring;
use crate::sniff::{WINDOW, may_start};

/// A head may be as long as this, over however many calls.
const HEAD_LIMIT: u32 = 64 << 10;
/// What a call that may start a message brings at least.
const WHOLE: u32 = MAX_CHUNKS * CHUNK as u32;
/// Steps of putting chunks together: one for each piece and each chunk.
const STEPS: u32 = 96;

#[repr(C)]
struct Small {
    record: RawRecord,
    payload: [u8; SMALL],
}

/// Reports `len` bytes from `seq` on.
#[inline(always)]
pub(crate) fn bytes(call: &Call, seq: u32, len: u32, pieces: Pieces) {
    if pieces.first == 0 {
        if !skipped(call, seq, len) {
            bare(call, seq, len, FLAG_NO_BYTES);
        }
        return;
    }
    if len <= SMALL as u32 && pieces.first_len >= u64::from(len) {
        small(call, seq, len, pieces.first);
        return;
    }
    large(call, seq, len, pieces);
}

/// A call that fits the small class and lies in one piece: read once, straight
/// into the ring.
#[inline(always)]
fn small(call: &Call, seq: u32, len: u32, address: u64) {
    let Some(mut room) = ring::reserve::<Small>(call) else { return };
    let to = room.as_mut_ptr();
    // SAFETY: ring memory of that size.
    let payload = unsafe { (&raw mut (*to).payload).cast::<u8>() };
    let n = clamp::<{ SMALL as u64 }>(u64::from(len));
    if !read_user(payload, n, address) {
        call.count(Counter::Fault, 1);
        // SAFETY: as above.
        call.write(unsafe { &raw mut (*to).record }, Kind::Segment, seq, len, 0, 0, FLAG_FAULT);
        ring::submit(call, room, false);
        return;
    }
    let start = may_start(payload, u64::from(len));
    if !start && pending(call) == 0 && skipped(call, seq, len) {
        ring::discard(call, room);
        return;
    }
    // SAFETY: as above.
    call.write(unsafe { &raw mut (*to).record }, Kind::Segment, seq, len, len as u16, 0, 0);
    let ended = len >= 4 && {
        let last = clamp::<{ SMALL as u64 - 4 }>(opaque(u64::from(len)).wrapping_sub(4));
        // SAFETY: `last` is at most SMALL - 4.
        unsafe { payload.add(last as usize).cast::<u32>().read_unaligned() == END_OF_HEAD }
    };
    let urgent = settle(call, start, ended, len);
    call.count(Counter::RingBytes, u64::from(len));
    ring::submit(call, room, urgent);
}

const END_OF_HEAD: u32 = u32::from_le_bytes(*b"\r\n\r\n");

/// A call that is larger or lies in several pieces.
#[inline(always)]
fn large(call: &Call, seq: u32, len: u32, pieces: Pieces) {
    let Some(scratch) = SCRATCH.get_ptr_mut(call.program as u32) else { return };
    // SAFETY: a live map value of this CPU and program.
    let payload = unsafe { (&raw mut (*scratch).payload).cast::<u8>() };
    let window = clamp::<WINDOW>(if pieces.first_len < u64::from(len) { pieces.first_len } else { u64::from(len) });
    if !read_user(payload, window, pieces.first) {
        call.count(Counter::Fault, 1);
        bare(call, seq, len, FLAG_FAULT);
        return;
    }
    let start = may_start(payload, window);
    if !start && pending(call) == 0 && len > SMALL as u32 {
        if !skipped(call, seq, len) {
            let urgent = settle(call, false, false, len);
            glimpse(call, scratch, seq, len, 0, &pieces, urgent);
        }
        return;
    }
    if !start && pending(call) == 0 && skipped(call, seq, len) {
        return;
    }
    whole(call, scratch, seq, len, pieces, start);
}

/// The first and last bytes of what is left of a call behind `done`.
#[inline(always)]
fn glimpse(call: &Call, scratch: *mut Scratch, seq: u32, len: u32, done: u32, pieces: &Pieces, urgent: bool) {
    // SAFETY: a live map value of this CPU and program.
    let payload = unsafe { (&raw mut (*scratch).payload).cast::<u8>() };
    let mut head = 0;
    if done == 0 {
        head = clamp::<{ PEEK_HEAD as u64 }>(pieces.first_len);
        if u64::from(len) < head {
            head = u64::from(len);
        }
        if !read_user(payload, clamp::<{ PEEK_HEAD as u64 }>(opaque(head)), pieces.first) {
            head = 0;
        }
    }
    let left = u64::from(len - done);
    let want = if left - head < u64::from(PEEK_TAIL) { left - head } else { u64::from(PEEK_TAIL) };
    let (address, have) = pieces.tail(u64::from(len), want);
    let mut tail = clamp::<{ PEEK_TAIL as u64 }>(have);
    head = clamp::<{ PEEK_HEAD as u64 }>(opaque(head));
    // SAFETY: `head` is at most PEEK_HEAD.
    if tail > 0 && !read_user(unsafe { payload.add(head as usize) }, tail, address) {
        tail = 0;
    }
    // SAFETY: a live map value.
    let record = unsafe { &raw mut (*scratch).record };
    call.write(record, Kind::Segment, seq.wrapping_add(done), len - done, head as u16, tail as u16, 0);
    call.count(Counter::RingBytes, head + tail);
    let size = clamp::<{ size_of::<RawRecord>() as u64 + PEEK_HEAD as u64 + PEEK_TAIL as u64 }>(
        size_of::<RawRecord>() as u64 + head + tail,
    );
    ring::output(call, scratch, size, urgent);
}

/// A record without bytes.
#[inline(always)]
fn bare(call: &Call, seq: u32, len: u32, flags: u16) {
    let Some(mut room) = ring::reserve::<RawRecord>(call) else { return };
    call.write(room.as_mut_ptr(), Kind::Segment, seq, len, 0, 0, flags);
    let urgent = settle(call, false, false, len);
    ring::submit(call, room, urgent);
}

/// Everything, chunk by chunk, as far as a head may reach.
#[inline(always)]
fn whole(call: &Call, scratch: *mut Scratch, seq: u32, len: u32, pieces: Pieces, start: bool) {
    // SAFETY: a live map value of this CPU and program.
    let payload = unsafe { (&raw mut (*scratch).payload).cast::<u8>() };
    let record = unsafe { &raw mut (*scratch).record };
    let limit = if len < HEAD_LIMIT { len } else { HEAD_LIMIT };
    let mut vector = pieces.vectors;
    let mut address = pieces.first;
    let mut piece = pieces.first_len;
    let mut fill = 0_u64;
    let mut sent = 0_u32;
    let mut ended = false;
    for _ in 0..STEPS {
        let left = u64::from(limit - sent).wrapping_sub(fill);
        if fill == CHUNK as u64 || left == 0 {
            if fill == 0 {
                break;
            }
            let n = clamp::<{ CHUNK as u64 }>(fill);
            call.write(record, Kind::Segment, seq.wrapping_add(sent), n as u32, n as u16, 0, 0);
            if !ended {
                ended = crate::scan::head_ends(call.program as u32, n as u32) != 0;
            }
            ring::output(call, scratch, size_of::<RawRecord>() as u64 + n, false);
            call.count(Counter::RingBytes, n);
            sent += n as u32;
            fill = 0;
            if sent >= limit || (ended && sent >= WHOLE) {
                break;
            }
            continue;
        }
        if piece == 0 {
            if vector == 0 {
                break;
            }
            vector += size_of::<IoVec>() as u64;
            let Some(next) = read_kernel::<IoVec>(vector) else { break };
            address = next.base;
            piece = next.len;
            continue;
        }
        let mut n = CHUNK as u64 - clamp::<{ CHUNK as u64 }>(fill);
        if piece < n {
            n = piece;
        }
        if left < n {
            n = left;
        }
        let n = clamp::<{ CHUNK as u64 }>(opaque(n));
        let at = clamp::<{ CHUNK as u64 }>(opaque(fill));
        // SAFETY: `at` and `n` are at most a chunk each, and there is room for two.
        if !read_user(unsafe { payload.add(at as usize) }, n, address) {
            call.count(Counter::Fault, 1);
            break;
        }
        fill += n;
        address += n;
        piece -= n;
    }
    settle(call, start, ended, len);
    if sent < len {
        // The rest: a body, or what could not be read.
        glimpse(call, scratch, seq, len, sent, &pieces, false);
    }
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
            *pending = if ended { 0 } else { HEAD_LIMIT };
            *quiet = 0;
        } else if ended || *pending <= len {
            *pending = 0;
        } else {
            *pending -= len;
        }
        if start {
            return false;
        }
        *quiet += 1;
        *quiet == 1
    }
}

#[inline(always)]
fn pending(call: &Call) -> u32 {
    // SAFETY: a live map value.
    unsafe { (*call.state).pending[call.direction as usize & 1] }
}

/// Whether user space has no use for these bytes.
#[inline(always)]
fn skipped(call: &Call, seq: u32, len: u32) -> bool {
    let key = skip_key(call.sock, call.direction);
    let Some(skip) = SKIPS.get_ptr(&key) else { return false };
    // SAFETY: a live map value.
    let Skip { local_origin, peer_origin, until, ignore } = unsafe { *skip };
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
                *to = agent_ebpf::IgnoredSocket { sock: call.sock, ports: state.ports, reserved: 0 };
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
