//! Where the time of a run goes, so that growth is seen before it is too much.

use std::time::{Duration, Instant};

/// Parts of a run, each from the end of the one before it.
#[derive(Debug)]
pub(super) struct Times {
    began: Instant,
    since: Instant,
    parts: Vec<(&'static str, Duration)>,
}

impl Times {
    /// From now on.
    pub(super) fn begin() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            since: now,
            parts: Vec::new(),
        }
    }

    /// A part has ended. Parts of one name are one.
    pub(super) fn end(&mut self, part: &'static str) {
        let now = Instant::now();
        let took = now.duration_since(self.since);
        self.since = now;
        match self.parts.iter_mut().find(|(name, _)| *name == part) {
            Some((_, before)) => *before += took,
            None => self.parts.push((part, took)),
        }
    }

    /// All of them in a line, in seconds.
    pub(super) fn line(&self) -> String {
        let parts = self.parts.iter();
        let parts: Vec<_> = parts
            .map(|(name, took)| format!("{name} {}", took.as_secs()))
            .collect();
        let all = self.began.elapsed().as_secs();
        format!("seconds: {}; {all} in all", parts.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_one_name_are_one() {
        let mut times = Times::begin();
        times.since -= Duration::from_secs(60);
        times.end("lint");
        times.end("suites");
        times.since -= Duration::from_secs(5);
        times.end("lint");
        assert_eq!(times.line(), "seconds: lint 65, suites 0; 0 in all");
    }
}
