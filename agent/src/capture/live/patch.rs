//! Calls of kernel functions, put into the object before it is loaded.

use agent_ebpf::{PREEMPT_DISABLE, PREEMPT_ENABLE};

/// `BPF_JMP | BPF_CALL` with `BPF_PSEUDO_KFUNC_CALL`.
const CALL: [u8; 4] = [0x85, 0x20, 0, 0];
/// `goto +0`: the next instruction.
const NOTHING: [u8; 8] = [0x05, 0, 0, 0, 0, 0, 0, 0];

/// The object with the placeholders of `preempt.rs` (agent-ebpf) replaced: by
/// calls of these functions, or by nothing.
pub(super) fn preempt(object: &[u8], ids: Option<(u32, u32)>) -> Vec<u8> {
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
        let id = match (wanted, ids) {
            (Ok(PREEMPT_DISABLE), Some((disable, _))) => Some(disable),
            (Ok(PREEMPT_ENABLE), Some((_, enable))) => Some(enable),
            (Ok(PREEMPT_DISABLE | PREEMPT_ENABLE), None) => None,
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
        let object = [call(PREEMPT_DISABLE), other.clone(), call(PREEMPT_ENABLE)].concat();
        let patched = preempt(&object, Some((1000, 1001)));
        assert_eq!(patched, [call(1000), other.clone(), call(1001)].concat());
        let patched = preempt(&object, None);
        assert_eq!(
            patched,
            [NOTHING.to_vec(), other, NOTHING.to_vec()].concat()
        );
    }
}
