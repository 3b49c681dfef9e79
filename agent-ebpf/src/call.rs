//! One send or receive that moved bytes.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::bpf_ktime_get_ns;

use agent_ebpf::{
    Counter, Direction, ENTRY_SLOTS, IGNORED_SLOTS, IgnoredSocket, Kind, NONE, Program, RawRecord,
    SocketState, Tuple, ignored_slot,
};

use crate::buffer::Pieces;
use crate::globals::{layout, setting};
use crate::maps::{ENTRIES, Entry, IGNORED, LOCAL, Local, SOCKETS};
use crate::mem::{Mem, is_number_of, low_half, read_kernel};
use crate::owner::{self, Sock};
use crate::{emit, ring};

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// A call on a socket of a watched owner that is not known to be of no
/// interest.
pub(crate) struct Call {
    pub(crate) local: *mut Local,
    pub(crate) program: Program,
    pub(crate) direction: Direction,
    pub(crate) sock: u64,
    pub(crate) state: *mut SocketState,
    pub(crate) owner: u64,
    pub(crate) entry: u64,
    pub(crate) exit: u64,
    pub(crate) pid_tgid: u64,
}

impl Call {
    /// Adds to a counter of this program on this CPU.
    #[inline(always)]
    pub(crate) fn count(&self, counter: Counter, by: u64) {
        count(self.local, counter, by);
    }

    /// Writes a record's head.
    #[inline(always)]
    pub(crate) fn write(
        &self,
        to: *mut RawRecord,
        kind: Kind,
        seq: u32,
        len: u32,
        head: u16,
        tail: u16,
        flags: u16,
    ) {
        // SAFETY: `to` is ring or map memory of that size; `state` is a live
        // map value.
        unsafe {
            (*to).kind = kind as u8;
            (*to).direction = self.direction as u8;
            (*to).flags = flags;
            (*to).seq = seq;
            (*to).len = len;
            (*to).head_len = head;
            (*to).tail_len = tail;
            (*to).local_origin = (*self.state).local_origin;
            (*to).peer_origin = (*self.state).peer_origin;
            (*to).sock = self.sock;
            (*to).owner = self.owner;
            (*to).entry = self.entry;
            (*to).exit = self.exit;
            (*to).pid_tgid = self.pid_tgid;
        }
    }
}

/// Adds to a counter.
#[inline(always)]
pub(crate) fn count(local: *mut Local, counter: Counter, by: u64) {
    // SAFETY: a live map value of this CPU and program.
    unsafe { (*local).counters[counter as usize] += by };
}

/// Marks the entry of a send: its time, and where its bytes are, since the
/// iterator will have moved on at the exit.
#[inline(always)]
pub(crate) fn enter<M: Mem>(msg: *const u8) {
    let pid_tgid = bpf_get_current_pid_tgid();
    let Some(entry) = ENTRIES.get_ptr_mut((pid_tgid as u32) & (ENTRY_SLOTS - 1)) else {
        return;
    };
    let iter = layout!(msg_iter);
    // SAFETY: a live map value. A task on another CPU may share the slot: the
    // exit compares `pid_tgid` and then does without.
    unsafe {
        (*entry).pid_tgid = pid_tgid;
        (*entry).time = bpf_ktime_get_ns();
        M::pointer(msg, iter + layout!(iter_pointer), &raw mut (*entry).pointer);
        (*entry).offset = M::u64(msg, iter + layout!(iter_offset));
        (*entry).segments = M::u64(msg, iter + layout!(iter_segments));
    }
}

/// The entry that belongs to this exit. It is used up: an exit whose entry was
/// not seen must not find the one of an earlier call.
#[inline(always)]
pub(crate) fn entered(pid_tgid: u64) -> Option<*const Entry> {
    let entry = ENTRIES.get_ptr_mut((pid_tgid as u32) & (ENTRY_SLOTS - 1))?;
    // SAFETY: a live map value.
    unsafe {
        if (*entry).pid_tgid != pid_tgid {
            return None;
        }
        (*entry).pid_tgid = 0;
    }
    Some(entry)
}

/// Whether nobody has reported this call yet, where programs are attached
/// twice. `behind` is the stream's number behind the call: no other call of
/// this thread has the same.
#[inline(always)]
pub(crate) fn once(direction: Direction, behind: u32) -> bool {
    if setting!(twice) == 0 {
        return true;
    }
    let thread = bpf_get_current_pid_tgid() as u32;
    let Some(entry) = ENTRIES.get_ptr_mut(thread & (ENTRY_SLOTS - 1)) else {
        return true;
    };
    let call = (u64::from(thread) << 32) | u64::from(behind);
    // SAFETY: a live map value; the index is 0 or 1.
    unsafe {
        let done = &raw mut (*entry).done[direction as usize & 1];
        let fresh = done.read_volatile() != call;
        done.write_volatile(call);
        fresh
    }
}

/// Whether the socket is known not to speak HTTP.
#[inline(always)]
pub(crate) fn is_ignored<M: Mem>(sk: Sock) -> bool {
    find_ignored::<M>(sk).is_some()
}

#[inline(always)]
fn find_ignored<M: Mem>(sk: Sock) -> Option<*mut IgnoredSocket> {
    let ignored = IGNORED.get_ptr_mut(ignored_slot(low_half(sk)))?;
    // SAFETY: a live map value.
    let (sock, ports) = unsafe {
        (
            (&raw const (*ignored).sock).read_volatile(),
            (&raw const (*ignored).ports).read_volatile(),
        )
    };
    let same = is_number_of(sk, sock) && ports == M::u32(sk.cast(), layout!(dport));
    same.then_some(ignored)
}

/// The same, and counts the call if so.
#[inline(always)]
pub(crate) fn ignores<M: Mem>(program: Program, sk: Sock) -> bool {
    let Some(ignored) = find_ignored::<M>(sk) else {
        return false;
    };
    // SAFETY: a live map value. Two CPUs at once may count one call for two:
    // this number is in no account.
    let calls = unsafe {
        let calls = &raw mut (*ignored).calls;
        *calls = (*calls).wrapping_add(1);
        *calls
    };
    // The counter of the program is further away.
    if calls & 0xff == 0
        && let Some(local) = LOCAL.get_ptr_mut(program as u32)
    {
        count(local, Counter::Ignored, 0x100);
    }
    true
}

/// The state of a socket that is not ignored.
#[inline(always)]
pub(crate) fn open<M: Mem>(
    program: Program,
    direction: Direction,
    sk: Sock,
    owner: u64,
    create: bool,
) -> Option<(Call, *const u8)> {
    let local = LOCAL.get_ptr_mut(program as u32)?;
    let sock = number(local, sk);
    let ports = M::u32(sk.cast(), layout!(dport));
    let tcp = M::tcp(sk);
    if tcp.is_null() {
        return None;
    }
    let mut state = SOCKETS.get_ptr_mut(&sock);
    if let Some(known) = state {
        // SAFETY: a live map value. Other ports: the pointer was reused and
        // the close was not seen.
        if unsafe { (*known).ports } != ports {
            state = None;
        }
    }
    let fresh = state.is_none();
    if fresh {
        if !create {
            return None;
        }
        let (local_origin, peer_origin) = origins::<M>(tcp);
        let new = SocketState {
            local_origin,
            peer_origin,
            ports,
            announced: 0,
            pending: [0; 2],
            quiet: [0; 2],
        };
        let _ = SOCKETS.insert(&sock, &new, 0);
        state = SOCKETS.get_ptr_mut(&sock);
        if state.is_none() {
            count(local, Counter::SocketsFull, 1);
        }
    }
    let call = Call {
        local,
        program,
        direction,
        sock,
        state: state?,
        owner: owner::of_socket(owner, sock),
        entry: 0,
        // SAFETY: no arguments, no failure.
        exit: unsafe { bpf_ktime_get_ns() },
        pid_tgid: bpf_get_current_pid_tgid(),
    };
    Some((call, tcp))
}

/// First sequence number of a receive that returned `moved`.
///
/// The receive moved `copied_seq` by what it returned, and by one more if it
/// also took the FIN (`found_fin_ok` in `tcp_recvmsg_locked`). It did so just
/// if everything up to `rcv_nxt` is taken and a FIN has come: `rcv_nxt` counts
/// the FIN. `SOCK_DONE` says so (`tcp_fin`); `RCV_SHUTDOWN` does not, a reset
/// and a `shutdown` of our own side set it, too.
#[inline(always)]
pub(crate) fn received_from<M: Mem>(sk: *const u8, tcp: *const u8, moved: u32) -> u32 {
    let copied = M::u32(tcp, layout!(copied_seq));
    let mut seq = copied.wrapping_sub(moved);
    // An `unsigned long`, of which the flag is in the lower half.
    if M::u32(sk, layout!(flags)) & layout!(flag_done) != 0
        && copied == M::u32(tcp, layout!(rcv_nxt))
    {
        seq = seq.wrapping_sub(1);
    }
    seq
}

/// First sequence number of a send that returned `moved`.
#[inline(always)]
pub(crate) fn sent_from<M: Mem>(tcp: *const u8, moved: u32) -> u32 {
    M::u32(tcp, layout!(write_seq)).wrapping_sub(moved)
}

/// Makes the socket known to user space.
#[inline(always)]
pub(crate) fn announce(call: &Call) {
    // SAFETY: a live map value.
    if unsafe { (*call.state).announced } != 0 {
        return;
    }
    let Some(mut room) = ring::reserve::<Announcement>(call) else {
        return;
    };
    let to = room.as_mut_ptr();
    let base = call.sock;
    // SAFETY: ring memory of that size.
    unsafe {
        call.write(
            &raw mut (*to).record,
            Kind::Opened,
            0,
            0,
            size_of::<Tuple>() as u16,
            0,
            0,
        );
        let tuple = &raw mut (*to).tuple;
        (*tuple).family = read_kernel(base + u64::from(layout!(family))).unwrap_or(0);
        let ports: u32 = read_kernel(base + u64::from(layout!(dport))).unwrap_or(0);
        (*tuple).peer_port = ports as u16;
        (*tuple).local_port = (ports >> 16) as u16;
        (*tuple).reserved = 0;
        (*tuple).local = [0; 16];
        (*tuple).peer = [0; 16];
        if (*tuple).family == AF_INET {
            let peer: u32 = read_kernel(base + u64::from(layout!(daddr))).unwrap_or(0);
            let local: u32 = read_kernel(base + u64::from(layout!(saddr))).unwrap_or(0);
            (&raw mut (*tuple).peer).cast::<u32>().write(peer);
            (&raw mut (*tuple).local).cast::<u32>().write(local);
        } else if (*tuple).family == AF_INET6 && layout!(daddr6) != NONE {
            (*tuple).peer = read_kernel(base + u64::from(layout!(daddr6))).unwrap_or([0; 16]);
            (*tuple).local = read_kernel(base + u64::from(layout!(saddr6))).unwrap_or([0; 16]);
        }
        owner::name(&raw mut (*tuple).comm);
        (*call.state).announced = 1;
    }
    ring::submit(call, room, false);
}

#[repr(C)]
struct Announcement {
    record: RawRecord,
    tuple: Tuple,
}

/// Reports a receive that found the end of the stream, or a call that failed
/// because the connection did.
#[inline(always)]
pub(crate) fn outcome(call: &Call, kind: Kind, errno: u32) {
    let Some(mut room) = ring::reserve::<RawRecord>(call) else {
        return;
    };
    call.write(room.as_mut_ptr(), kind, 0, errno, 0, 0, 0);
    ring::submit(call, room, false);
}

/// Whether this errno says that the connection is gone: the end of every
/// exchange on it.
#[inline(always)]
pub(crate) fn is_fatal(ret: i32) -> bool {
    // EPIPE, ENETDOWN..ECONNRESET, ETIMEDOUT..EHOSTUNREACH.
    matches!(-ret, 32 | 100..=104 | 110..=113)
}

/// Reports the close of a socket of interest, and forgets it.
#[inline(always)]
pub(crate) fn close(program: Program, sk: Sock) {
    let Some(local) = LOCAL.get_ptr_mut(program as u32) else {
        return;
    };
    let sock = number(local, sk);
    let Some(state) = SOCKETS.get_ptr_mut(&sock) else {
        return;
    };
    if let Some(ignored) = IGNORED.get_ptr_mut(ignored_slot(sock) & (IGNORED_SLOTS - 1)) {
        // SAFETY: a live map value.
        unsafe {
            if (*ignored).sock == sock {
                count(local, Counter::Ignored, u64::from((*ignored).calls & 0xff));
                *ignored = IgnoredSocket {
                    sock: 0,
                    ports: 0,
                    calls: 0,
                };
            }
        }
    }
    // Of those that are ignored, too: user space remembers them until then.
    let call = Call {
        local,
        program,
        direction: Direction::In,
        sock,
        state,
        owner: 0,
        entry: 0,
        // SAFETY: no arguments, no failure.
        exit: unsafe { bpf_ktime_get_ns() },
        pid_tgid: bpf_get_current_pid_tgid(),
    };
    outcome(&call, Kind::Closed, 0);
    let _ = SOCKETS.remove(&sock);
    emit::forget(sock);
}

/// The number of a pointer; see [`Local::cell`].
#[inline(always)]
pub(crate) fn number(local: *mut Local, sk: Sock) -> u64 {
    // SAFETY: a live map value of this CPU and program.
    unsafe {
        core::ptr::write_volatile((&raw mut (*local).cell).cast(), sk);
        core::ptr::read_volatile(&raw const (*local).cell)
    }
}

#[inline(always)]
fn origins<M: Mem>(tcp: *const u8) -> (u32, u32) {
    // The stack moves each pair together but not at once, and may do so while
    // we look; twice the same is as good as atomic.
    let mut sent = 0;
    let mut received = 0;
    for _ in 0..3 {
        sent = M::u32(tcp, layout!(snd_una)).wrapping_sub(M::u64_low(tcp, layout!(bytes_acked)));
        received =
            M::u32(tcp, layout!(rcv_nxt)).wrapping_sub(M::u64_low(tcp, layout!(bytes_received)));
        let sent_again =
            M::u32(tcp, layout!(snd_una)).wrapping_sub(M::u64_low(tcp, layout!(bytes_acked)));
        let received_again =
            M::u32(tcp, layout!(rcv_nxt)).wrapping_sub(M::u64_low(tcp, layout!(bytes_received)));
        if sent == sent_again && received == received_again {
            break;
        }
    }
    (sent, received)
}

/// Reports the bytes of a send or receive; with `copied` they are where the
/// iterator is.
#[inline(always)]
pub(crate) fn moved<M: Mem>(
    call: &Call,
    msg: *const u8,
    seq: u32,
    len: u32,
    entry: Option<*const Entry>,
    copied: bool,
) {
    announce(call);
    call.count(Counter::MovedBytes, u64::from(len));
    let iter = if copied {
        Pieces::find::<M>(call, msg, len, entry)
    } else {
        call.count(Counter::NoBytes, 1);
        Pieces::NOTHING
    };
    emit::bytes(call, seq, len, iter);
}
