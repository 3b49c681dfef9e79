//! A share for each operation, and a lower bound.

use hashbrown::HashMap;

use super::limiter::Limiter;
use super::probability::Probabilistic;
use super::strategy::OperationRate;
use super::{SamplerTag, SamplerVerdict};
use crate::units::{MonoNanos, TraceId};

/// Operations that are told apart at most (`jaeger-client-go`,
/// `defaultMaxOperations`), not counting what a server lists: what comes
/// behind them has the default share, and no lower bound.
const MOST: usize = 2000;
/// Bytes of a name that is remembered; whoever sends a longer one gets the
/// default share as well.
const NAME: usize = 256;

/// Jaeger's guaranteed throughput: a share, and where that says no, so many
/// traces a second all the same.
#[derive(Clone, Debug, PartialEq)]
struct Guaranteed {
    share: Probabilistic,
    lower_bound: Limiter,
}

impl Guaranteed {
    fn new(rate: f64, lower_bound: f64) -> Self {
        Self {
            share: Probabilistic::new(rate),
            lower_bound: Limiter::new(lower_bound),
        }
    }

    fn update(&mut self, rate: f64, lower_bound: f64, now: MonoNanos) {
        self.share = Probabilistic::new(rate);
        if self.lower_bound.rate() != lower_bound {
            self.lower_bound.update(lower_bound, now);
        }
    }

    fn decide(&mut self, trace: TraceId, now: MonoNanos) -> SamplerVerdict {
        let rate = self.share.rate();
        // A trace of the share counts for the lower bound too.
        let credit = self.lower_bound.take(now);
        if self.share.sample(trace) {
            SamplerVerdict::new(true, SamplerTag::Probabilistic(rate))
        } else {
            SamplerVerdict::new(credit, SamplerTag::LowerBound(rate))
        }
    }
}

/// Jaeger's per-operation sampler.
#[derive(Clone, Debug)]
pub(super) struct Operations {
    operations: HashMap<Box<[u8]>, Guaranteed>,
    default: Probabilistic,
    lower_bound: f64,
    /// Operations that were met and not listed.
    learned: usize,
}

impl Operations {
    /// A sampler that knows no operation yet.
    pub(super) fn new(default: f64, lower_bound: f64) -> Self {
        Self {
            operations: HashMap::default(),
            default: Probabilistic::new(default),
            lower_bound,
            learned: 0,
        }
    }

    /// How many operations were met and not listed.
    pub(super) const fn learned(&self) -> usize {
        self.learned
    }

    /// Takes what a server says. Operations that it does not list are known
    /// no more, and will be met anew.
    pub(super) fn update(
        &mut self,
        default: f64,
        lower_bound: f64,
        rates: &[OperationRate],
        now: MonoNanos,
    ) {
        self.default = Probabilistic::new(default);
        self.lower_bound = lower_bound;
        self.learned = 0;
        let mut old = std::mem::take(&mut self.operations);
        for OperationRate { operation, rate } in rates {
            let name = operation.as_bytes();
            let known = old
                .remove_entry(name)
                .or_else(|| self.operations.remove_entry(name));
            let entry = match known {
                Some((name, mut guaranteed)) => {
                    guaranteed.update(*rate, lower_bound, now);
                    (name, guaranteed)
                }
                None => (name.into(), Guaranteed::new(*rate, lower_bound)),
            };
            self.operations.insert(entry.0, entry.1);
        }
    }

    /// Decides about a trace that begins with this operation; `may_learn` if
    /// there is room for one that is not known.
    pub(super) fn decide(
        &mut self,
        operation: &[u8],
        may_learn: bool,
        trace: TraceId,
        now: MonoNanos,
    ) -> SamplerVerdict {
        if let Some(guaranteed) = self.operations.get_mut(operation) {
            return guaranteed.decide(trace, now);
        }
        let rate = self.default.rate();
        let full = self.operations.len() >= MOST || operation.len() > NAME;
        if full || !may_learn {
            let sampled = self.default.sample(trace);
            return SamplerVerdict::new(sampled, SamplerTag::Probabilistic(rate));
        }
        let mut guaranteed = Guaranteed::new(rate, self.lower_bound);
        let verdict = guaranteed.decide(trace, now);
        self.operations.insert(operation.into(), guaranteed);
        self.learned += 1;
        verdict
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    /// No share but 1 has it.
    const LATE: u64 = u64::MAX >> 1;

    fn rates(rates: &[(&str, f64)]) -> Vec<OperationRate> {
        let rate = |&(operation, rate): &(&str, f64)| OperationRate {
            operation: operation.into(),
            rate,
        };
        rates.iter().map(rate).collect()
    }

    fn ask(operations: &mut Operations, name: &str, low: u64, at: u64) -> (bool, SamplerTag) {
        let trace = TraceId::new(0, low).unwrap();
        let verdict = operations.decide(name.as_bytes(), true, trace, MonoNanos(at * SECOND));
        assert!(!verdict.limited);
        (verdict.sampled, verdict.tag.unwrap())
    }

    #[test]
    fn the_share_comes_first_and_spends_the_lower_bounds_credit() {
        use SamplerTag::{LowerBound, Probabilistic};
        let mut operations = Operations::new(0.5, 0.0);
        operations.update(0.5, 0.1, &rates(&[("GET a", 0.25)]), MonoNanos(0));
        for (name, low, at, expected) in [
            ("GET a", 1, 0, (true, Probabilistic(0.25))),
            ("GET a", LATE, 0, (false, LowerBound(0.25))),
            ("GET a", LATE, 9, (false, LowerBound(0.25))),
            ("GET a", LATE, 10, (true, LowerBound(0.25))),
            ("GET a", LATE, 11, (false, LowerBound(0.25))),
            // Within the share it is sampled without a credit too.
            ("GET a", 1, 11, (true, Probabilistic(0.25))),
            // An operation that nobody listed has the default share, and a
            // lower bound of its own.
            ("GET b", LATE, 11, (true, LowerBound(0.5))),
            ("GET b", LATE, 11, (false, LowerBound(0.5))),
            ("GET b", 1, 11, (true, Probabilistic(0.5))),
            ("", LATE, 11, (true, LowerBound(0.5))),
        ] {
            assert_eq!(
                ask(&mut operations, name, low, at),
                expected,
                "{name} {at} s"
            );
        }
    }

    #[test]
    fn an_update_keeps_the_balances_of_what_is_listed() {
        let mut operations = Operations::new(0.0, 1.0);
        let list = rates(&[("a", 0.0), ("b", 0.0)]);
        operations.update(0.0, 1.0, &list, MonoNanos(0));
        for name in ["a", "b", "c"] {
            assert!(ask(&mut operations, name, LATE, 0).0);
            assert!(!ask(&mut operations, name, LATE, 0).0);
        }
        // The same again: nothing is given for nothing.
        operations.update(0.0, 1.0, &list, MonoNanos(0));
        assert!(!ask(&mut operations, "a", LATE, 0).0);
        // Nobody listed it, so it is new.
        assert!(ask(&mut operations, "c", LATE, 0).0);
        // Named twice: the last rate counts.
        let list = rates(&[("a", 0.0), ("a", 1.0)]);
        operations.update(0.0, 1.0, &list, MonoNanos(0));
        assert_eq!(
            ask(&mut operations, "a", LATE, 0),
            (true, SamplerTag::Probabilistic(1.0))
        );
        // A new lower bound keeps the balance in proportion: none.
        let list = rates(&[("a", 0.0)]);
        operations.update(0.0, 5.0, &list, MonoNanos(0));
        assert!(!ask(&mut operations, "a", LATE, 0).0);
    }

    #[test]
    fn operations_are_bounded() {
        let mut operations = Operations::new(0.0, 1.0);
        for n in 0..MOST {
            assert!(ask(&mut operations, &format!("op{n}"), LATE, 0).0);
        }
        // One more has the default share alone.
        assert_eq!(
            ask(&mut operations, "more", LATE, 0),
            (false, SamplerTag::Probabilistic(0.0))
        );
        assert_eq!(operations.operations.len(), MOST);
        assert!(ask(&mut operations, "op7", LATE, 1).0);
        assert_eq!(operations.learned(), MOST);
        operations.update(0.0, 1.0, &rates(&[("op7", 0.0)]), MonoNanos(0));
        assert_eq!((operations.learned(), operations.operations.len()), (0, 1));
        // So are their names, and there may be no room at all.
        let default = (false, SamplerTag::Probabilistic(0.0));
        assert_eq!(ask(&mut operations, &"n".repeat(257), LATE, 0), default);
        assert!(ask(&mut operations, &"n".repeat(256), LATE, 0).0);
        let trace = TraceId::new(0, LATE).unwrap();
        assert!(!operations.decide(b"x", false, trace, MonoNanos(0)).sampled);
        assert_eq!(operations.learned(), 1);
    }
}
