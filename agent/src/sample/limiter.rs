//! Jaeger's token bucket.

use crate::units::MonoNanos;

/// So many credits a second, of which some can be saved
/// (`jaeger-client-go` 2.30, `utils/rate_limiter.go`).
///
/// As there, the balance is only brought up to date when it is too small, so
/// that a bucket that was not emptied fills late, and at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limiter {
    /// Credits a second.
    rate: f64,
    balance: f64,
    /// When the balance was true; unknown until the first take.
    at: Option<MonoNanos>,
}

impl Limiter {
    /// A full bucket. A rate that is negative or no number is 0.
    pub(super) fn new(rate: f64) -> Self {
        let rate = allowed(rate);
        Self {
            rate,
            balance: most(rate),
            at: None,
        }
    }

    /// Credits a second.
    pub(super) const fn rate(&self) -> f64 {
        self.rate
    }

    /// Takes a credit if there is one.
    pub(super) fn take(&mut self, now: MonoNanos) -> bool {
        self.at.get_or_insert(now);
        if self.pay() {
            return true;
        }
        self.refill(now);
        self.pay()
    }

    /// Sets another rate. What was saved stays, in proportion to what can be.
    pub(super) fn update(&mut self, rate: f64, now: MonoNanos) {
        let rate = allowed(rate);
        self.refill(now);
        self.balance = self.balance * most(rate) / most(self.rate);
        self.rate = rate;
    }

    fn pay(&mut self) -> bool {
        let pays = self.balance >= 1.0;
        if pays {
            self.balance -= 1.0;
        }
        pays
    }

    fn refill(&mut self, now: MonoNanos) {
        // Records of several CPUs are not quite in the order of their times.
        let at = self.at.unwrap_or(now);
        self.at = Some(now.max(at));
        let seconds = now.since(at) as f64 / 1e9;
        self.balance = (self.balance + seconds * self.rate).min(most(self.rate));
    }
}

fn allowed(rate: f64) -> f64 {
    if rate.is_finite() { rate.max(0.0) } else { 0.0 }
}

/// What can be saved: a second's credits, but always one.
fn most(rate: f64) -> f64 {
    rate.max(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MS: u64 = 1_000_000;

    fn ms(at: u64) -> MonoNanos {
        MonoNanos(at * MS)
    }

    /// How many of `tries` at this time get a credit.
    fn takes(limiter: &mut Limiter, at: u64, tries: u32) -> u32 {
        (0..tries).map(|_| u32::from(limiter.take(ms(at)))).sum()
    }

    #[test]
    fn table() {
        // (rate, [(milliseconds, tries, credits)])
        type Steps = &'static [(u64, u32, u32)];
        let cases: [(f64, Steps); 7] = [
            // A full bucket to begin with, then the rate.
            (
                2.0,
                &[
                    (0, 5, 2),
                    (499, 1, 0),
                    (500, 2, 1),
                    (1000, 2, 1),
                    (9000, 5, 2),
                ],
            ),
            // One can always be saved, and one is there at first.
            (
                0.1,
                &[(0, 2, 1), (9_999, 1, 0), (10_000, 2, 1), (60_000, 3, 1)],
            ),
            (1.0, &[(0, 3, 1), (1000, 3, 1), (1500, 1, 0), (2000, 1, 1)]),
            (0.0, &[(0, 3, 1), (1_000_000, 3, 0)]),
            (-3.0, &[(0, 3, 1), (1_000_000, 3, 0)]),
            // A rate that is no whole number saves no whole number: 2.5, of
            // which two can be spent, and the half stays.
            (2.5, &[(0, 4, 2), (200, 4, 1), (400, 4, 0), (600, 4, 1)]),
            // What is not empty does not fill: at 10 s there is one left of
            // 0 s, and then a full bucket.
            (2.0, &[(0, 1, 1), (10_000, 5, 3)]),
        ];
        for (rate, steps) in cases {
            let mut limiter = Limiter::new(rate);
            for &(at, tries, credits) in steps {
                assert_eq!(
                    takes(&mut limiter, at, tries),
                    credits,
                    "{rate}/s at {at} ms"
                );
            }
        }
    }

    #[test]
    fn an_update_keeps_what_was_saved_in_proportion() {
        let mut limiter = Limiter::new(4.0);
        assert_eq!(takes(&mut limiter, 0, 2), 2);
        // Half full: 2 of 4 become 5 of 10.
        limiter.update(10.0, ms(0));
        assert_eq!(takes(&mut limiter, 0, 9), 5);
        // Credits up to now are of the old rate: 10 a second for 300 ms are 3
        // of 10, which become 0.3 of 1.
        limiter.update(0.5, ms(300));
        assert_eq!(takes(&mut limiter, 300, 2), 0);
        assert_eq!(takes(&mut limiter, 1_699, 2), 0);
        assert_eq!(takes(&mut limiter, 1_701, 2), 1);
        assert_eq!(limiter.rate(), 0.5);
    }

    #[test]
    fn time_may_go_back_a_little() {
        let mut limiter = Limiter::new(1.0);
        assert_eq!(takes(&mut limiter, 1000, 2), 1);
        assert_eq!(takes(&mut limiter, 900, 2), 0);
        assert_eq!(takes(&mut limiter, 1999, 2), 0);
        assert_eq!(takes(&mut limiter, 2000, 2), 1);
    }

    proptest! {
        /// Never more than twice what can be saved and the rate, over any
        /// stretch of time, and what is over is not taken for nothing.
        #[test]
        fn the_rate_holds(rate in 0.0..50.0, steps in prop::collection::vec((0_u64..400, 0_u32..20), 1..60)) {
            let mut limiter = Limiter::new(rate);
            let (mut now, mut taken) = (0, 0);
            for (wait, tries) in steps {
                now += wait;
                taken += takes(&mut limiter, now, tries);
                let allowed = 2.0 * most(rate) + rate * now as f64 / 1e3;
                prop_assert!(f64::from(taken) <= allowed + 1e-6);
            }
        }
    }
}
