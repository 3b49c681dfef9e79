//! No preemption inside a program, where the kernel offers that.
//!
//! `bpf_preempt_disable` and its twin are kernel functions, not helpers
//! (kernel ≥ 6.10, kernel/bpf/helpers.c). Their calls are written here as raw
//! instructions with placeholders; the loader puts the functions' BTF ids in
//! their place, or, where they do not exist, jumps to the next instruction.

use agent_ebpf::{PREEMPT_DISABLE, PREEMPT_ENABLE};

/// Runs `body` without preemption.
#[inline(always)]
pub(crate) fn without<T>(body: impl FnOnce() -> T) -> T {
    call::<PREEMPT_DISABLE>();
    let result = body();
    call::<PREEMPT_ENABLE>();
    result
}

#[inline(always)]
fn call<const FUNCTION: u32>() {
    // SAFETY: a call of a function without arguments, or nothing; what a call
    // may overwrite is declared.
    unsafe {
        core::arch::asm!(
            // BPF_JMP | BPF_CALL, source register BPF_PSEUDO_KFUNC_CALL.
            ".byte 0x85, 0x20, 0x00, 0x00",
            ".long {function}",
            function = const FUNCTION,
            lateout("r0") _,
            lateout("r1") _,
            lateout("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
}
