//! The backend: reads spans, counts them, answers 202.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::{
    http,
    place::{Unit, wait_until},
};
use crate::daemon::Daemon;

pub(super) const PORT: u16 = 9411;

/// No span for this long: no more will come. Envoy keeps spans for 5 s.
const SILENCE: Duration = Duration::from_secs(6);

/// A running sink.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) unit: Unit,
    _daemon: Daemon,
}

/// What it has read so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) posts: u64,
    pub(super) bytes: u64,
    pub(super) spans: u64,
}

impl Sink {
    /// Starts it.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn start(program: &Path, out: &Path) -> Result<Self> {
        let unit = Unit::new("sink", out)?;
        let port = PORT.to_string();
        let daemon = unit.start(program, &["--port", &port, "--count"])?;
        let sink = Self {
            unit,
            _daemon: daemon,
        };
        wait_until("the sink", || Ok(sink.totals().is_ok()))?;
        Ok(sink)
    }

    /// What it has read so far.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) fn totals(&self) -> Result<Totals> {
        let text = http::get(PORT, "/")?;
        read(&text).with_context(|| format!("the sink says {text}"))
    }

    /// Waits until as many spans have arrived since `before`, or none arrives
    /// any more. Without an expectation, the latter.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) fn drained(&self, before: Totals, expected: Option<u64>) -> Result<Totals> {
        let mut last = self.totals()?;
        let mut silent = Instant::now();
        loop {
            if expected.is_some_and(|expected| last.spans - before.spans >= expected)
                || silent.elapsed() > SILENCE
            {
                return Ok(last);
            }
            thread::sleep(Duration::from_millis(100));
            let now = self.totals()?;
            if now != last {
                (last, silent) = (now, Instant::now());
            }
        }
    }
}

fn read(text: &str) -> Option<Totals> {
    let number = |name: &str| {
        text.split_whitespace()
            .find_map(|word| word.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
    };
    Some(Totals {
        posts: number("posts")?,
        bytes: number("bytes")?,
        spans: number("spans")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_read() {
        let totals = Totals {
            posts: 2,
            bytes: 24,
            spans: 3,
        };
        assert_eq!(read("posts=2 bytes=24 spans=3\n"), Some(totals));
        assert_eq!(read("posts=2\n"), None);
    }
}
