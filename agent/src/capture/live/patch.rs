//! Calls of kernel functions, put into the object before it is loaded.

use agent_ebpf::{IRQ_RESTORE, IRQ_SAVE, PREEMPT_DISABLE, PREEMPT_ENABLE};

use crate::capture::layout::Preempt;

/// `BPF_JMP | BPF_CALL` with `BPF_PSEUDO_KFUNC_CALL`.
const CALL: [u8; 4] = [0x85, 0x20, 0, 0];
/// `goto +0`: the next instruction.
const NOTHING: [u8; 8] = [0x05, 0, 0, 0, 0, 0, 0, 0];

/// The object with the placeholders of `preempt.rs` (agent-ebpf) replaced: by
/// calls of these functions, or by nothing.
pub(super) fn preempt(object: &[u8], ids: Option<Preempt>) -> Vec<u8> {
    let mut patched = object.to_vec();
    // Instructions are 8 bytes and aligned in their sections.
    for instruction in patched.chunks_exact_mut(8) {
        let Some((call, function)) = instruction.split_at_mut_checked(4) else {
            continue;
        };
        if *call != CALL {
            continue;
        }
        let wanted = <[u8; 4]>::try_from(&*function).map(u32::from_le_bytes);
        let id = match wanted {
            Ok(PREEMPT_DISABLE) => ids.map(|ids| ids.disable),
            Ok(PREEMPT_ENABLE) => ids.map(|ids| ids.enable),
            Ok(IRQ_SAVE) => ids.map(|ids| ids.irq_save),
            Ok(IRQ_RESTORE) => ids.map(|ids| ids.irq_restore),
            _ => continue,
        };
        match id {
            Some(id) => function.copy_from_slice(&id.to_le_bytes()),
            None => instruction.copy_from_slice(&NOTHING),
        }
    }
    patched
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(function: u32) -> Vec<u8> {
        [CALL.to_vec(), function.to_le_bytes().to_vec()].concat()
    }

    #[test]
    fn placeholders_become_calls_or_nothing() {
        let other = call(7);
        let placeholders = [PREEMPT_DISABLE, IRQ_SAVE, PREEMPT_ENABLE, IRQ_RESTORE];
        let object = [placeholders.map(call).concat(), other.clone()].concat();
        let ids = Preempt {
            disable: 1000,
            enable: 1001,
            irq_save: 1002,
            irq_restore: 1003,
        };
        let patched = preempt(&object, Some(ids));
        let calls = [1000, 1002, 1001, 1003].map(call).concat();
        assert_eq!(patched, [calls, other.clone()].concat());
        let patched = preempt(&object, None);
        assert_eq!(patched, [NOTHING.repeat(4), other].concat());
    }
}
