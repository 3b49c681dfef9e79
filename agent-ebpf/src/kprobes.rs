//! The same programs as kprobes and kretprobes, for kernels without fentry.
//!
//! A declared degraded mode: each call costs two to four times as much, and a
//! kretprobe loses returns when more tasks are in the function at once than it
//! has instances for: two on a machine with two CPUs, and a task may be
//! rescheduled where the function locks the socket. So bytes are taken inside
//! the calls: those of receives where `tcp_rcv_space_adjust` is called, those
//! of sends where `release_sock` is.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{kprobe, kretprobe, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use agent_ebpf::{Counter, Direction, Program};

use crate::globals::layout;
use crate::maps::LOCAL;
use crate::mem::{Mem as _, Probed};
use crate::{EAGAIN, call, owner, received, sent};

/// Arguments of calls under way: a return probe sees none.
#[map]
static CALLS: HashMap<u64, Arguments> = HashMap::with_max_entries(16384, 0);

#[repr(C)]
#[derive(Clone, Copy)]
struct Arguments {
    sk: u64,
    msg: u64,
    len: u64,
    flags: u64,
    /// `copied_seq` at the start of a receive, `write_seq` at that of a send.
    start: u64,
    /// Bytes that are reported already.
    taken: u64,
    /// A [`Direction`].
    direction: u64,
}

#[kprobe]
fn kprobe_send(ctx: ProbeContext) -> u32 {
    if owner::watched().is_some()
        && let (Some(sk), Some(msg)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1))
        && let Some(len) = ctx.arg::<u64>(2)
    {
        call::enter::<Probed>(pointer(msg).cast());
        let start = u64::from(Probed::u32(pointer(sk).cast(), layout!(write_seq)));
        save(Arguments {
            sk,
            msg,
            len,
            flags: 0,
            start,
            taken: 0,
            direction: Direction::Out as u64,
        });
    }
    0
}

/// `release_sock(sk)`: the last that a send does, and in another file. A send
/// that moved less than it was given, or nothing, is left to the return: it
/// may still be waiting for room (`sk_stream_wait_memory` calls this, too).
#[kprobe]
fn kprobe_sent(ctx: ProbeContext) -> u32 {
    let Some((saved, arguments)) = under_way(&ctx, Direction::Out) else {
        return 0;
    };
    let now = Probed::u32(pointer(arguments.sk).cast(), layout!(write_seq));
    let moved = now.wrapping_sub(arguments.start as u32) as i32;
    if moved > 0
        && moved as u64 == arguments.len
        && arguments.taken == 0
        && let Some(owner) = owner::watched()
    {
        // SAFETY: a live map value, of this task alone.
        unsafe { (*saved).taken = arguments.len };
        send(&arguments, moved, owner);
    }
    0
}

/// Partial sends and errors; whole ones are reported before.
#[kretprobe]
fn kretprobe_send(ctx: RetProbeContext) -> u32 {
    let ret: i32 = ctx.ret();
    if let Some((saved, owner)) = unreported(ret) {
        send(&saved, ret, owner);
    }
    0
}

#[inline(always)]
fn send(saved: &Arguments, ret: i32, owner: u64) {
    if call::ignores::<Probed>(Program::SendExit, pointer(saved.sk)) {
        return;
    }
    sent::<Probed>(
        Program::SendExit,
        pointer(saved.sk),
        pointer(saved.msg).cast(),
        ret,
        owner,
    );
}

/// `tcp_recvmsg` of a kernel where the flags are in this place; one program
/// for each, since the verifier wants the place to be a constant.
macro_rules! kprobe_recv {
    ($name:ident, $flags:literal) => {
        #[kprobe]
        fn $name(ctx: ProbeContext) -> u32 {
            if owner::watched().is_some()
                && let (Some(sk), Some(msg)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1))
                && let (Some(len), Some(flags)) = (ctx.arg::<u64>(2), ctx.arg::<u64>($flags))
            {
                let start = u64::from(Probed::u32(pointer(sk).cast(), layout!(copied_seq)));
                save(Arguments {
                    sk,
                    msg,
                    len,
                    flags,
                    start,
                    taken: 0,
                    direction: Direction::In as u64,
                });
            }
            0
        }
    };
}

kprobe_recv!(kprobe_recv_3, 3);
kprobe_recv!(kprobe_recv_4, 4);

/// `tcp_rcv_space_adjust(sk)`: called within a receive after each piece that was
/// copied, and from another file, so that no compiler inlines it. What is
/// reported again is repeated bytes to user space.
#[kprobe]
fn kprobe_took(ctx: ProbeContext) -> u32 {
    let Some((saved, arguments)) = under_way(&ctx, Direction::In) else {
        return 0;
    };
    let now = Probed::u32(pointer(arguments.sk).cast(), layout!(copied_seq));
    let copied = now.wrapping_sub(arguments.start as u32) as i32;
    if copied > 0
        && let Some(owner) = owner::watched()
    {
        // SAFETY: a live map value, of this task alone.
        unsafe { (*saved).taken = copied as u64 };
        receive(&arguments, copied, owner);
    }
    0
}

/// The end of a stream and errors; bytes are reported before. A return that is
/// missed costs no exchange.
#[kretprobe]
fn kretprobe_recv(ctx: RetProbeContext) -> u32 {
    let ret: i32 = ctx.ret();
    if let Some((saved, owner)) = unreported(ret) {
        receive(&saved, ret, owner);
    }
    0
}

#[inline(always)]
fn receive(saved: &Arguments, ret: i32, owner: u64) {
    if call::ignores::<Probed>(Program::RecvExit, pointer(saved.sk)) {
        return;
    }
    received::<Probed>(
        Program::RecvExit,
        pointer(saved.sk),
        pointer(saved.msg).cast(),
        saved.len,
        saved.flags as i32,
        ret,
        owner,
    );
}

#[kprobe]
fn kprobe_close(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg::<u64>(0) {
        call::close(Program::Close, pointer(sk));
    }
    0
}

#[inline(always)]
fn pointer(address: u64) -> *const c_void {
    core::ptr::with_exposed_provenance(address as usize)
}

#[inline(always)]
fn save(arguments: Arguments) {
    if CALLS
        .insert(bpf_get_current_pid_tgid(), arguments, 0)
        .is_err()
    {
        // No room: the rest finds nothing, and the call is not seen.
        let program = if arguments.direction == Direction::Out as u64 {
            Program::SendExit
        } else {
            Program::RecvExit
        };
        if let Some(local) = LOCAL.get_ptr_mut(program as u32) {
            call::count(local, Counter::SocketsFull, 1);
        }
    }
}

/// This task's call, if it is one of this direction on the socket that is the
/// probed function's first argument.
#[inline(always)]
fn under_way(ctx: &ProbeContext, direction: Direction) -> Option<(*mut Arguments, Arguments)> {
    let sk = ctx.arg::<u64>(0)?;
    let saved = CALLS.get_ptr_mut(bpf_get_current_pid_tgid())?;
    // SAFETY: a live map value, of this task alone.
    let arguments = unsafe { *saved };
    let is_it = arguments.sk == sk && arguments.direction == direction as u64;
    is_it.then_some((saved, arguments))
}

/// The call that returns this, and its owner, if it has something to tell that
/// was not told inside it.
#[inline(always)]
fn unreported(ret: i32) -> Option<(Arguments, u64)> {
    let saved = take()?;
    let is_told = ret > 0 && saved.taken >= ret as u64;
    if is_told || ret == -EAGAIN {
        return None;
    }
    Some((saved, owner::watched()?))
}

#[inline(always)]
fn take() -> Option<Arguments> {
    let task = bpf_get_current_pid_tgid();
    // SAFETY: a live map value, of this task alone.
    let saved = CALLS.get_ptr(task).map(|saved| unsafe { *saved })?;
    let _gone = CALLS.remove(task);
    Some(saved)
}
