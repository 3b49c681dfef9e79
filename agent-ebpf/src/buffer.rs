//! Where the bytes of a call are in user memory.

use agent_ebpf::Counter;

use crate::call::Call;
use crate::globals::layout;
use crate::maps::{Entry, SCRATCH};
use crate::mem::{Mem, read_kernel};

/// `struct iovec` (include/uapi/linux/uio.h).
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct IoVec {
    pub(crate) base: u64,
    pub(crate) len: u64,
}

/// Pieces of user memory that hold a call's bytes, in order.
#[repr(C)]
#[derive(Clone, Copy)]
pub(crate) struct Pieces {
    /// Kernel address of the first `iovec`, 0 for a single buffer.
    pub(crate) vectors: u64,
    /// User address of the first byte, 0 if there is none.
    pub(crate) first: u64,
    /// Bytes of the first piece.
    pub(crate) first_len: u64,
    /// Kernel address of the `iovec` behind the last byte, or holding it.
    pub(crate) end: u64,
    /// Bytes of that one that were moved.
    pub(crate) end_offset: u64,
}

/// Pieces walked back in the program itself to find where a receive began; more
/// are walked by [`walk_back`].
const BACK: u32 = 4;

/// Pieces that a call has at most (include/uapi/linux/uio.h).
pub(crate) const UIO_MAXIOV: u32 = 1024;

impl Pieces {
    /// No byte can be read.
    pub(crate) const NOTHING: Self = Self {
        vectors: 0,
        first: 0,
        first_len: 0,
        end: 0,
        end_offset: 0,
    };

    /// Finds the bytes that a call moved, from the iterator as it was at the
    /// entry or, without that, from where it stands now, counting back.
    ///
    /// An iterator over one user buffer (`ITER_UBUF`, kernel ≥ 6.0) keeps its
    /// base and moves its offset; one over several (`ITER_IOVEC`) moves its
    /// pointer past what is done (lib/iov_iter.c, `iov_iter_iovec_advance`).
    #[inline(always)]
    pub(crate) fn find<M: Mem>(
        call: &Call,
        msg: *const u8,
        len: u32,
        entry: Option<*const Entry>,
    ) -> Self {
        let iter = layout!(msg_iter);
        let kind = if layout!(iter_kind_mask) <= 0xff {
            u32::from(M::u8(msg, iter + layout!(iter_kind))) & layout!(iter_kind_mask)
        } else {
            M::u32(msg, iter + layout!(iter_kind)) & layout!(iter_kind_mask)
        };
        let offset = M::u64(msg, iter + layout!(iter_offset));
        // SAFETY: a live map value of this CPU and program.
        let pointer = unsafe {
            let cell = &raw mut (*call.local).cell;
            M::pointer(msg, iter + layout!(iter_pointer), cell);
            core::ptr::read_volatile(cell)
        };
        let len = u64::from(len);
        if kind == layout!(iter_ubuf) {
            let first = pointer.wrapping_add(offset).wrapping_sub(len);
            return Self {
                vectors: 0,
                first,
                first_len: len,
                end: 0,
                end_offset: 0,
            };
        }
        if kind != layout!(iter_iovec) {
            call.count(Counter::NoBytes, 1);
            return Self::NOTHING;
        }
        if let Some(entry) = entry {
            // SAFETY: a live map value.
            let (vectors, skip) = unsafe { ((*entry).pointer, (*entry).offset) };
            if let Some(vector) = read_kernel::<IoVec>(vectors) {
                return Self {
                    vectors,
                    first: vector.base.wrapping_add(skip),
                    first_len: vector.len.wrapping_sub(skip),
                    end: pointer,
                    end_offset: offset,
                };
            }
            return Self::NOTHING;
        }
        Self::back(call, pointer, offset, len)
    }

    #[inline(always)]
    fn back(call: &Call, end: u64, end_offset: u64, len: u64) -> Self {
        let mut at = end;
        let mut left = len;
        let mut within = end_offset;
        for _ in 0..BACK {
            if within >= left {
                return Self::from_within(at, within.wrapping_sub(left), end, end_offset);
            }
            left = left.wrapping_sub(within);
            at = at.wrapping_sub(size_of::<IoVec>() as u64);
            let Some(vector) = read_kernel::<IoVec>(at) else {
                return Self::NOTHING;
            };
            within = vector.len;
        }
        let Some(scratch) = SCRATCH.get_ptr_mut(call.program as u32) else {
            return Self::NOTHING;
        };
        // SAFETY: a live map value of this CPU and program; volatile as `Work`
        // says.
        let (found, at, skip) = unsafe {
            let work = &raw mut (*scratch).work;
            (*work).vector = at;
            (*work).address = within;
            (*work).piece = left;
            let found = walk_back(call.program as u32);
            let within = (&raw const (*work).address).read_volatile();
            let left = (&raw const (*work).piece).read_volatile();
            let at = (&raw const (*work).vector).read_volatile();
            (found, at, within.wrapping_sub(left))
        };
        if found == 0 {
            call.count(Counter::Pieces, 1);
            return Self::NOTHING;
        }
        Self::from_within(at, skip, end, end_offset)
    }

    /// From this many bytes behind the start of the piece at `at`.
    #[inline(always)]
    fn from_within(at: u64, skip: u64, end: u64, end_offset: u64) -> Self {
        let Some(vector) = read_kernel::<IoVec>(at) else {
            return Self::NOTHING;
        };
        Self {
            vectors: at,
            first: vector.base.wrapping_add(skip),
            first_len: vector.len.wrapping_sub(skip),
            end,
            end_offset,
        }
    }

    /// User address of the last bytes and how many are in one piece, at most
    /// `want`.
    #[inline(always)]
    pub(crate) fn tail(&self, len: u64, want: u64) -> (u64, u64) {
        if self.vectors == 0 {
            return (self.first.wrapping_add(len).wrapping_sub(want), want);
        }
        let (vector, moved) = if self.end_offset == 0 {
            let Some(vector) =
                read_kernel::<IoVec>(self.end.wrapping_sub(size_of::<IoVec>() as u64))
            else {
                return (0, 0);
            };
            (vector, vector.len)
        } else {
            let Some(vector) = read_kernel::<IoVec>(self.end) else {
                return (0, 0);
            };
            (vector, self.end_offset)
        };
        let have = if moved < want { moved } else { want };
        (vector.base.wrapping_add(moved).wrapping_sub(have), have)
    }
}

/// Goes back piece by piece until the one that holds the first byte. 0 if there
/// is none.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn walk_back(program: u32) -> u32 {
    for _ in 0..UIO_MAXIOV {
        let done = back_step(program);
        if done != 0 {
            return u32::from(done == FOUND);
        }
    }
    0
}

const FOUND: u32 = 1;
const UNREADABLE: u32 = 2;

/// One step: whether the piece at hand holds the first byte, or else the piece
/// in front of it. Not 0 at the end.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn back_step(program: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(program) else {
        return UNREADABLE;
    };
    // SAFETY: a live map value of this CPU and program; volatile as `Work` says.
    unsafe {
        let work = &raw mut (*scratch).work;
        let within = (&raw const (*work).address).read_volatile();
        let left = (&raw const (*work).piece).read_volatile();
        if within >= left {
            return FOUND;
        }
        let at = (&raw const (*work).vector).read_volatile();
        let at = at.wrapping_sub(size_of::<IoVec>() as u64);
        let Some(vector) = read_kernel::<IoVec>(at) else {
            return UNREADABLE;
        };
        (*work).vector = at;
        (*work).address = vector.len;
        (*work).piece = left.wrapping_sub(within);
    }
    0
}
