//! Frozen settings. The loader writes them before the map is frozen, so the
//! verifier takes them for constants and drops the branches not taken
//! (kernel ≥ 5.5, `bpf_map_direct_read`).

use core::mem::MaybeUninit;

use agent_ebpf::{Layout, Settings};

/// A value that the loader overrides and the compiler must not assume.
#[repr(transparent)]
pub(crate) struct Frozen<T>(pub(crate) MaybeUninit<T>);

#[unsafe(no_mangle)]
pub(crate) static LAYOUT: Frozen<Layout> = Frozen(MaybeUninit::zeroed());

#[unsafe(no_mangle)]
pub(crate) static SETTINGS: Frozen<Settings> = Frozen(MaybeUninit::zeroed());

/// One word of [`LAYOUT`]; only that word is read.
macro_rules! layout {
    ($field:ident) => {
        $crate::globals::layout_word(core::mem::offset_of!(agent_ebpf::Layout, $field))
    };
}

/// One word of [`SETTINGS`].
macro_rules! setting {
    ($field:ident) => {
        $crate::globals::setting_word(core::mem::offset_of!(agent_ebpf::Settings, $field))
    };
}

pub(crate) use {layout, setting};

#[inline(always)]
pub(crate) fn layout_word(offset: usize) -> u32 {
    // SAFETY: a word of a live, initialised static; volatile because the
    // loader changes it behind the compiler's back.
    unsafe {
        LAYOUT
            .0
            .as_ptr()
            .cast::<u8>()
            .add(offset)
            .cast::<u32>()
            .read_volatile()
    }
}

#[inline(always)]
pub(crate) fn setting_word(offset: usize) -> u32 {
    // SAFETY: as for `layout_word`.
    unsafe {
        SETTINGS
            .0
            .as_ptr()
            .cast::<u8>()
            .add(offset)
            .cast::<u32>()
            .read_volatile()
    }
}
