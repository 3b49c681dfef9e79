//! The ring: reserving, submitting, and waking the reader seldom.

use aya_ebpf::bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP};
use aya_ebpf::maps::ring_buf::RingBufEntry;

use aya_ebpf::helpers::generated::bpf_ringbuf_output;

use agent_ebpf::{Counter, RawRecord, SWITCH_ASLEEP};

use crate::call::{Call, count};
use crate::globals::setting;
use crate::maps::{Local, RING, SWITCH, Scratch};

/// Room for one record, counted as lost if there is none.
#[inline(always)]
pub(crate) fn reserve<T>(call: &Call) -> Option<RingBufEntry<T>> {
    let room = RING.reserve::<T>(0);
    call.count(Counter::Records, 1);
    if room.is_none() {
        call.count(Counter::RingFull, 1);
    }
    room
}

/// Hands a record over.
#[inline(always)]
pub(crate) fn submit<T>(call: &Call, room: RingBufEntry<T>, urgent: bool) {
    room.submit(flags(call.local, urgent));
}

/// Gives the room back; the record was not worth it.
#[inline(always)]
pub(crate) fn discard<T>(call: &Call, room: RingBufEntry<T>) {
    call.count(Counter::Records, 0_u64.wrapping_sub(1));
    room.discard(u64::from(BPF_RB_NO_WAKEUP));
}

/// Copies out the record whose head and first `payload` bytes lie in scratch
/// memory; `payload` must be clamped.
#[inline(always)]
pub(crate) fn output(local: *mut Local, scratch: *mut Scratch, payload: u64, urgent: bool) {
    count(local, Counter::Records, 1);
    // SAFETY: live map memory; the verifier checks pointer and size. The head
    // moves right before the payload, where it is sent from.
    let failed = unsafe {
        let from = (&raw mut (*scratch).payload)
            .cast::<u8>()
            .sub(size_of::<RawRecord>());
        bpf_ringbuf_output(
            (&raw const RING).cast_mut().cast(),
            from.cast(),
            size_of::<RawRecord>() as u64 + payload,
            flags(local, urgent),
        )
    };
    if failed == 0 {
        count(local, Counter::RingBytes, payload);
    } else {
        count(local, Counter::RingFull, 1);
    }
}

/// A wake-up costs more than all the rest of a record, so the reader comes by
/// itself while there is something to read, and is woken only when it sleeps,
/// when the ring fills, or when its word on a long body is wanted.
#[inline(always)]
fn flags(local: *mut Local, urgent: bool) -> u64 {
    if let Some(asleep) = SWITCH.get_ptr_mut(SWITCH_ASLEEP) {
        // SAFETY: a live map value, one aligned word. Two CPUs may both see
        // it set: one wake-up too many.
        unsafe {
            if asleep.read_volatile() != 0 {
                asleep.write_volatile(0);
                return u64::from(BPF_RB_FORCE_WAKEUP);
            }
        }
    }
    if urgent {
        return u64::from(BPF_RB_FORCE_WAKEUP);
    }
    // SAFETY: a live map value of this CPU.
    let records = unsafe { (*local).counters[Counter::Records as usize] };
    if records & 15 == 0
        && RING.query(u64::from(BPF_RB_AVAIL_DATA)) > u64::from(setting!(wake_bytes))
    {
        return u64::from(BPF_RB_FORCE_WAKEUP);
    }
    u64::from(BPF_RB_NO_WAKEUP)
}
