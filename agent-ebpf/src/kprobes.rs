//! The same programs as kprobes and kretprobes, for kernels without fentry.
//!
//! A declared degraded mode: a kretprobe loses returns when many tasks block
//! in `tcp_recvmsg` at once (its pool of return instances is fixed), and each
//! call costs two to four times as much.

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::macros::{kprobe, kretprobe, map};
use aya_ebpf::maps::HashMap;
use aya_ebpf::programs::{ProbeContext, RetProbeContext};

use crate::mem::Probed;
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
}

#[kprobe]
fn kprobe_send(ctx: ProbeContext) -> u32 {
    if owner::watched().is_some()
        && let (Some(sk), Some(msg)) = (ctx.arg::<u64>(0), ctx.arg::<u64>(1))
    {
        call::enter::<Probed>(pointer(msg).cast());
        save(Arguments {
            sk,
            msg,
            len: 0,
            flags: 0,
        });
    }
    0
}

#[kretprobe]
fn kretprobe_send(ctx: RetProbeContext) -> u32 {
    let ret: i32 = ctx.ret();
    let Some(saved) = take() else { return 0 };
    if ret != -EAGAIN
        && let Some(owner) = owner::watched()
    {
        sent::<Probed>(pointer(saved.sk), pointer(saved.msg).cast(), ret, owner);
    }
    0
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
                save(Arguments {
                    sk,
                    msg,
                    len,
                    flags,
                });
            }
            0
        }
    };
}

kprobe_recv!(kprobe_recv_3, 3);
kprobe_recv!(kprobe_recv_4, 4);

#[kretprobe]
fn kretprobe_recv(ctx: RetProbeContext) -> u32 {
    let ret: i32 = ctx.ret();
    let Some(saved) = take() else { return 0 };
    if ret != -EAGAIN
        && let Some(owner) = owner::watched()
    {
        received::<Probed>(
            pointer(saved.sk),
            pointer(saved.msg).cast(),
            saved.len,
            saved.flags as i32,
            ret,
            owner,
        );
    }
    0
}

#[kprobe]
fn kprobe_close(ctx: ProbeContext) -> u32 {
    if let Some(sk) = ctx.arg::<u64>(0) {
        call::close(pointer(sk));
    }
    0
}

#[inline(always)]
fn pointer(address: u64) -> *const c_void {
    core::ptr::with_exposed_provenance(address as usize)
}

#[inline(always)]
fn save(arguments: Arguments) {
    // No room: the return finds nothing, and the call is not seen.
    let _full = CALLS.insert(bpf_get_current_pid_tgid(), arguments, 0);
}

#[inline(always)]
fn take() -> Option<Arguments> {
    let task = bpf_get_current_pid_tgid();
    // SAFETY: a live map value, of this task alone.
    let saved = CALLS.get_ptr(task).map(|saved| unsafe { *saved })?;
    let _gone = CALLS.remove(task);
    Some(saved)
}
