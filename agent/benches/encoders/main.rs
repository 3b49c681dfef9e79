//! Spans a second and core, from [`Span`] to the bytes of a batch, for every
//! encoding, beside the crates that others use.
//!
//! `cargo bench --bench encoders [-- --json] [-- --quick]`. All encode the same
//! spans, in batches of a thousand, in turns in one thread; what counts is the
//! thread's processor time, and of each the fastest round. The rivals get their
//! spans ready made, in their own types, which is not counted; ours start from
//! what the agent has.
//!
//! A figure alone says as much about the machine as about the code; the ratios
//! are what `cargo xtask bench` has limits for.

mod rivals;
#[path = "../../tests/spans/mod.rs"]
mod spans;

use std::hint::black_box;
use std::io::Write as _;
use std::time::Duration;

use nodespan::export::protocol::Limits;
use nodespan::export::{Encoder, Protocol, Span, Wording};
use rivals::Rival;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

type Error = Box<dyn std::error::Error>;

/// Spans of a batch.
const BATCH: usize = 1000;
/// Workloads that the spans are of.
const WORKLOADS: usize = 8;

/// Our encodings, each with the crate that is its rival.
const OURS: [(Protocol, &str, &str); 6] = [
    (Protocol::ZipkinJson, "zipkin-json", rivals::ZIPKIN),
    (Protocol::ZipkinProto, "zipkin-proto", rivals::ZIPKIN),
    (Protocol::ZipkinV1Json, "zipkin-v1-json", rivals::ZIPKIN),
    (Protocol::ZipkinV1Thrift, "zipkin-v1-thrift", rivals::ZIPKIN),
    (Protocol::Otlp, "otlp", rivals::OTLP),
    (Protocol::JaegerCompact, "jaeger-compact", rivals::OTLP),
];

/// Something that encodes the spans.
enum Entrant {
    Ours(Box<dyn Encoder>, Vec<u8>),
    Theirs(Box<Rival>),
}

struct Figure {
    name: &'static str,
    /// None of a rival.
    rival: Option<&'static str>,
    entrant: Entrant,
    best: Duration,
    bytes: usize,
}

impl Figure {
    fn nanos_per_span(&self) -> f64 {
        self.best.as_secs_f64() * 1e9 / BATCH as f64
    }

    fn spans_per_second(&self) -> f64 {
        BATCH as f64 / self.best.as_secs_f64()
    }
}

fn main() -> Result<(), Error> {
    let has = |wanted: &str| std::env::args().any(|argument| argument == wanted);
    let rounds = if has("--quick") { 20 } else { 200 };
    let spans = make_spans()?;
    let mut figures = entrants(&spans)?;
    for _ in 0..rounds {
        for figure in &mut figures {
            let spent = figure.entrant.round(&spans)?;
            figure.best = figure.best.min(spent);
        }
    }
    for figure in &mut figures {
        figure.bytes = figure.entrant.bytes();
    }
    let mut out = std::io::stdout().lock();
    if has("--json") {
        writeln!(out, "{}", json(&figures))?;
    } else {
        table(&mut out, &figures)?;
    }
    Ok(())
}

fn make_spans() -> Result<Vec<Span>, Error> {
    let workloads: Vec<_> = (0..WORKLOADS).map(spans::workload).collect();
    (0..BATCH)
        .map(|n| {
            let target = format!("/api/orders/{}?limit=20&token=secret", 4000 + n);
            let workload = workloads.get(n * 7 / 3 % WORKLOADS);
            workload
                .and_then(|workload| spans::span(n, &target, workload))
                .ok_or_else(|| format!("span {n} cannot be made").into())
        })
        .collect()
}

fn entrants(spans: &[Span]) -> Result<Vec<Figure>, Error> {
    let figure = |name, rival, entrant| Figure {
        name,
        rival,
        entrant,
        best: Duration::MAX,
        bytes: 0,
    };
    let mut figures = Vec::new();
    for (protocol, name, rival) in OURS {
        let encoder = protocol.encoder(Wording::default(), Limits::default());
        let entrant = Entrant::Ours(encoder, Vec::new());
        figures.push(figure(name, Some(rival), entrant));
    }
    for rival in [Rival::zipkin(spans)?, Rival::otlp(spans)?] {
        figures.push(figure(rival.name, None, Entrant::Theirs(Box::new(rival))));
    }
    Ok(figures)
}

impl Entrant {
    /// Encodes a batch and says what that took.
    fn round(&mut self, spans: &[Span]) -> Result<Duration, Error> {
        match self {
            Self::Ours(encoder, batch) => {
                batch.clear();
                let start = now();
                for span in black_box(spans) {
                    encoder.encode(span, batch)?;
                }
                encoder.finish(batch);
                let spent = now() - start;
                black_box(&*batch);
                Ok(spent)
            }
            Self::Theirs(rival) => rival.round(),
        }
    }

    /// Bytes of the last batch.
    fn bytes(&self) -> usize {
        match self {
            Self::Ours(_, batch) => batch.len(),
            Self::Theirs(rival) => rival.bytes(),
        }
    }
}

/// Processor time of this thread.
fn now() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        time.tv_sec.unsigned_abs(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

/// Time of ours to that of its rival.
fn ratio(figures: &[Figure], figure: &Figure) -> Option<f64> {
    let rival = figures
        .iter()
        .find(|other| figure.rival == Some(other.name))?;
    Some(figure.nanos_per_span() / rival.nanos_per_span())
}

fn json(figures: &[Figure]) -> serde_json::Value {
    figures
        .iter()
        .map(|figure| {
            json!({
                "name": figure.name,
                "rival": figure.rival,
                "ratio": ratio(figures, figure),
                "spans_per_second": figure.spans_per_second(),
                "nanos_per_span": figure.nanos_per_span(),
                "bytes_per_span": figure.bytes as f64 / BATCH as f64,
            })
        })
        .collect()
}

fn table(out: &mut impl std::io::Write, figures: &[Figure]) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<24} {:>14} {:>10} {:>12} {:>10}",
        "", "spans/s a core", "ns a span", "bytes a span", "to rival"
    )?;
    for figure in figures {
        write!(
            out,
            "{:<24} {:>14.0} {:>10.0} {:>12.0}",
            figure.name,
            figure.spans_per_second(),
            figure.nanos_per_span(),
            figure.bytes as f64 / BATCH as f64,
        )?;
        match ratio(figures, figure) {
            Some(ratio) => writeln!(out, " {ratio:>10.3}")?,
            None => writeln!(out)?,
        }
    }
    Ok(())
}
