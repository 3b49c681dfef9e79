//! How long requests took, in buckets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Counter;

/// Upper bounds of the buckets in milliseconds; a last one has none.
pub const BOUNDS_MS: [u64; 12] = [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 10_000];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [Counter; BOUNDS_MS.len() + 1],
    micros: Counter,
}

/// The numbers of a [`Latency`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LatencySnapshot {
    /// Requests that took up to each of [`BOUNDS_MS`] and longer than the one
    /// before; the last is of those that took longer than all.
    pub buckets: Vec<u64>,
    /// The sum of all durations.
    pub total_microseconds: u64,
}

impl Latency {
    /// Counts one request.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let place = BOUNDS_MS.partition_point(|bound| bound * 1000 < micros);
        if let Some(bucket) = self.buckets.get(place) {
            bucket.add(1);
        }
        self.micros.add(micros);
    }

    pub(super) fn snapshot(&self) -> LatencySnapshot {
        LatencySnapshot {
            buckets: self.buckets.iter().map(Counter::get).collect(),
            total_microseconds: self.micros.get(),
        }
    }
}

impl LatencySnapshot {
    /// Requests that were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The bound in milliseconds that this share of the requests kept, from 0
    /// to 1: that of the bucket in which it is reached. `None` if there were
    /// no requests, or if it lies beyond all bounds.
    #[must_use]
    pub fn quantile_ms(&self, share: f64) -> Option<u64> {
        let wanted = (self.count() as f64 * share).ceil() as u64;
        let mut seen = 0;
        let place = self.buckets.iter().position(|n| {
            seen += n;
            seen >= wanted && seen > 0
        })?;
        BOUNDS_MS.get(place).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_of_its_bound() {
        let latency = Latency::default();
        for (place, bound) in BOUNDS_MS.iter().enumerate() {
            latency.observe(Duration::from_millis(*bound));
            latency.observe(Duration::from_micros(bound * 1000 + 1));
            let buckets = latency.snapshot().buckets;
            assert_eq!(buckets[place], if place == 0 { 1 } else { 2 });
            assert_eq!(buckets[place + 1], 1);
        }
        latency.observe(Duration::ZERO);
        let snapshot = latency.snapshot();
        assert_eq!(snapshot.count(), 2 * BOUNDS_MS.len() as u64 + 1);
        let sum: u64 = BOUNDS_MS.iter().map(|bound| 2000 * bound + 1).sum();
        assert_eq!(snapshot.total_microseconds, sum);
    }

    #[test]
    fn quantiles_are_bounds() {
        let latency = Latency::default();
        assert_eq!(latency.snapshot().quantile_ms(0.5), None);
        for millis in [1, 1, 1, 4, 90] {
            latency.observe(Duration::from_millis(millis));
        }
        let quantile = |share| latency.snapshot().quantile_ms(share);
        assert_eq!([quantile(0.0), quantile(0.5), quantile(0.6)], [Some(1); 3]);
        assert_eq!(quantile(0.8), Some(5));
        assert_eq!(quantile(1.0), Some(100));
        latency.observe(Duration::from_secs(60));
        assert_eq!(quantile(1.0), None);
    }
}
