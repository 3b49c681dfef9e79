//! No preemption inside a program, where the kernel offers that.
//!
//! The functions are kernel functions, not helpers (kernel/bpf/helpers.c:
//! `bpf_preempt_disable` and its twin since 6.10, `bpf_local_irq_save` and its
//! twin since 6.14). Their calls are written here as raw instructions with
//! placeholders; the loader puts the functions' BTF ids in their place, or,
//! where they do not exist, jumps to the next instruction.

use core::mem::MaybeUninit;

use agent_ebpf::{IRQ_RESTORE, IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE};

/// Runs `body` without preemption.
///
/// A tick that comes meanwhile asks for another task, and enabling preemption
/// grants that at once: while the kernel still takes this program for running
/// on this CPU and skips it for the other task. So it is enabled while
/// interrupts are off, where it asks for nothing (`preempt_schedule`,
/// kernel/sched/core.c); and switching those on does not ask either. The kernel
/// asks again right behind the program, when it is marked as done
/// (`rcu_read_unlock_migrate` in `__bpf_prog_exit_recur`).
#[inline(always)]
pub(crate) fn without<T>(body: impl FnOnce() -> T) -> T {
    call::<PREEMPT_DISABLE>();
    let result = body();
    let mut flags = MaybeUninit::uninit();
    call_with::<IRQ_SAVE>(&mut flags);
    call::<PREEMPT_ENABLE>();
    call_with::<IRQ_RESTORE>(&mut flags);
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

/// A call of a function that keeps the state of interrupts in `flags`, which
/// is on the stack and touched by nothing else.
#[inline(always)]
fn call_with<const FUNCTION: u32>(flags: &mut MaybeUninit<u64>) {
    // SAFETY: a call of a function with one argument, or nothing; what a call
    // may overwrite is declared.
    unsafe {
        core::arch::asm!(
            ".byte 0x85, 0x20, 0x00, 0x00",
            ".long {function}",
            function = const FUNCTION,
            inlateout("r1") flags.as_mut_ptr() => _,
            lateout("r0") _,
            lateout("r2") _,
            lateout("r3") _,
            lateout("r4") _,
            lateout("r5") _,
        );
    }
}
