//! Giving up what only loading and attaching needed.

use std::fmt;

use rustix::io::Errno;
use rustix::thread::{self, CapabilitySet, CapabilitySets};

/// Who a process is, when it belongs to another user: `/proc/PID/exe`.
const ALWAYS: CapabilitySet = CapabilitySet::SYS_PTRACE;

/// Where a process of another user listens: to list `/proc/PID/fd`, which is
/// its owner's (`proc_fd_permission` in `fs/proc/fd.c` asks for the mode first).
const TO_FIND_SOCKETS: CapabilitySet = CapabilitySet::DAC_READ_SEARCH;

/// What may be needed for maps of one's own, where unprivileged users are kept
/// from `bpf(2)` altogether (`unprivileged_bpf_disabled`, up to 5.18); before
/// 5.8 `CAP_SYS_ADMIN` stood for `CAP_BPF`. The first that is enough is kept.
const FOR_MAPS: [CapabilitySet; 3] = [
    CapabilitySet::empty(),
    CapabilitySet::BPF,
    CapabilitySet::SYS_ADMIN,
];

/// Capabilities that are left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept(CapabilitySet);

impl Kept {
    /// Their names, as capabilities(7) has them.
    #[must_use]
    pub fn names(self) -> Vec<String> {
        self.0
            .iter_names()
            .map(|(name, _)| format!("CAP_{name}"))
            .collect()
    }
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            f.write_str("none")
        } else {
            f.write_str(&self.names().join(", "))
        }
    }
}

/// Why capabilities are still there.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{what}: {source}")]
pub struct KeptAll {
    what: &'static str,
    #[source]
    source: Errno,
}

/// Gives up every capability of this thread, and of the threads it will start,
/// but those of [`ALWAYS`], if `finds_sockets` that of [`TO_FIND_SOCKETS`], and
/// the first of [`FOR_MAPS`] with which `maps_work`.
/// What is given up cannot be had again, not by running a program either.
///
/// # Errors
/// If the kernel refuses; then some or all are still there.
pub(super) fn give_up(
    finds_sockets: bool,
    mut maps_work: impl FnMut() -> bool,
) -> Result<Kept, KeptAll> {
    let always = match finds_sockets {
        true => ALWAYS | TO_FIND_SOCKETS,
        false => ALWAYS,
    };
    let failed = |what| move |source| KeptAll { what, source };
    let had = thread::capabilities(None).map_err(failed("asking for capabilities"))?;
    thread::set_no_new_privs(true).map_err(failed("setting no_new_privs"))?;
    let set = |effective, permitted| {
        let inheritable = CapabilitySet::empty();
        let sets = CapabilitySets {
            effective,
            permitted,
            inheritable,
        };
        thread::set_capabilities(None, sets).map_err(failed("giving up capabilities"))
    };
    // Narrowing the bounding set takes this one, and comes when it is known
    // what is kept.
    let until_then = had.effective & CapabilitySet::SETPCAP;
    let mut kept = CapabilitySet::empty();
    for one in FOR_MAPS {
        kept = had.permitted & (always | one);
        set(kept | until_then, had.permitted)?;
        if maps_work() {
            break;
        }
    }
    if !until_then.is_empty() {
        narrow(kept).map_err(failed("narrowing the bounding set"))?;
    }
    set(kept, kept)?;
    Ok(Kept(kept))
}

/// Takes everything else out of the bounding set.
fn narrow(but: CapabilitySet) -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << bit);
        if but.contains(one) {
            continue;
        }
        match thread::remove_capability_from_bounding_set(one) {
            Ok(()) => {}
            // Past the last one that this kernel has.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In a thread of its own, since it is for good.
    fn in_thread(
        finds_sockets: bool,
        maps_work: impl Fn() -> bool + Send + 'static,
    ) -> (Kept, CapabilitySets) {
        std::thread::spawn(move || {
            let kept = give_up(finds_sockets, maps_work).unwrap();
            (kept, thread::capabilities(None).unwrap())
        })
        .join()
        .unwrap()
    }

    #[test]
    fn nothing_is_left_but_what_is_needed() {
        let had = thread::capabilities(None).unwrap().permitted;
        let (kept, _) = in_thread(true, || true);
        assert_eq!(kept.0, had & (ALWAYS | TO_FIND_SOCKETS));
        let (kept, now) = in_thread(false, || true);
        assert_eq!(kept.0, had & ALWAYS);
        assert_eq!(
            (now.effective, now.permitted, now.inheritable),
            (kept.0, kept.0, CapabilitySet::empty())
        );
    }

    #[test]
    fn maps_keep_what_they_need() {
        let had = thread::capabilities(None).unwrap().permitted;
        let has_bpf = || {
            thread::capabilities(None)
                .unwrap()
                .effective
                .contains(CapabilitySet::BPF)
        };
        let (kept, now) = in_thread(false, has_bpf);
        if had.contains(CapabilitySet::BPF) {
            assert_eq!(kept.0, had & (ALWAYS | CapabilitySet::BPF));
        }
        assert_eq!(now.permitted, kept.0);
    }

    #[test]
    fn they_are_named() {
        assert_eq!(Kept(CapabilitySet::empty()).to_string(), "none");
        let two = Kept(CapabilitySet::SYS_PTRACE | CapabilitySet::BPF);
        assert_eq!(two.to_string(), "CAP_SYS_PTRACE, CAP_BPF");
    }
}
