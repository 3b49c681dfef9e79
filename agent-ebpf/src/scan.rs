//! Does a head end in the chunk that lies in scratch memory?

use agent_ebpf::CHUNK;

use crate::maps::SCRATCH;
use crate::sniff::{WINDOW, may_start};

/// 1 if an empty line ends a head in the first `len` bytes of the program's
/// scratch payload and what follows does not begin another one.
///
/// A function of its own, of two numbers: the kernel verifies it once instead
/// of once for each chunk (global functions, kernel ≥ 5.6).
#[inline(never)]
#[unsafe(no_mangle)]
pub(crate) extern "C" fn head_ends(program: u32, len: u32) -> u32 {
    let Some(scratch) = SCRATCH.get_ptr(program) else { return 0 };
    // SAFETY: a live map value.
    let payload = unsafe { (&raw const (*scratch).payload).cast::<u8>() };
    let mut behind = 0_u32;
    let mut at = 0_u32;
    // Two words a step; newlines are rare, so most steps are one comparison.
    while at + 8 <= CHUNK as u32 {
        if at >= len {
            break;
        }
        // SAFETY: `at` is below CHUNK.
        let word = unsafe { payload.add(at as usize).cast::<u64>().read_unaligned() };
        let zeroed = word ^ 0x0a0a_0a0a_0a0a_0a0a;
        if zeroed.wrapping_sub(0x0101_0101_0101_0101) & !zeroed & 0x8080_8080_8080_8080 != 0 {
            let mut i = 0_u32;
            while i < 8 {
                let p = at + i;
                // SAFETY: at most two bytes past CHUNK; the buffer has two chunks.
                unsafe {
                    if payload.add(p as usize).read() == b'\n' {
                        let next = payload.add(p as usize + 1).read();
                        if next == b'\n' {
                            behind = p + 2;
                        } else if next == b'\r' && payload.add(p as usize + 2).read() == b'\n' {
                            behind = p + 3;
                        }
                    }
                }
                i += 1;
            }
        }
        at += 8;
    }
    if behind == 0 || behind > len {
        return 0;
    }
    if behind == len {
        return 1;
    }
    let rest = u64::from(len - behind);
    let from = crate::mem::clamp::<{ CHUNK as u64 }>(u64::from(behind));
    // SAFETY: `from` is at most a chunk, and another follows.
    let starts = may_start(unsafe { payload.add(from as usize) }, if rest < WINDOW { rest } else { WINDOW });
    u32::from(!starts)
}
