//! Sampling strategies from a real Jaeger, which change while somebody asks.

use std::fs;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use nodespan::ledger::Ledger;
use nodespan::sample::{
    PollOptions, Sampler, SamplerConfig, SamplerTag, SamplerVerdict, SamplingUrl,
};
use nodespan::units::{MonoNanos, TraceId};
use serde_json::{Value, json};

use super::jaeger::Jaeger;
use crate::report::Verdict;
use crate::wait;

/// Traces of which a share is measured.
const TRACES: usize = 4000;

/// For a changed file to be read by Jaeger (once a second), asked for by us,
/// and applied.
const EFFECT: Duration = Duration::from_secs(60);

/// One service's sampler asks Jaeger, whose file of strategies changes: each
/// change takes effect, in order.
///
/// # Errors
/// With the first that does not.
pub fn follows_the_file(jaeger: &Jaeger) -> Result<Verdict> {
    let file = Strategies::of(jaeger)?;
    // Nobody else's file says anything about it, and it wants escaping.
    let service = format!("shop & stock/{}", std::process::id());
    let other = format!("other than {service}");
    let mut asks = Asks::start(jaeger)?;

    // Until the first answer the initial sampler decides: none.
    let first = asks.decide(&service, "GET a");
    ensure!(!first.sampled, "sampled before any answer: {first:?}");

    asks.until(&service, "the default strategy", |asks| {
        asks.taken(&service, "GET a", TRACES) == TRACES
    })?;
    for rate in [0.0, 0.25, 1.0] {
        file.write(&service, json!({"type": "probabilistic", "param": rate}))?;
        asks.until(&service, &format!("a share of {rate}"), |asks| {
            asks.tag(&service) == Some(SamplerTag::Probabilistic(rate))
                && (asks.share(&service, "GET a") - rate).abs() < 0.05
        })?;
    }
    file.write(&service, json!({"type": "ratelimiting", "param": 7}))?;
    asks.until(&service, "a limit of 7 a second", |asks| {
        asks.tag(&service) == Some(SamplerTag::RateLimiting(7.0))
    })?;
    // The balance is brought up to date when it is used up: that comes first.
    let first = asks.taken(&service, "GET a", 100);
    std::thread::sleep(Duration::from_secs(2));
    let began = Instant::now();
    let then = asks.taken(&service, "GET a", 100);
    // What came meanwhile, if somebody else had the processor.
    let more = (began.elapsed().as_secs_f64() * 7.0).ceil() as usize;
    ensure!(
        first <= 14 && (7..=7 + more).contains(&then),
        "{first} of 100 at once, and {then} two seconds later, not 7 and up to {more}"
    );

    let by_operation = json!({
        "type": "probabilistic", "param": 0.0,
        "operation_strategies": [{"operation": "GET a", "type": "probabilistic", "param": 1.0}],
    });
    file.write(&service, by_operation)?;
    asks.until(&service, "one operation", |asks| {
        asks.taken(&service, "GET a", TRACES) == TRACES
            && asks.taken(&service, "GET b", TRACES) < TRACES / 100
    })?;

    // Nobody else was meant by any of it.
    asks.until(&other, "another service", |asks| {
        asks.taken(&other, "GET a", TRACES) == TRACES
    })?;
    Ok(Verdict::Passed)
}

/// A sampler and the thread that asks on its behalf, which ends with it.
struct Asks {
    sampler: Sampler,
    started: Instant,
}

impl Asks {
    fn start(jaeger: &Jaeger) -> Result<Self> {
        let url = SamplingUrl::parse(&format!("{}/sampling", jaeger.url("sampling")?))?;
        let config = SamplerConfig::Remote { url, initial: 0.0 };
        let (sampler, poller) = config.build(&Ledger::new());
        let poller = poller.context("nobody asks")?.with(PollOptions {
            interval: Duration::from_millis(100),
            timeout: Duration::from_secs(5),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::spawn(move || runtime.block_on(poller.run()));
        Ok(Self {
            sampler,
            started: Instant::now(),
        })
    }

    /// About a trace that nobody has seen.
    fn decide(&mut self, service: &str, operation: &str) -> SamplerVerdict {
        static LAST: AtomicU64 = AtomicU64::new(1);
        // An odd factor leaves no two alike, and spreads them evenly.
        let n = LAST.fetch_add(1, Ordering::Relaxed);
        let low = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let trace = TraceId::from_halves(n, NonZeroU64::new(low).unwrap_or(NonZeroU64::MIN));
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let write = |name: &mut Vec<u8>| name.extend_from_slice(operation.as_bytes());
        self.sampler.decide(service, write, trace, MonoNanos(now))
    }

    fn taken(&mut self, service: &str, operation: &str, of: usize) -> usize {
        (0..of)
            .filter(|_| self.decide(service, operation).sampled)
            .count()
    }

    #[expect(clippy::cast_precision_loss, reason = "some thousands at most")]
    fn share(&mut self, service: &str, operation: &str) -> f64 {
        self.taken(service, operation, TRACES) as f64 / TRACES as f64
    }

    fn tag(&mut self, service: &str) -> Option<SamplerTag> {
        self.decide(service, "GET a").tag
    }

    fn until(&mut self, service: &str, what: &str, is: impl Fn(&mut Self) -> bool) -> Result<()> {
        wait::until_true(what, EFFECT, || Ok(is(self)))
            .with_context(|| format!("now {:?}", self.decide(service, "GET a")))
    }
}

/// Jaeger's file, which is as it was when this is dropped.
pub(super) struct Strategies {
    file: PathBuf,
    before: String,
}

impl Strategies {
    pub(super) fn of(jaeger: &Jaeger) -> Result<Self> {
        let file = jaeger.strategies()?;
        let before = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        Ok(Self { file, before })
    }

    /// Says this of a service, and of all others what was said before.
    pub(super) fn write(&self, service: &str, mut strategy: Value) -> Result<()> {
        let mut all: Value = serde_json::from_str(&self.before)?;
        strategy["service"] = service.into();
        all["service_strategies"] = json!([strategy]);
        write(&self.file, &all.to_string())
    }
}

impl Drop for Strategies {
    fn drop(&mut self) {
        // The servers end with the run; the next begins with a new file.
        let _ = write(&self.file, &self.before);
    }
}

/// As a whole: whoever reads it at the same time gets the old or the new one.
fn write(file: &Path, text: &str) -> Result<()> {
    let new = file.with_extension("new");
    fs::write(&new, text)?;
    fs::rename(&new, file).with_context(|| file.display().to_string())
}
