//! The first decision: is the caller's owner watched?

use core::ffi::c_void;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use aya_ebpf::helpers::generated::{bpf_get_current_cgroup_id, bpf_get_current_task};

use agent_ebpf::{COMM, OWNER_PROCESS, SWITCH_ON, VERDICT_SLOTS, Verdict};

use crate::globals::{layout, setting};
use crate::maps::{OWNERS, SWITCH, VERDICTS};
use crate::mem::{opaque, read_kernel, read_kernel_to};

/// Cgroup of kernel threads, and of processes nobody put anywhere.
const ROOT_CGROUP: u64 = 1;
/// `PF_KTHREAD` (include/linux/sched.h, unchanged since 2.6).
const PF_KTHREAD: u32 = 0x0020_0000;

/// The owner of the current call if it is watched.
#[inline(always)]
pub(crate) fn watched() -> Option<u64> {
    let mut owner = if setting!(by_cgroup) != 0 {
        // SAFETY: no arguments, no failure.
        unsafe { bpf_get_current_cgroup_id() }
    } else {
        process()
    };
    let mut verdict = verdict(owner);
    if verdict == Verdict::PerProcess as u64 {
        owner = process();
        verdict = self::verdict(owner);
    }
    (verdict != Verdict::Ignore as u64).then_some(owner)
}

/// The owner to report: for kernel threads that act for a socket, the cgroup
/// the socket was made in.
#[inline(always)]
pub(crate) fn of_socket(owner: u64, sk: u64) -> u64 {
    if owner != ROOT_CGROUP && owner & OWNER_PROCESS == 0 {
        return owner;
    }
    // SAFETY: no arguments, no failure.
    let task = unsafe { bpf_get_current_task() };
    let flags: u32 = read_kernel(task.wrapping_add(u64::from(layout!(task_flags)))).unwrap_or(0);
    if flags & PF_KTHREAD == 0 {
        return owner;
    }
    let id = read_kernel::<u64>(sk.wrapping_add(u64::from(layout!(sock_cgroup))))
        .and_then(|cgroup| read_kernel::<u64>(cgroup.wrapping_add(u64::from(layout!(cgroup_kn)))))
        .and_then(|node| read_kernel::<u64>(node.wrapping_add(u64::from(layout!(kn_id)))));
    id.unwrap_or(owner)
}

/// Writes the command name of the caller's process to `to`, zeros if it is a
/// kernel thread's or cannot be read.
#[inline(always)]
pub(crate) fn name(to: *mut [u8; COMM]) {
    // SAFETY: no arguments, no failure.
    let task = unsafe { bpf_get_current_task() };
    let (mut flags, mut leader) = (0_u32, 0_u64);
    read_kernel_to(
        &raw mut flags,
        task.wrapping_add(u64::from(layout!(task_flags))),
    );
    read_kernel_to(
        &raw mut leader,
        task.wrapping_add(u64::from(layout!(task_leader))),
    );
    // Near zero nothing can be read. No branch: the verifier would go through
    // all that follows once more for each way.
    let kernels = opaque(u64::from(flags / PF_KTHREAD & 1));
    let address = leader.wrapping_mul(1 - kernels);
    read_kernel_to(to, address.wrapping_add(u64::from(layout!(task_comm))));
}

#[inline(always)]
fn verdict(owner: u64) -> u64 {
    let slot = VERDICTS.get_ptr_mut((owner as u32) & (VERDICT_SLOTS - 1));
    if let Some(slot) = slot {
        // SAFETY: a live map value; one aligned word.
        let cached = unsafe { slot.read_volatile() };
        if cached >> 2 == owner {
            return cached & 3;
        }
    }
    // SAFETY: a live map value; one aligned word.
    let Some(found) = OWNERS.get_ptr(&owner).map(|v| unsafe { v.read_volatile() }) else {
        // Nobody is decided about before all programs are attached, so this is
        // the place to ask whether they are.
        let on = SWITCH.get_ptr(SWITCH_ON);
        // SAFETY: as above.
        return if on.is_some_and(|on| unsafe { on.read_volatile() } != 0) {
            Verdict::Unknown as u64
        } else {
            Verdict::Ignore as u64
        };
    };
    if let Some(slot) = slot {
        // SAFETY: as above.
        unsafe { slot.write_volatile(owner << 2 | (found & 3)) };
    }
    found & 3
}

#[inline(always)]
fn process() -> u64 {
    OWNER_PROCESS | bpf_get_current_pid_tgid() >> 32
}

/// Not a null pointer check for its own sake: keeps the type in one place.
pub(crate) type Sock = *const c_void;
