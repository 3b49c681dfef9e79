//! Calls that move bytes past the programs: counted, so that what is not traced
//! is known.
//!
//! Each of these functions has a way of its own to the stream: MPTCP to that of
//! its subflows, a sockmap's programs and the kernel's TLS around
//! `tcp_sendmsg`, `splice` around `tcp_recvmsg`.

use aya_ebpf::macros::{fentry, fexit};
use aya_ebpf::programs::{FEntryContext, FExitContext};

use agent_ebpf::{Counter, Program};

use crate::maps::LOCAL;
use crate::mem::read_kernel;
use crate::{call, owner, preempt};

macro_rules! calls_of {
    ($name:ident, $function:literal, $counter:ident) => {
        #[fentry(function = $function)]
        fn $name(_ctx: FEntryContext) -> u32 {
            preempt::without(|| count(Counter::$counter));
            0
        }
    };
}

calls_of!(past_mptcp_send, "mptcp_sendmsg", Mptcp);
calls_of!(past_mptcp_recv, "mptcp_recvmsg", Mptcp);
calls_of!(past_splice_read, "tcp_splice_read", SpliceRead);
calls_of!(past_sockmap_send, "tcp_bpf_sendmsg", Sockmap);
// Or `__tcp_bpf_recvmsg`, up to 5.11. Where there is nothing from a program
// `tcp_bpf_recvmsg` goes on to `tcp_recvmsg`, so that one tells nothing.
calls_of!(past_sockmap_recv, "sk_msg_recvmsg", Sockmap);

// (sk, name). The other users of such a protocol are the kernel's own.
#[fexit(function = "tcp_set_ulp")]
fn past_kernel_tls(ctx: FExitContext) -> u32 {
    let ret: i32 = ctx.arg(2);
    if ret == 0 && read_kernel::<[u8; 4]>(ctx.arg(1)) == Some(*b"tls\0") {
        preempt::without(|| count(Counter::KernelTls));
    }
    0
}

#[inline(always)]
fn count(counter: Counter) {
    if owner::watched().is_some()
        && let Some(local) = LOCAL.get_ptr_mut(Program::Past as u32)
    {
        call::count(local, counter, 1);
    }
}
