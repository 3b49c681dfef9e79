//! Records that are put together in scratch memory.
//!
//! These are functions of plain numbers that find the rest in the program's
//! scratch: the kernel verifies such a function once, not once for each way
//! that leads to its call (global functions, kernel ≥ 5.6).

use agent_ebpf::{CHUNK, Counter, MAX_CHUNKS, PEEK_HEAD, PEEK_TAIL, RawRecord};

use crate::buffer::{IoVec, UIO_MAXIOV};
use crate::call::count;
use crate::emit::HEAD_LIMIT;
use crate::maps::{LOCAL, SCRATCH, Scratch};
use crate::mem::{clamp, opaque, read_kernel, read_user};
use crate::ring;

/// What a call that may start a message brings at least.
const WHOLE: u32 = MAX_CHUNKS * CHUNK as u32;
/// Steps of putting chunks together: two for each piece, of which there are
/// `UIO_MAXIOV` at most, and two for each chunk of the longest head: it is sent,
/// and a piece may go on behind it.
const STEPS: u32 = 2 * UIO_MAXIOV + 2 * (HEAD_LIMIT / CHUNK as u32);

/// Sends everything up to `Work::limit`, chunk by chunk, or until the head has
/// ended and enough is sent.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn whole(program: u32) -> u32 {
    for _ in 0..STEPS {
        if step(program) != 0 {
            break;
        }
    }
    0
}

/// One step: a chunk is sent, or bytes of a piece are added, or the next piece
/// is taken up. Not 0 at the end.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn step(program: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(program) else {
        return 1;
    };
    // SAFETY: a live map value of this CPU and program, in all of this
    // function; volatile as `Work` says.
    unsafe {
        let work = &raw mut (*scratch).work;
        let payload = (&raw mut (*scratch).payload).cast::<u8>();
        let fill = (&raw const (*work).fill).read_volatile();
        let sent = (&raw const (*work).sent).read_volatile();
        let left = u64::from((*work).limit.wrapping_sub(sent)).wrapping_sub(fill);
        if fill >= CHUNK as u64 || left == 0 {
            return flush(program, scratch, fill);
        }
        let piece = (&raw const (*work).piece).read_volatile();
        if piece == 0 {
            let vector = (&raw const (*work).vector).read_volatile();
            if vector == 0 {
                return flush_rest(program, scratch, fill);
            }
            let vector = vector.wrapping_add(size_of::<IoVec>() as u64);
            let Some(next) = read_kernel::<IoVec>(vector) else {
                return flush_rest(program, scratch, fill);
            };
            (*work).vector = vector;
            (*work).address = next.base;
            (*work).piece = next.len;
            return 0;
        }
        let at = clamp::<{ CHUNK as u64 }>(opaque(fill));
        let mut n = (CHUNK as u64).wrapping_sub(fill);
        if piece < n {
            n = piece;
        }
        if left < n {
            n = left;
        }
        let n = clamp::<{ CHUNK as u64 }>(opaque(n));
        let address = (&raw const (*work).address).read_volatile();
        // `at` and `n` are at most a chunk each, and there is room for two.
        if !read_user(payload.add(at as usize), n, address) {
            if let Some(local) = LOCAL.get_ptr_mut(program) {
                count(local, Counter::Fault, 1);
            }
            return flush_rest(program, scratch, fill);
        }
        (*work).fill = fill.wrapping_add(n);
        (*work).address = address.wrapping_add(n);
        (*work).piece = piece.wrapping_sub(n);
    }
    0
}

#[inline(always)]
fn flush_rest(program: u32, scratch: *mut Scratch, fill: u64) -> u32 {
    flush(program, scratch, fill);
    1
}

#[inline(always)]
fn flush(program: u32, scratch: *mut Scratch, fill: u64) -> u32 {
    if fill == 0 {
        return 1;
    }
    let n = clamp::<{ CHUNK as u64 }>(opaque(fill));
    let Some(local) = LOCAL.get_ptr_mut(program) else {
        return 1;
    };
    // SAFETY: as in `step`.
    unsafe {
        let work = &raw mut (*scratch).work;
        let record = &raw mut (*scratch).record;
        let sent = (&raw const (*work).sent).read_volatile();
        (*record).seq = (*work).seq.wrapping_add(sent);
        (*record).len = n as u32;
        (*record).head_len = n as u16;
        (*record).tail_len = 0;
        if (*work).ended == 0 {
            (*work).ended = crate::scan::head_ends(program, n as u32);
        }
        ring::output(local, scratch, n, false);
        let sent = sent.wrapping_add(n as u32);
        (*work).sent = sent;
        (*work).fill = 0;
        u32::from(
            sent >= (*work).limit
                || ((&raw const (*work).ended).read_volatile() != 0 && sent >= WHOLE),
        )
    }
}

/// Sends the first and last bytes of what has not been sent.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn glimpse(program: u32, urgent: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(program) else {
        return 0;
    };
    let Some(local) = LOCAL.get_ptr_mut(program) else {
        return 0;
    };
    // SAFETY: as in `step`.
    unsafe {
        let work = &raw mut (*scratch).work;
        let payload = (&raw mut (*scratch).payload).cast::<u8>();
        let len = (&raw const (*work).len).read_volatile();
        let sent = (&raw const (*work).sent).read_volatile();
        let left = u64::from(len.wrapping_sub(sent));
        let mut head = 0;
        if sent == 0 {
            head = if (*work).pieces.first_len < left {
                (*work).pieces.first_len
            } else {
                left
            };
            head = clamp::<{ PEEK_HEAD as u64 }>(opaque(head));
            if !read_user(payload, head, (*work).pieces.first) {
                head = 0;
            }
        }
        let rest = left.wrapping_sub(head);
        let want = if rest < u64::from(PEEK_TAIL) {
            rest
        } else {
            u64::from(PEEK_TAIL)
        };
        let pieces = (*work).pieces;
        let (address, have) = pieces.tail(u64::from(len), want);
        let mut tail = clamp::<{ PEEK_TAIL as u64 }>(opaque(have));
        let at = clamp::<{ PEEK_HEAD as u64 }>(opaque(head));
        if tail > 0 && !read_user(payload.add(at as usize), tail, address) {
            tail = 0;
        }
        let record = &raw mut (*scratch).record;
        (*record).seq = (*work).seq.wrapping_add(sent);
        (*record).len = left as u32;
        (*record).head_len = at as u16;
        (*record).tail_len = tail as u16;
        let size = clamp::<{ (PEEK_HEAD + PEEK_TAIL) as u64 }>(opaque(at.wrapping_add(tail)));
        ring::output(local, scratch, size, urgent != 0);
    }
    0
}

const _: () = assert!(size_of::<RawRecord>() == 64);
