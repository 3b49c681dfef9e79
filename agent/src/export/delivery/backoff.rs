//! How long to wait before the next attempt.

use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

/// How failed deliveries are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// Wait after the first failure; doubles with each further one in a row.
    pub first: Duration,
    /// Longest wait, also when the server's `Retry-After` asks for more.
    pub longest: Duration,
    /// A batch that was not taken this long after its first attempt is
    /// dropped.
    pub give_up_after: Duration,
}

impl Default for Retry {
    /// 250 ms, 30 s, 2 minutes.
    fn default() -> Self {
        Self {
            first: Duration::from_millis(250),
            longest: Duration::from_secs(30),
            give_up_after: Duration::from_mins(2),
        }
    }
}

/// Counts failures in a row.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    random: RandomState,
}

impl Backoff {
    pub(super) fn succeeded(&mut self) {
        self.failures = 0;
    }

    /// The wait after one more failure: between half and the whole of the
    /// doubled time, so that agents which failed together do not come back
    /// together, or what the server asks for if that is longer. A server that
    /// asks for no time at all is not asked without pause.
    pub(super) fn failed(&mut self, retry: &Retry, asked: Option<Duration>) -> Duration {
        let doubled = retry.first.saturating_mul(1 << self.failures.min(16));
        self.failures += 1;
        let whole = doubled.min(retry.longest);
        let own = whole / 2 + whole.mul_f64(self.random()) / 2;
        asked.map_or(own, |asked| own.max(asked.min(retry.longest)))
    }

    /// A number from 0 to 1 that differs from process to process.
    fn random(&self) -> f64 {
        let bits = self.random.hash_one(self.failures) >> 32;
        bits as f64 / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_start_anew() {
        let retry = Retry::default();
        let mut backoff = Backoff::default();
        for whole in [250, 500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000] {
            let wait = backoff.failed(&retry, None).as_millis();
            assert!((whole / 2..=whole).contains(&wait), "{wait} {whole}");
        }
        for _ in 0..100 {
            assert!(backoff.failed(&retry, None) <= retry.longest);
        }
        backoff.succeeded();
        assert!(backoff.failed(&retry, None) <= retry.first);
    }

    #[test]
    fn the_server_may_ask_for_a_time_but_not_for_any() {
        let mut backoff = Backoff::default();
        let retry = Retry::default();
        let ask = |backoff: &mut Backoff, seconds| {
            backoff.failed(&retry, Some(Duration::from_secs(seconds)))
        };
        assert_eq!(ask(&mut backoff, 7), Duration::from_secs(7));
        assert_eq!(ask(&mut backoff, 86_400), Duration::from_secs(30));
        // Or a date in the past.
        for _ in 0..5 {
            assert!(ask(&mut backoff, 0) >= retry.first / 2);
        }
        assert_eq!(ask(&mut backoff, u64::MAX), retry.longest);
    }
}
