//! Does a head end in the chunk that lies in scratch memory?

use agent_ebpf::CHUNK;

use crate::maps::SCRATCH;
use crate::mem::{clamp, opaque};
use crate::sniff::{WINDOW, may_start};

/// 1 if an empty line ends a head in the first `len` bytes of the program's
/// scratch payload and what follows does not begin another one.
///
/// A function of its own, of two numbers: the kernel verifies it once instead
/// of once for each chunk (global functions, kernel ≥ 5.6).
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn head_ends(program: u32, len: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(program) else {
        return 0;
    };
    // SAFETY: a live map value of this CPU and program, in all of this
    // function; `behind` is in memory for the reason `Work` gives.
    let (payload, behind) = unsafe {
        (
            (&raw const (*scratch).payload).cast::<u8>(),
            &raw mut (*scratch).work.behind,
        )
    };
    // SAFETY: as above.
    unsafe { behind.write_volatile(0) };
    let mut at = 0_u32;
    // Newlines are rare, so most steps are one comparison.
    while at < CHUNK as u32 {
        if at >= len {
            break;
        }
        // SAFETY: `at` is below CHUNK.
        let word = unsafe { payload.add(at as usize).cast::<u64>().read_unaligned() };
        let zeroed = word ^ 0x0a0a_0a0a_0a0a_0a0a;
        if zeroed.wrapping_sub(0x0101_0101_0101_0101) & !zeroed & 0x8080_8080_8080_8080 != 0 {
            look_closer(program, at);
        }
        at += 8;
    }
    // SAFETY: as above.
    let behind = unsafe { behind.read_volatile() };
    if behind == 0 || behind > len {
        return 0;
    }
    if behind == len {
        return 1;
    }
    let rest = u64::from(len - behind);
    let from = clamp::<{ CHUNK as u64 }>(opaque(u64::from(behind)));
    // SAFETY: `from` is at most a chunk, and another follows.
    let starts = may_start(
        unsafe { payload.add(from as usize) },
        if rest < WINDOW { rest } else { WINDOW },
    );
    u32::from(!starts)
}

/// Notes the end of an empty line that begins in the 8 bytes from `at` on.
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn look_closer(program: u32, at: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr_mut(program) else {
        return 0;
    };
    // SAFETY: a live map value; `from` is at most a chunk, and another follows.
    unsafe {
        let from = clamp::<{ CHUNK as u64 }>(opaque(u64::from(at)));
        let bytes = (&raw const (*scratch).payload)
            .cast::<u8>()
            .add(from as usize);
        for i in 0..8 {
            if bytes.add(i).read() == b'\n' {
                let next = bytes.add(i + 1).read();
                if next == b'\n' {
                    (*scratch).work.behind = at + i as u32 + 2;
                } else if next == b'\r' && bytes.add(i + 2).read() == b'\n' {
                    (*scratch).work.behind = at + i as u32 + 3;
                }
            }
        }
    }
    0
}
