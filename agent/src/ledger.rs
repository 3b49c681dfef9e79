//! The ledger: every record and every exchange is accounted for.
//!
//! After a drain, `exchanges observed = spans exported (per backend) + not
//! selected (reason) + not sampled (reason) + dropped (reason)`, and `records
//! seen by the probes = records read + lost (reason)` (ARCHITECTURE.md,
//! invariants). All stages share one [`Ledger`]; the admin room and the tests
//! read it through a [`Snapshot`].
//!
//! Each number is exact, but a snapshot taken while work goes on is not of one
//! instant: something may be on its way between two accounts. Nothing is
//! accounted for that has not come.

mod counter;
mod latency;
mod reasons;
mod snapshot;

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::SystemTime;

pub use counter::{Counter, Counts, Tally};
pub use latency::{BOUNDS_MS, Latency, LatencySnapshot};
pub use reasons::{Dropped, Event, Lost, Missed, NotSampled, NotSelected, Reason, Undelivered};
pub use snapshot::{
    BackendSnapshot, ErrorSnapshot, ExchangesSnapshot, Imbalance, RecordsSnapshot, Snapshot,
};

pub(crate) use snapshot::total;

use crate::assemble::Opaque;

/// Workloads whose opaque connections are counted by name; those of any others
/// are counted together under [`OTHER_WORKLOADS`].
const MAX_OPAQUE_WORKLOADS: usize = 256;
/// Name under which the connections of the rest are counted.
pub const OTHER_WORKLOADS: &str = "(other)";
/// Backends that have an account of their own, closed ones included: names
/// come from resources, and each is a label in the metrics.
const MAX_BACKENDS: usize = 64;
/// Name of the account of all others.
pub const OTHER_BACKENDS: &str = "(other)";

/// The accounts of one run of the agent.
#[derive(Debug, Default)]
pub struct Ledger {
    /// What came out of the kernel.
    pub records: Records,
    /// What became of the exchanges.
    pub exchanges: Exchanges,
    /// Things worth counting that balance nothing.
    pub events: Counts<Event>,
    backends: RwLock<Vec<Arc<BackendLedger>>>,
    opaque: Mutex<BTreeMap<Arc<str>, [u64; 4]>>,
}

/// Records from the kernel, or packets of a capture.
#[derive(Debug, Default)]
pub struct Records {
    /// Records the probes wanted to hand over (a kernel counter: `set`).
    pub seen: Counter,
    /// Records that user space decoded.
    pub read: Counter,
    /// Records that were made but not read.
    pub lost: Counts<Lost>,
    /// What never became a record; beside the balance.
    pub missed: Counts<Missed>,
}

/// Finished exchanges and where they went.
#[derive(Debug, Default)]
pub struct Exchanges {
    /// Exchanges that the assembler finished.
    pub observed: Counter,
    /// Left out because nobody wants them.
    pub not_selected: Counts<NotSelected>,
    /// Left out by sampling.
    pub not_sampled: Counts<NotSampled>,
    /// Lost before they became a span.
    pub dropped: Counts<Dropped>,
    /// Became a span that was handed to a backend.
    pub spans: Counter,
    /// Further backends the same span was handed to, beyond the first.
    pub copies: Counter,
}

/// The account of one backend.
#[derive(Debug, Default)]
pub struct BackendLedger {
    name: Arc<str>,
    /// Spans handed to it.
    pub pushed: Counter,
    /// Spans its server has accepted; of datagrams, which nobody
    /// acknowledges: spans that the kernel has taken.
    pub sent: Counter,
    /// Spans it did not get.
    pub dropped: Counts<Undelivered>,
    /// Batches its server has accepted, halves of refused ones included.
    pub batches: Counter,
    /// Attempts that failed: no answer, or another than success.
    pub failures: Counter,
    /// Attempts after the first.
    pub retries: Counter,
    /// Refused batches that were cut in two.
    pub splits: Counter,
    /// Spans in attempts whose answer was lost: the server may have them twice.
    pub repeated: Counter,
    /// Encoded bytes that wait, those on their way included.
    pub queued_bytes: Counter,
    /// From sending a request to its answer's head; requests without an answer
    /// do not count.
    pub latency: Latency,
    last_error: Mutex<Option<(String, SystemTime)>>,
}

impl Ledger {
    /// Empty accounts.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// The account of this backend, opened if it is new. There are 64 at most;
    /// further backends share one more.
    pub fn backend(&self, name: &str) -> Arc<BackendLedger> {
        let mut all = self
            .backends
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        let of = |name: &str| all.iter().find(|backend| &*backend.name == name);
        let full = all.len() >= MAX_BACKENDS;
        if let Some(known) = of(name).or_else(|| of(OTHER_BACKENDS).filter(|_| full)) {
            return Arc::clone(known);
        }
        let name = if full { OTHER_BACKENDS } else { name };
        let opened = Arc::new(BackendLedger {
            name: name.into(),
            ..BackendLedger::default()
        });
        all.push(Arc::clone(&opened));
        opened
    }

    /// Counts a connection of a workload that is seen but not traced.
    pub fn opaque(&self, workload: &str, protocol: Opaque) {
        let mut all = lock(&self.opaque);
        let full = all.len() >= MAX_OPAQUE_WORKLOADS;
        let key = if full && !all.contains_key(workload) {
            OTHER_WORKLOADS
        } else {
            workload
        };
        if let Some(counts) = all.get_mut(key) {
            counts[protocol as usize] += 1;
        } else {
            let mut counts = [0; 4];
            counts[protocol as usize] = 1;
            all.insert(key.into(), counts);
        }
    }

    /// All numbers as they are now. While threads count, something may be on
    /// its way between two accounts, but nothing is accounted for that has not
    /// come: what became of things is read before how many there were.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        let backends = self.backends.read().unwrap_or_else(PoisonError::into_inner);
        let opaque = lock(&self.opaque);
        let opened: Vec<_> = backends.iter().map(|backend| backend.snapshot()).collect();
        let mut exchanges = ExchangesSnapshot {
            observed: 0,
            not_selected: self.exchanges.not_selected.by_name(),
            not_sampled: self.exchanges.not_sampled.by_name(),
            dropped: self.exchanges.dropped.by_name(),
            spans: self.exchanges.spans.get(),
            copies: self.exchanges.copies.get(),
        };
        exchanges.observed = self.exchanges.observed.get();
        let mut records = RecordsSnapshot {
            seen: 0,
            read: self.records.read.get(),
            lost: self.records.lost.by_name(),
            missed: self.records.missed.by_name(),
        };
        records.seen = self.records.seen.get();
        Snapshot {
            records,
            exchanges,
            events: self.events.by_name(),
            backends: opened,
            opaque: opaque
                .iter()
                .map(|(workload, counts)| {
                    let kinds = ["tls", "http2", "upgraded", "other"].map(str::to_owned);
                    (
                        workload.to_string(),
                        kinds.into_iter().zip(*counts).collect(),
                    )
                })
                .collect(),
        }
    }

    /// Checks that nothing is unaccounted for. Holds after a drain.
    ///
    /// # Errors
    ///
    /// Which account does not add up, with its numbers.
    pub fn balance(&self) -> Result<(), Imbalance> {
        self.snapshot().balance()
    }
}

impl BackendLedger {
    /// The backend's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Spans that were handed over and are neither sent nor dropped yet.
    #[must_use]
    pub fn queued(&self) -> u64 {
        let settled = self.sent.get() + self.dropped.total();
        self.pushed.get().saturating_sub(settled)
    }

    /// Remembers what went wrong last, for `nodespan status`.
    pub fn note_error(&self, error: &impl Display) {
        *lock(&self.last_error) = Some((error.to_string(), SystemTime::now()));
    }

    /// What went wrong last, and when.
    #[must_use]
    pub fn last_error(&self) -> Option<ErrorSnapshot> {
        lock(&self.last_error)
            .as_ref()
            .map(|(text, at)| ErrorSnapshot::new(text, *at))
    }

    fn snapshot(&self) -> BackendSnapshot {
        let (sent, dropped) = (self.sent.get(), self.dropped.by_name());
        let pushed = self.pushed.get();
        let settled = sent + total(&dropped);
        BackendSnapshot {
            name: self.name.to_string(),
            pushed,
            sent,
            dropped,
            queued: pushed.saturating_sub(settled),
            batches: self.batches.get(),
            failures: self.failures.get(),
            retries: self.retries.get(),
            splits: self.splits.get(),
            repeated: self.repeated.get(),
            queued_bytes: self.queued_bytes.get(),
            latency: self.latency.snapshot(),
            last_error: self.last_error(),
        }
    }
}

/// The numbers stay readable whatever happened to another thread.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_with_every_outcome_balances() {
        let ledger = Ledger::new();
        ledger.balance().unwrap();
        ledger.exchanges.observed.add(10);
        ledger.exchanges.not_selected.add(NotSelected::NoPolicy, 2);
        ledger.exchanges.not_sampled.add(NotSampled::Denied, 1);
        ledger.exchanges.dropped.add(Dropped::Overload, 3);
        ledger.exchanges.spans.add(4);
        ledger.exchanges.copies.add(1);
        let zipkin = ledger.backend("zipkin");
        zipkin.pushed.add(4);
        zipkin.sent.add(3);
        zipkin.dropped.add(Undelivered::GaveUp, 1);
        let console = ledger.backend("console");
        console.pushed.add(1);
        console.sent.add(1);
        ledger.records.seen.set(100);
        ledger.records.read.add(98);
        ledger.records.lost.add(Lost::RingFull, 2);
        ledger.balance().unwrap();
        assert!(Arc::ptr_eq(&zipkin, &ledger.backend("zipkin")));
    }

    #[test]
    fn each_account_that_does_not_add_up_is_named() {
        let ledger = Ledger::new();
        ledger.exchanges.observed.add(2);
        ledger.exchanges.spans.add(1);
        let error = ledger.balance().unwrap_err().to_string();
        assert_eq!(
            error,
            "2 exchanges observed, but 1 accounted for: spans 1, not selected 0, not sampled 0, dropped 0"
        );
        ledger.exchanges.dropped.add(Dropped::Overload, 1);
        assert!(matches!(ledger.balance(), Err(Imbalance::Spans { .. })));
        let backend = ledger.backend("b");
        backend.pushed.add(1);
        assert!(matches!(ledger.balance(), Err(Imbalance::Backend { .. })));
        backend.sent.add(1);
        ledger.balance().unwrap();
        ledger.records.seen.set(1);
        assert!(matches!(ledger.balance(), Err(Imbalance::Records { .. })));
    }

    #[test]
    fn nothing_is_accounted_for_that_has_not_come() {
        let ledger = Ledger::new();
        let zipkin = ledger.backend("zipkin");
        let stop = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                    ledger.records.seen.add(2);
                    ledger.records.read.add(1);
                    ledger.records.lost.add(Lost::RingFull, 1);
                    ledger.exchanges.observed.add(4);
                    ledger.exchanges.not_selected.add(NotSelected::NoPolicy, 1);
                    ledger.exchanges.not_sampled.add(NotSampled::Denied, 1);
                    ledger.exchanges.dropped.add(Dropped::Overload, 1);
                    ledger.exchanges.spans.add(1);
                    zipkin.pushed.add(2);
                    zipkin.sent.add(1);
                    zipkin.dropped.add(Undelivered::GaveUp, 1);
                }
            });
            for _ in 0..20_000 {
                let Snapshot {
                    records,
                    exchanges,
                    backends,
                    ..
                } = ledger.snapshot();
                let kept = total;
                assert!(
                    records.read + kept(&records.lost) <= records.seen,
                    "{records:?}"
                );
                let became = exchanges.spans
                    + kept(&exchanges.not_selected)
                    + kept(&exchanges.not_sampled)
                    + kept(&exchanges.dropped);
                assert!(became <= exchanges.observed, "{exchanges:?}");
                let [zipkin] = backends.as_slice() else {
                    panic!("{backends:?}")
                };
                assert_eq!(
                    zipkin.sent + kept(&zipkin.dropped) + zipkin.queued,
                    zipkin.pushed,
                    "{zipkin:?}"
                );
            }
            stop.store(true, std::sync::atomic::Ordering::Relaxed);
        });
    }

    #[test]
    fn names_of_opaque_workloads_are_bounded() {
        let ledger = Ledger::new();
        for n in 0..1000 {
            ledger.opaque(&format!("w{n}"), Opaque::Tls);
            ledger.opaque("w0", Opaque::Http2);
        }
        let snapshot = ledger.snapshot();
        assert_eq!(snapshot.opaque.len(), MAX_OPAQUE_WORKLOADS + 1);
        assert_eq!(snapshot.opaque["w0"]["http2"], 1000);
        let total: u64 = snapshot.opaque.values().map(|kinds| kinds["tls"]).sum();
        assert_eq!(total, 1000);
    }

    #[test]
    fn accounts_of_backends_are_bounded_and_lose_nothing() {
        let ledger = Ledger::new();
        for n in 0..1000 {
            let backend = ledger.backend(&format!("b{n}"));
            backend.pushed.add(1);
            backend.sent.add(1);
            ledger.backend("b0").batches.add(1);
        }
        ledger.exchanges.observed.add(1000);
        ledger.exchanges.spans.add(1000);
        ledger.balance().unwrap();
        let backends = ledger.snapshot().backends;
        assert_eq!(backends.len(), MAX_BACKENDS + 1);
        assert_eq!(backends[0].batches, 1000);
        assert_eq!(backends[MAX_BACKENDS].name, OTHER_BACKENDS);
        assert_eq!(backends[MAX_BACKENDS].sent, 1000 - MAX_BACKENDS as u64);
    }

    #[test]
    fn a_snapshot_survives_json() {
        let ledger = Ledger::new();
        ledger.backend("zipkin").note_error(&"connection refused");
        let snapshot = ledger.snapshot();
        let json = serde_json::to_string(&snapshot).unwrap();
        let back: Snapshot = serde_json::from_str(&json).unwrap();
        assert_eq!(back, snapshot);
    }

    #[test]
    fn the_summary_is_one_line() {
        let ledger = Ledger::new();
        ledger.exchanges.observed.add(5);
        ledger.exchanges.spans.add(3);
        ledger
            .exchanges
            .not_selected
            .add(NotSelected::ExcludedPath, 2);
        let zipkin = ledger.backend("zipkin");
        zipkin.pushed.add(3);
        zipkin.sent.add(1);
        zipkin.dropped.add(Undelivered::QueueFull, 1);
        ledger.records.read.add(20);
        assert_eq!(
            ledger.snapshot().summary(),
            "5 exchanges = 3 spans + 2 not selected (excluded_path 2) + 0 not sampled + 0 dropped; \
             zipkin: 1 sent, 1 queued, 1 dropped (queue_full 1); records: 20 read, 0 lost"
        );
    }
}
