//! Two ways to read kernel memory, and the clamp the verifier believes.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{
    bpf_probe_read_kernel, bpf_probe_read_user, bpf_skc_to_tcp_sock,
};

/// How a program reads the kernel's structures.
pub(crate) trait Mem {
    /// The `tcp_sock` of this `sock`, null if it is none.
    fn tcp(sk: *const c_void) -> *const u8;
    /// The 32 bits at this offset.
    fn u32(base: *const u8, offset: u32) -> u32;
    /// The 8 bits at this offset.
    fn u8(base: *const u8, offset: u32) -> u8;
    /// The low 32 bits of the 64 at this offset.
    fn u64_low(base: *const u8, offset: u32) -> u32;
    /// Copies the pointer at this offset to where it is a plain number.
    fn pointer(base: *const u8, offset: u32, to: *mut u64);
    /// The 64 bits at this offset, not a pointer.
    fn u64(base: *const u8, offset: u32) -> u64;
}

/// Plain loads through pointers whose type the verifier knows (fentry, fexit).
pub(crate) struct Direct;

impl Mem for Direct {
    #[inline(always)]
    fn tcp(sk: *const c_void) -> *const u8 {
        // SAFETY: any `struct sock` pointer is allowed; the helper checks it.
        unsafe { bpf_skc_to_tcp_sock(sk.cast_mut()).cast() }
    }

    #[inline(always)]
    fn u32(base: *const u8, offset: u32) -> u32 {
        // SAFETY: the verifier checks the access against the BTF type; a fault
        // reads as zero.
        unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<u32>()) }
    }

    #[inline(always)]
    fn u8(base: *const u8, offset: u32) -> u8 {
        // SAFETY: as for `u32`.
        unsafe { core::ptr::read_volatile(base.add(offset as usize)) }
    }

    #[inline(always)]
    fn u64_low(base: *const u8, offset: u32) -> u32 {
        Self::u64(base, offset) as u32
    }

    #[inline(always)]
    fn pointer(base: *const u8, offset: u32, to: *mut u64) {
        let value = Self::u64(base, offset);
        // SAFETY: `to` is in a map value; storing a pointer there is what
        // turns it into a number.
        unsafe { core::ptr::write_volatile(to, value) };
    }

    #[inline(always)]
    fn u64(base: *const u8, offset: u32) -> u64 {
        // SAFETY: as for `u32`.
        unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<u64>()) }
    }
}

/// Helper calls, for programs whose arguments are plain numbers (kprobes).
pub(crate) struct Probed;

impl Mem for Probed {
    #[inline(always)]
    fn tcp(sk: *const c_void) -> *const u8 {
        sk.cast()
    }

    #[inline(always)]
    fn u32(base: *const u8, offset: u32) -> u32 {
        read_kernel::<u32>(base as u64 + u64::from(offset)).unwrap_or(0)
    }

    #[inline(always)]
    fn u8(base: *const u8, offset: u32) -> u8 {
        read_kernel::<u8>(base as u64 + u64::from(offset)).unwrap_or(0)
    }

    #[inline(always)]
    fn u64_low(base: *const u8, offset: u32) -> u32 {
        Self::u64(base, offset) as u32
    }

    #[inline(always)]
    fn pointer(base: *const u8, offset: u32, to: *mut u64) {
        // SAFETY: `to` is in a map value.
        unsafe { core::ptr::write_volatile(to, Self::u64(base, offset)) };
    }

    #[inline(always)]
    fn u64(base: *const u8, offset: u32) -> u64 {
        read_kernel::<u64>(base as u64 + u64::from(offset)).unwrap_or(0)
    }
}

/// A value at any kernel address.
#[inline(always)]
pub(crate) fn read_kernel<T: Copy>(address: u64) -> Option<T> {
    let mut value = core::mem::MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes or fails.
    unsafe {
        if bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            core::ptr::with_exposed_provenance(address as usize),
        ) == 0
        {
            Some(value.assume_init())
        } else {
            None
        }
    }
}

/// Copies a value from any kernel address; zeros if it cannot be read.
#[inline(always)]
pub(crate) fn read_kernel_to<T: Copy>(to: *mut T, address: u64) {
    // SAFETY: the verifier checks `to`; the helper writes exactly
    // `size_of::<T>()` bytes, zeros if it fails (`bpf_probe_read_kernel_common`,
    // kernel/trace/bpf_trace.c).
    unsafe {
        bpf_probe_read_kernel(
            to.cast(),
            size_of::<T>() as u32,
            core::ptr::with_exposed_provenance(address as usize),
        );
    }
}

/// Copies user memory; `len` must be clamped.
#[inline(always)]
pub(crate) fn read_user(to: *mut u8, len: u64, address: u64) -> bool {
    // SAFETY: the verifier checks `to` and `len`; the address may be anything.
    unsafe {
        bpf_probe_read_user(
            to.cast(),
            len as u32,
            core::ptr::with_exposed_provenance(address as usize),
        ) == 0
    }
}

/// The low 32 bits of a pointer. Of all arithmetic on a pointer to a kernel
/// object the verifier allows the subtraction from its low half
/// (`adjust_ptr_min_max_vals`, kernel/bpf/verifier.c).
#[inline(always)]
pub(crate) fn low_half(pointer: *const c_void) -> u64 {
    let low;
    // SAFETY: touches those two registers only.
    unsafe {
        core::arch::asm!(
            "r0 = r1",
            // w0 -= 0
            ".byte 0x14, 0x00, 0x00, 0x00",
            ".long 0",
            in("r1") pointer,
            lateout("r0") low,
        );
    }
    low
}

/// Whether a pointer to a kernel object has this number.
#[inline(always)]
pub(crate) fn is_number_of(pointer: *const c_void, number: u64) -> bool {
    let mut same: u64;
    // SAFETY: touches those registers only. Written out, since comparing is
    // allowed and what a compiler may make of it is not.
    unsafe {
        core::arch::asm!(
            "{same} = 1",
            "if {pointer} == {number} goto +1",
            "{same} = 0",
            same = out(reg) same,
            pointer = in(reg) pointer,
            number = in(reg) number,
        );
    }
    same != 0
}

/// `min(value, MAX)` in a form that neither LLVM nor the verifier loses:
/// comparison and use are on the same register.
#[inline(always)]
pub(crate) fn clamp<const MAX: u64>(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: touches that one register only.
    unsafe {
        core::arch::asm!(
            "if {value} < {max} goto +1",
            "{value} = {max}",
            value = inout(reg) value,
            max = const MAX,
        );
    }
    value
}

/// Hides a value's history from the optimiser.
#[inline(always)]
pub(crate) fn opaque(value: u64) -> u64 {
    let mut value = value;
    // SAFETY: does nothing.
    unsafe { core::arch::asm!("{value} = {value}", value = inout(reg) value) };
    value
}
