//! The kernel object, where the build brought one.

/// The object, aligned as the loader wants it.
#[cfg(bpf_object)]
pub(super) fn plain() -> Option<&'static [u8]> {
    Some(aya::include_bytes_aligned!(env!("NODESPAN_BPF_OBJECT")))
}

/// This build has none.
#[cfg(not(bpf_object))]
pub(super) fn plain() -> Option<&'static [u8]> {
    None
}

/// The object whose programs log.
#[cfg(bpf_log_object)]
pub(super) fn logging() -> Option<&'static [u8]> {
    Some(aya::include_bytes_aligned!(env!("NODESPAN_BPF_LOG_OBJECT")))
}

/// This build has none.
#[cfg(not(bpf_log_object))]
pub(super) fn logging() -> Option<&'static [u8]> {
    None
}
