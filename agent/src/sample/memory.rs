//! Decisions that are not functions of the trace id, remembered for it.

use std::collections::VecDeque;

use hashbrown::HashMap;

use super::SamplerVerdict;
use crate::units::{MonoNanos, TraceId};

/// How long a decision holds from its first exchange on.
const HOLDS: u64 = 60_000_000_000;
/// Traces that are remembered at most; about 8 MB. Beyond it the oldest are
/// forgotten early, and may be decided another time.
const MOST: usize = 131_072;

/// What was decided about traces in the last minute, by the lower 64 bits of
/// their ids.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    verdicts: HashMap<u64, Remembered>,
    /// In the order in which they were decided.
    order: VecDeque<(MonoNanos, u64)>,
    most: usize,
    forgotten: u64,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    at: MonoNanos,
    verdict: SamplerVerdict,
}

impl Default for Memory {
    fn default() -> Self {
        Self::of(MOST)
    }
}

impl Memory {
    /// A memory of so many traces.
    fn of(most: usize) -> Self {
        Self {
            verdicts: HashMap::default(),
            order: VecDeque::new(),
            most,
            forgotten: 0,
        }
    }

    /// Traces that were forgotten before their time, since the last time.
    pub(super) fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    /// What was decided about the trace, or else is decided now.
    pub(super) fn recall(
        &mut self,
        trace: TraceId,
        now: MonoNanos,
        decide: impl FnOnce() -> SamplerVerdict,
    ) -> SamplerVerdict {
        let known = self.verdicts.get(&trace.low());
        if let Some(known) = known.filter(|known| now.since(known.at) < HOLDS) {
            return known.verdict;
        }
        let verdict = decide();
        self.make_room(now);
        let remembered = Remembered { at: now, verdict };
        self.verdicts.insert(trace.low(), remembered);
        self.order.push_back((now, trace.low()));
        verdict
    }

    fn make_room(&mut self, now: MonoNanos) {
        while let Some(&(at, trace)) = self.order.front() {
            let over = now.since(at) >= HOLDS;
            if !over && self.order.len() < self.most {
                break;
            }
            self.order.pop_front();
            self.forgotten += u64::from(!over);
            // It may have been decided anew since.
            if self
                .verdicts
                .get(&trace)
                .is_some_and(|known| known.at == at)
            {
                self.verdicts.remove(&trace);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::SamplerTag;
    use super::*;

    fn verdict(sampled: bool) -> SamplerVerdict {
        SamplerVerdict::new(sampled, SamplerTag::RateLimiting(1.0))
    }

    fn trace(low: u64) -> TraceId {
        TraceId::new(0, low).unwrap()
    }

    /// Whether a trace is decided anew at this second.
    fn is_new(memory: &mut Memory, trace: TraceId, seconds: u64) -> bool {
        let mut asked = false;
        memory.recall(trace, MonoNanos(seconds * 1_000_000_000), || {
            asked = true;
            verdict(true)
        });
        asked
    }

    #[test]
    fn a_decision_holds_for_a_minute_and_for_both_widths() {
        let mut memory = Memory::default();
        for (trace, at, new) in [
            (trace(1), 10, true),
            (trace(1), 10, false),
            (TraceId::new(7, 1).unwrap(), 69, false),
            // Records may come late.
            (trace(1), 5, false),
            (trace(2), 69, true),
            // Counted from its first exchange.
            (trace(1), 70, true),
            (trace(1), 129, false),
            (trace(2), 129, true),
        ] {
            assert_eq!(is_new(&mut memory, trace, at), new, "{trace} at {at} s");
        }
        assert_eq!(memory.take_forgotten(), 0);
    }

    #[test]
    fn it_is_the_first_decision_that_holds() {
        let mut memory = Memory::default();
        for first in [true, false] {
            let trace = trace(u64::from(first) + 1);
            let said = |memory: &mut Memory, sampled| {
                memory
                    .recall(trace, MonoNanos(1), || verdict(sampled))
                    .sampled
            };
            assert_eq!(said(&mut memory, first), first);
            assert_eq!(said(&mut memory, !first), first);
        }
    }

    #[test]
    fn it_is_bounded_and_forgets_what_is_over() {
        let mut memory = Memory::of(100);
        for n in 1..=1000 {
            assert!(is_new(&mut memory, trace(n), n / 100));
            assert!(memory.order.len() <= 100 && memory.verdicts.len() <= 100);
        }
        assert_eq!(memory.take_forgotten(), 900);
        assert!(!is_new(&mut memory, trace(1000), 10));
        assert!(is_new(&mut memory, trace(900), 10));
        // Twice in the row: the older place is not the newer decision's.
        assert!(is_new(&mut memory, trace(5), 80));
        assert_eq!((memory.order.len(), memory.verdicts.len()), (1, 1));
        assert!(is_new(&mut memory, trace(5), 140));
        assert!(!is_new(&mut memory, trace(5), 150));
        assert_eq!(memory.take_forgotten(), 1);
    }
}
