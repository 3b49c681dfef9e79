//! The ledger's numbers at one moment, as `nodespan status` carries them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::LatencySnapshot;

/// Numbers by reason.
type ByName = BTreeMap<String, u64>;

/// All numbers of a [`super::Ledger`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// See [`super::Records`].
    pub records: RecordsSnapshot,
    /// See [`super::Exchanges`].
    pub exchanges: ExchangesSnapshot,
    /// See [`super::Event`].
    pub events: ByName,
    /// Each backend in the order they were opened.
    pub backends: Vec<BackendSnapshot>,
    /// Connections that are seen but not traced, by workload and protocol.
    pub opaque: BTreeMap<String, ByName>,
}

/// See [`super::Records`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented at the fields' originals")]
pub struct RecordsSnapshot {
    pub seen: u64,
    pub read: u64,
    pub lost: ByName,
    pub missed: ByName,
}

/// See [`super::Exchanges`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented at the fields' originals")]
pub struct ExchangesSnapshot {
    pub observed: u64,
    pub not_selected: ByName,
    pub not_sampled: ByName,
    pub dropped: ByName,
    pub spans: u64,
    pub copies: u64,
}

/// See [`super::BackendLedger`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[expect(missing_docs, reason = "documented at the fields' originals")]
pub struct BackendSnapshot {
    pub name: String,
    pub pushed: u64,
    pub sent: u64,
    pub dropped: ByName,
    pub queued: u64,
    pub batches: u64,
    pub failures: u64,
    pub retries: u64,
    pub splits: u64,
    pub repeated: u64,
    pub queued_bytes: u64,
    pub latency: LatencySnapshot,
    pub last_error: Option<ErrorSnapshot>,
}

/// What went wrong last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorSnapshot {
    /// In words.
    pub text: String,
    /// Seconds since 1970.
    pub unix_seconds: u64,
}

impl ErrorSnapshot {
    pub(super) fn new(text: &str, at: SystemTime) -> Self {
        Self {
            text: text.to_owned(),
            unix_seconds: at
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_secs()),
        }
    }
}

/// An account that does not add up.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(missing_docs, reason = "the messages say what the numbers are")]
pub enum Imbalance {
    #[error(
        "{observed} exchanges observed, but {} accounted for: spans {spans}, not selected {not_selected}, not sampled {not_sampled}, dropped {dropped}",
        spans + not_selected + not_sampled + dropped
    )]
    Exchanges {
        observed: u64,
        spans: u64,
        not_selected: u64,
        not_sampled: u64,
        dropped: u64,
    },
    #[error("{spans} spans and {copies} copies made, but {pushed} handed to backends")]
    Spans {
        spans: u64,
        copies: u64,
        pushed: u64,
    },
    #[error("backend {name}: {pushed} spans handed over, but {sent} sent and {dropped} dropped")]
    Backend {
        name: String,
        pushed: u64,
        sent: u64,
        dropped: u64,
    },
    #[error("{seen} records seen by the probes, but {read} read and {lost} lost")]
    Records { seen: u64, read: u64, lost: u64 },
}

impl Snapshot {
    /// Checks that nothing is unaccounted for. Holds after a drain.
    ///
    /// # Errors
    ///
    /// Which account does not add up, with its numbers.
    pub fn balance(&self) -> Result<(), Imbalance> {
        let exchanges = &self.exchanges;
        let (not_selected, not_sampled, dropped) = (
            total(&exchanges.not_selected),
            total(&exchanges.not_sampled),
            total(&exchanges.dropped),
        );
        let ExchangesSnapshot {
            observed,
            spans,
            copies,
            ..
        } = *exchanges;
        if observed != spans + not_selected + not_sampled + dropped {
            return Err(Imbalance::Exchanges {
                observed,
                spans,
                not_selected,
                not_sampled,
                dropped,
            });
        }
        let pushed = self.backends.iter().map(|backend| backend.pushed).sum();
        if spans + copies != pushed {
            return Err(Imbalance::Spans {
                spans,
                copies,
                pushed,
            });
        }
        for backend in &self.backends {
            let dropped = total(&backend.dropped);
            if backend.pushed != backend.sent + dropped {
                return Err(Imbalance::Backend {
                    name: backend.name.clone(),
                    pushed: backend.pushed,
                    sent: backend.sent,
                    dropped,
                });
            }
        }
        let (seen, read, lost) = (
            self.records.seen,
            self.records.read,
            total(&self.records.lost),
        );
        if seen != read + lost {
            return Err(Imbalance::Records { seen, read, lost });
        }
        Ok(())
    }

    /// The line that goes to the log each minute.
    #[must_use]
    pub fn summary(&self) -> String {
        let exchanges = &self.exchanges;
        let mut line = format!(
            "{} exchanges = {} spans + {} + {} + {}",
            exchanges.observed,
            exchanges.spans,
            with_reasons("not selected", &exchanges.not_selected),
            with_reasons("not sampled", &exchanges.not_sampled),
            with_reasons("dropped", &exchanges.dropped),
        );
        for backend in &self.backends {
            let _ = write!(
                line,
                "; {}: {} sent, {} queued, {}",
                backend.name,
                backend.sent,
                backend.queued,
                with_reasons("dropped", &backend.dropped),
            );
        }
        let _ = write!(
            line,
            "; records: {} read, {}",
            self.records.read,
            with_reasons("lost", &self.records.lost)
        );
        line
    }
}

/// `3 dropped (overload 3)`, with the reasons that occurred.
pub(crate) fn with_reasons(what: &str, reasons: &ByName) -> String {
    let mut text = format!("{} {what}", total(reasons));
    let occurred: Vec<_> = reasons.iter().filter(|(_, n)| **n > 0).collect();
    for (place, (reason, n)) in occurred.iter().enumerate() {
        let before = if place == 0 { " (" } else { ", " };
        let _ = write!(text, "{before}{reason} {n}");
    }
    if !occurred.is_empty() {
        text.push(')');
    }
    text
}

/// The sum over all reasons.
#[must_use]
pub(crate) fn total(reasons: &ByName) -> u64 {
    reasons.values().sum()
}
