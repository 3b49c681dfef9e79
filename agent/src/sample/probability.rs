//! Shares of traces, as functions of the trace id.

use siphasher::sip::SipHasher13;

use crate::units::TraceId;

/// Jaeger's probabilistic sampler (`jaeger-client-go` 2.30, `sampler.go`): it
/// compares the lower 63 bits of the trace id. As there, rate 0 still samples
/// an id whose lower 63 bits are zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probabilistic {
    rate: f64,
    boundary: u64,
}

impl Probabilistic {
    /// 2^63 - 1.
    const MAX: u64 = u64::MAX >> 1;

    /// A sampler of this share; what is outside 0 to 1 is moved to the nearer
    /// end, as Jaeger does, and what is no number is 0.
    #[must_use]
    pub fn new(rate: f64) -> Self {
        let rate = clamped(rate, 1.0);
        // The product may round up to 2^63, which covers every id as it
        // should. The cast truncates, as Go's conversion does.
        let boundary = (Self::MAX as f64 * rate) as u64;
        Self { rate, boundary }
    }

    /// The share.
    #[must_use]
    pub const fn rate(self) -> f64 {
        self.rate
    }

    /// Whether a trace is within the share.
    #[must_use]
    pub const fn sample(self, trace: TraceId) -> bool {
        self.boundary >= trace.low() & Self::MAX
    }
}

/// A percentage of the traces: Kuma's `sampling` (`Mesh`, `tracing.backends`).
///
/// The lower 64 bits of the trace id are hashed first, because ids need not be
/// random: they may be counted up, or begin with the time. Every node hashes
/// with the same key, so all decide alike, and so do 64 and 128 bits of one
/// id. 0 samples nothing, and 100 everything.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentage {
    percent: f64,
    /// Hashes below this are sampled; `None` for all.
    below: Option<u64>,
}

impl Percentage {
    /// Nothing but a constant that all agents agree on.
    const KEY: [u8; 16] = *b"nodespan percent";

    /// A sampler of so many percent; what is outside 0 to 100 is moved to the
    /// nearer end, and what is no number is 0.
    #[must_use]
    pub fn new(percent: f64) -> Self {
        let percent = clamped(percent, 100.0);
        // 2^64. What is less than 100 % of it fits: the largest f64 below
        // 100 gives less than 2^64 - 2000.
        let all = 18_446_744_073_709_551_616.0;
        let below = (percent < 100.0).then(|| (percent / 100.0 * all) as u64);
        Self { percent, below }
    }

    /// The percentage.
    #[must_use]
    pub const fn percent(self) -> f64 {
        self.percent
    }

    /// Whether a trace is within the percentage.
    #[must_use]
    pub fn sample(self, trace: TraceId) -> bool {
        let Some(below) = self.below else {
            return true;
        };
        let hasher = SipHasher13::new_with_key(&Self::KEY);
        hasher.hash(&trace.low().to_be_bytes()) < below
    }
}

fn clamped(share: f64, most: f64) -> f64 {
    if share.is_nan() {
        0.0
    } else {
        share.clamp(0.0, most)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn trace(low: u64) -> TraceId {
        TraceId::new(1, low).unwrap()
    }

    #[test]
    fn probabilistic_is_exact_at_the_boundary() {
        let half = Probabilistic::new(0.5);
        let boundary = 1 << 62;
        for (low, sampled) in [
            (boundary, true),
            (boundary + 1, false),
            (boundary | 1 << 63, true),
            ((boundary + 1) | 1 << 63, false),
            (0, true),
            (u64::MAX, false),
        ] {
            assert_eq!(half.sample(trace(low)), sampled, "{low:x}");
        }
        for (rate, low, sampled) in [
            (1.0, u64::MAX, true),
            (7.0, u64::MAX, true),
            (0.0, 1, false),
            (0.0, 1 << 63, true),
            (-1.0, 1, false),
            (f64::NAN, 1, false),
        ] {
            assert_eq!(
                Probabilistic::new(rate).sample(trace(low)),
                sampled,
                "{rate}"
            );
        }
    }

    /// Numbers of traces that `sampler` takes, of ids of several kinds.
    fn taken(percent: f64, id: impl Fn(u64) -> u64) -> u64 {
        let sampler = Percentage::new(percent);
        let sampled = |n: &u64| sampler.sample(trace(id(*n)));
        (0..100_000).filter(sampled).count() as u64
    }

    #[test]
    fn percentages_are_exact_for_ids_of_every_kind() {
        type Ids = (&'static str, fn(u64) -> u64);
        let kinds: [Ids; 5] = [
            ("counted up", |n| n),
            ("counted up in steps", |n| n << 20),
            ("counted up in the upper half", |n| n << 40),
            ("times", |n| {
                (0x6745_2301 + n / 1000) << 32 | (n.wrapping_mul(0x9e37_79b9) & 0xffff_ffff)
            }),
            ("random", |n| {
                n.wrapping_add(1)
                    .wrapping_mul(0x9e37_79b9_7f4a_7c15)
                    .rotate_left(29)
                    .wrapping_mul(0xbf58_476d_1ce4_e5b9)
            }),
        ];
        for percent in [0.0, 0.01, 1.0, 30.5, 50.0, 99.99, 100.0] {
            let (n, p) = (100_000.0_f64, percent / 100.0);
            // Four standard deviations of a binomial distribution.
            let allowed = 4.0 * (n * p * (1.0 - p)).sqrt();
            for (kind, id) in kinds {
                let taken = taken(percent, id) as f64;
                assert!(
                    (taken - n * p).abs() <= allowed,
                    "{percent} % of ids {kind}: {taken}"
                );
            }
        }
    }

    #[test]
    fn percentages_outside_are_moved_inside() {
        for (percent, all, none) in [
            (100.0, true, false),
            (1e300, true, false),
            (0.0, false, true),
            (-0.0, false, true),
            (-5.0, false, true),
            (f64::NAN, false, true),
            (f64::INFINITY, true, false),
        ] {
            let taken = taken(percent, |n| n);
            assert_eq!((taken == 100_000, taken == 0), (all, none), "{percent}");
        }
        // The nearest ones are neither.
        assert_eq!(
            Percentage::new(100.0_f64.next_down()).below,
            Some(u64::MAX - 2047)
        );
        assert_eq!(Percentage::new(1e-17).below, Some(1));
    }

    proptest! {
        #[test]
        fn both_widths_of_an_id_are_decided_alike(high: u64, low in 1_u64.., share in 0.0..=1.0) {
            let (narrow, wide) = (TraceId::new(0, low).unwrap(), TraceId::new(high, low).unwrap());
            let probabilistic = Probabilistic::new(share);
            prop_assert_eq!(probabilistic.sample(narrow), probabilistic.sample(wide));
            let percentage = Percentage::new(share * 100.0);
            prop_assert_eq!(percentage.sample(narrow), percentage.sample(wide));
        }

        #[test]
        fn a_larger_share_has_all_traces_of_a_smaller_one(low: u64, a in 0.0..=1.0, b in 0.0..=1.0) {
            let (small, large) = if a < b { (a, b) } else { (b, a) };
            prop_assert!(!Probabilistic::new(small).sample(trace(low)) || Probabilistic::new(large).sample(trace(low)));
            let percent = |share: f64| Percentage::new(share * 100.0);
            prop_assert!(!percent(small).sample(trace(low)) || percent(large).sample(trace(low)));
        }
    }
}
