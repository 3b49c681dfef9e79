//! Receives that began before the programs were attached.
//!
//! A call that is under way when a trampoline is put in returns past it. A
//! server that waits in `recv` would lose its first request; so for the threads
//! that wait, the copying itself is watched.

use agent_ebpf::{Direction, Program};

use crate::call;
use crate::globals::layout;
use crate::maps::LOCAL;
use crate::mem::{Probed, read_kernel};

/// `IPPROTO_TCP`.
const TCP: u16 = 6;

/// `len` bytes from `offset` of a buffer were copied to where `to` stood.
#[inline(always)]
pub(crate) fn copied(skb: *const u8, offset: i32, to: *const u8, len: i32, owner: u64) {
    let Some(local) = LOCAL.get_ptr_mut(Program::Copy as u32) else {
        return;
    };
    if len <= 0 || offset < 0 {
        return;
    }
    let skb = call::number(local, skb.cast());
    let to = call::number(local, to.cast());
    let Some(sk) = read_kernel::<u64>(skb.wrapping_add(u64::from(layout!(skb_sock)))) else {
        return;
    };
    if sk == 0 || read_kernel::<u16>(sk.wrapping_add(u64::from(layout!(protocol)))) != Some(TCP) {
        return;
    }
    let Some(start) = read_kernel::<u32>(skb.wrapping_add(u64::from(layout!(skb_seq)))) else {
        return;
    };
    let sock = core::ptr::with_exposed_provenance(sk as usize);
    if call::ignores::<Probed>(Program::Copy, sock) {
        return;
    }
    let Some((call, _)) = call::open::<Probed>(Program::Copy, Direction::In, sock, owner, true)
    else {
        return;
    };
    let msg =
        core::ptr::with_exposed_provenance(to.wrapping_sub(u64::from(layout!(msg_iter))) as usize);
    call::moved::<Probed>(
        &call,
        msg,
        start.wrapping_add(offset as u32),
        len as u32,
        None,
        true,
    );
}
