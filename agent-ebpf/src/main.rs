//! nodespan's kernel programs.
//!
//! They decide three things only: is the caller's owner watched, may these
//! bytes start a message, may they be skipped. Framing and parsing belong to
//! user space.
#![no_std]
#![no_main]
#![feature(asm_experimental_arch)]
#![expect(
    unsafe_code,
    reason = "kernel programs are made of helper calls and raw memory"
)]

mod buffer;
mod call;
mod chunks;
mod emit;
mod globals;
mod inside;
mod kprobes;
mod maps;
mod mem;
mod owner;
mod past;
mod preempt;
mod ring;
mod scan;
mod sniff;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};

use agent_ebpf::{Counter, Direction, Kind, Program};

/// A message to user space's log, in the object that has them.
macro_rules! tell {
    ($ctx:expr, $($what:tt)*) => {
        #[cfg(feature = "log")]
        aya_log_ebpf::debug!($ctx, $($what)*);
    };
}

use crate::mem::{Direct, Mem};
use crate::owner::Sock;

/// `MSG_PEEK | MSG_ERRQUEUE`: receives that take nothing from the stream
/// (include/linux/socket.h).
const MSG_TAKES_NOTHING: i32 = 0x2 | 0x2000;
const MSG_TRUNC: i32 = 0x20;
pub(crate) const EAGAIN: i32 = 11;

// Each program comes twice. A task that is preempted inside a program keeps
// others on that CPU from running it (`prog->active`, kernel/bpf/trampoline.c),
// and the call is lost. On kernels that preempt (CONFIG_PREEMPT, lazy or full)
// the programs turn preemption off where they can (`preempt`), and since that
// leaves the moment before their first instruction, a second program sits
// beside the first: whichever runs first reports the call, and a call is lost
// only if both are kept from running.

macro_rules! send_entry {
    ($name:ident) => {
        #[fentry(function = "tcp_sendmsg")]
        fn $name(ctx: FEntryContext) -> u32 {
            preempt::without(|| {
                if owner::watched().is_some() && !call::is_ignored::<Direct>(ctx.arg(0)) {
                    call::enter::<Direct>(ctx.arg(1));
                }
            });
            0
        }
    };
}

send_entry!(send_entry);
send_entry!(send_entry_again);

macro_rules! send_exit {
    ($name:ident, $program:ident) => {
        #[fexit(function = "tcp_sendmsg")]
        fn $name(ctx: FExitContext) -> u32 {
            // The return value lies behind the arguments; `bpf_get_func_ret`
            // is for kernel ≥ 5.17.
            let ret: i32 = ctx.arg(3);
            if ret == -EAGAIN {
                return 0;
            }
            preempt::without(|| {
                if let Some(owner) = owner::watched()
                    && !call::ignores::<Direct>(Program::$program, ctx.arg(0))
                {
                    tell!(&ctx, "tcp_sendmsg returned {} to owner {}", ret, owner);
                    sent::<Direct>(Program::$program, ctx.arg(0), ctx.arg(1), ret, owner);
                }
            });
            0
        }
    };
}

send_exit!(send_exit, SendExit);
send_exit!(send_exit_again, SendExitAgain);

/// `tcp_recvmsg` of a kernel where it takes this many arguments, and the flags
/// in this place.
macro_rules! recv_exit {
    ($name:ident, $program:ident, $flags:literal, $ret:literal) => {
        #[fexit(function = "tcp_recvmsg")]
        fn $name(ctx: FExitContext) -> u32 {
            let ret: i32 = ctx.arg($ret);
            if ret == -EAGAIN {
                return 0;
            }
            preempt::without(|| {
                if let Some(owner) = owner::watched()
                    && !call::ignores::<Direct>(Program::$program, ctx.arg(0))
                {
                    tell!(&ctx, "tcp_recvmsg returned {} to owner {}", ret, owner);
                    received::<Direct>(
                        Program::$program,
                        ctx.arg(0),
                        ctx.arg(1),
                        ctx.arg(2),
                        ctx.arg($flags),
                        ret,
                        owner,
                    );
                }
            });
            0
        }
    };
}

// 5.10: (sk, msg, len, nonblock, flags, addr_len).
recv_exit!(recv_exit_6, RecvExit, 4, 6);
recv_exit!(recv_exit_6_again, RecvExitAgain, 4, 6);
// 5.19 and later: (sk, msg, len, flags, addr_len).
recv_exit!(recv_exit_5, RecvExit, 3, 5);
recv_exit!(recv_exit_5_again, RecvExitAgain, 3, 5);
// 6.18 and later: (sk, msg, len, flags).
recv_exit!(recv_exit_4, RecvExit, 3, 4);
recv_exit!(recv_exit_4_again, RecvExitAgain, 3, 4);

// (sk, page, offset, size, flags), up to 6.4.
#[fexit(function = "tcp_sendpage")]
fn sendpage_exit(ctx: FExitContext) -> u32 {
    let ret: i32 = ctx.arg(5);
    if ret <= 0 {
        return 0;
    }
    if let Some(owner) = owner::watched()
        && !call::ignores::<Direct>(Program::SendPage, ctx.arg(0))
    {
        tell!(&ctx, "tcp_sendpage returned {} to owner {}", ret, owner);
        paged::<Direct>(ctx.arg(0), ret, owner);
    }
    0
}

// (skb, offset, to, len). Attached only while a thread is in a receive that
// began before the programs were there.
#[fexit(function = "skb_copy_datagram_iter")]
fn copy_exit(ctx: FExitContext) -> u32 {
    let ret: i32 = ctx.arg(4);
    let thread = bpf_get_current_pid_tgid() as u32;
    if ret != 0 || maps::INSIDE.get_ptr(thread).is_none() {
        return 0;
    }
    if let Some(owner) = owner::watched() {
        let skb: *const u8 = ctx.arg(0);
        let to: *const u8 = ctx.arg(2);
        inside::copied(skb, ctx.arg(1), to, ctx.arg(3), owner);
    }
    0
}

macro_rules! close {
    ($name:ident, $program:ident) => {
        #[fentry(function = "tcp_close")]
        fn $name(ctx: FEntryContext) -> u32 {
            preempt::without(|| call::close(Program::$program, ctx.arg(0)));
            0
        }
    };
}

close!(close, Close);
close!(close_again, CloseAgain);

#[inline(always)]
fn sent<M: Mem>(program: Program, sk: Sock, msg: *const u8, ret: i32, owner: u64) {
    if ret <= 0 && !call::is_fatal(ret) {
        return;
    }
    let Some((mut call, tcp)) = call::open::<M>(program, Direction::Out, sk, owner, ret > 0) else {
        return;
    };
    let len = ret as u32;
    let seq = call::sent_from::<M>(tcp, len);
    if ret > 0 && !call::once(Direction::Out, seq.wrapping_add(len)) {
        return;
    }
    let entry = call::entered(bpf_get_current_pid_tgid());
    if let Some(entry) = entry {
        // SAFETY: a live map value.
        call.entry = unsafe { (*entry).time };
    } else {
        call.count(Counter::EntrySlot, 1);
    }
    if ret < 0 {
        call::outcome(&call, Kind::Failed, ret.unsigned_abs());
        return;
    }
    call::moved::<M>(&call, msg, seq, len, entry, true);
}

#[inline(always)]
fn received<M: Mem>(
    program: Program,
    sk: Sock,
    msg: *const u8,
    wanted: u64,
    flags: i32,
    ret: i32,
    owner: u64,
) {
    if flags & MSG_TAKES_NOTHING != 0
        || (ret < 0 && !call::is_fatal(ret))
        || (ret == 0 && wanted == 0)
    {
        return;
    }
    let Some((call, tcp)) = call::open::<M>(program, Direction::In, sk, owner, ret > 0) else {
        return;
    };
    if ret < 0 {
        call::outcome(&call, Kind::Failed, ret.unsigned_abs());
    } else if ret == 0 {
        call::outcome(&call, Kind::Ended, 0);
    } else {
        let len = ret as u32;
        let seq = call::received_from::<M>(sk.cast(), tcp, len);
        if call::once(Direction::In, seq.wrapping_add(len)) {
            // What is truncated is dropped, not copied.
            let copied = flags & MSG_TRUNC == 0;
            call::moved::<M>(&call, msg, seq, len, None, copied);
        }
    }
}

#[inline(always)]
fn paged<M: Mem>(sk: Sock, ret: i32, owner: u64) {
    let Some((call, tcp)) = call::open::<M>(Program::SendPage, Direction::Out, sk, owner, true)
    else {
        return;
    };
    let len = ret as u32;
    let seq = call::sent_from::<M>(tcp, len);
    // They are the kernel's pages.
    call::moved::<M>(&call, core::ptr::null(), seq, len, None, false);
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
