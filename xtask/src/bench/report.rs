//! The table, the limits, and the JSON.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;

use super::figures::{AgentFigures, Body, Figures, Load};
use crate::kernel::Kernel;

/// Instructions that a traced request may cost.
const TRACED: f64 = 17_500.0;
/// And shall, in the end.
const AIM: f64 = 4_500.0;
/// Of an unwatched workload to the four empty programs, and of a socket that
/// speaks no HTTP to an unwatched one.
const RATIO: f64 = 1.25;
/// Percent by which the two loads without anything may differ.
const REPEATS: f64 = 0.5;
/// MiB resident.
const MEMORY: f64 = 40.0;
/// Percent of bodies over 1 MiB that may cross the ring.
const SHARE: f64 = 1.0;
/// Instructions that a replayed exchange may cost.
const REPLAYED: f64 = 2_500.0;

/// Everything that was measured and what is to be thought of it.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    kernel: &'static str,
    release: String,
    agent: String,
    quick: bool,
    fine: bool,
    checks: Vec<Check>,
    rows: Vec<Row>,
    instructions: Figures,
    latencies: Option<Figures>,
}

/// A figure and its limit.
#[derive(Debug, Serialize)]
struct Check {
    what: &'static str,
    /// None if it was not measured.
    figure: Option<f64>,
    limit: f64,
    unit: &'static str,
    fine: bool,
    note: String,
}

/// A line of the table of loads.
#[derive(Debug, Serialize)]
struct Row {
    what: &'static str,
    rate: f64,
    /// Percent of the requests that nothing answers.
    kept: f64,
    per_request: f64,
    extra: f64,
}

impl Report {
    /// Draws the conclusions.
    ///
    /// # Errors
    /// If there is nothing to compare with.
    pub(super) fn new(
        kernel: Kernel,
        quick: bool,
        instructions: Figures,
        latencies: Option<Figures>,
    ) -> Result<Self> {
        let base = mean(&instructions.nothing)
            .context("the load without anything could not be measured")?;
        let rows = rows(&instructions, base);
        let mut checks = checks(&instructions, base);
        for (name, figures) in [
            ("instructions", Some(&instructions)),
            ("latencies", latencies.as_ref()),
        ] {
            for (what, why) in figures.iter().flat_map(|figures| &figures.failures) {
                checks.push(Check {
                    what: "could be measured",
                    figure: None,
                    limit: 0.0,
                    unit: "",
                    fine: false,
                    note: format!("{name}, {what}: {why}"),
                });
            }
        }
        Ok(Self {
            kernel: kernel.name(),
            release: instructions.kernel.clone(),
            agent: instructions
                .agent
                .as_ref()
                .map(|agent| agent.version.clone())
                .unwrap_or_default(),
            quick,
            fine: checks.iter().all(|check| check.fine),
            checks,
            rows,
            instructions,
            latencies,
        })
    }

    /// Whether every limit is kept.
    pub(super) fn is_fine(&self) -> bool {
        self.fine
    }

    /// For machines.
    ///
    /// # Errors
    /// If a figure is no number.
    pub(super) fn json(&self) -> Result<Vec<u8>> {
        Ok(serde_json::to_vec_pretty(self)?)
    }
}

/// Instructions a request without anything.
fn mean(loads: &[Load]) -> Option<f64> {
    let count = u32::try_from(loads.len()).ok().filter(|n| *n > 0)?;
    Some(loads.iter().map(Load::per_request).sum::<f64>() / f64::from(count))
}

fn rows(figures: &Figures, base: f64) -> Vec<Row> {
    let names = ["nothing, before", "nothing, after"];
    let loads = names
        .into_iter()
        .zip(figures.nothing.iter().map(Some))
        .chain([
            ("four empty programs", figures.floor.as_ref()),
            ("agent, nginx not watched", figures.unwatched.as_ref()),
            ("agent, every request traced", figures.traced.as_ref()),
            ("Envoy, every request traced", figures.envoy.as_ref()),
        ]);
    loads
        .filter_map(|(what, load)| {
            let load = load?;
            Some(Row {
                what,
                rate: load.rate,
                kept: 100.0 * base / load.per_request(),
                per_request: load.per_request(),
                extra: load.per_request() - base,
            })
        })
        .collect()
}

fn checks(figures: &Figures, base: f64) -> Vec<Check> {
    let extra = |load: &Option<Load>| load.as_ref().map(|load| load.per_request() - base);
    let at_most = |what, figure: Option<f64>, limit, unit, note| Check {
        what,
        figure,
        limit,
        unit,
        fine: figure.is_some_and(|figure| figure <= limit),
        note,
    };
    let mut checks = Vec::new();

    let differ = match figures.nothing.as_slice() {
        [before, after] => Some(100.0 * (before.per_request() - after.per_request()).abs() / base),
        _ => None,
    };
    checks.push(at_most(
        "both loads without anything agree",
        differ,
        REPEATS,
        "%",
        String::new(),
    ));

    let (floor, unwatched) = (extra(&figures.floor), extra(&figures.unwatched));
    let note = match (unwatched, floor) {
        (Some(unwatched), Some(floor)) => format!("{unwatched:.0} to {floor:.0} instructions"),
        _ => String::new(),
    };
    let ratio = unwatched
        .zip(floor)
        .map(|(unwatched, floor)| unwatched / floor);
    checks.push(at_most(
        "unwatched, to four empty programs",
        ratio,
        RATIO,
        "times",
        note,
    ));

    let with_sink = extra(&figures.traced);
    let sink = figures.traced.as_ref().map(|load| load.of_party("sink"));
    let traced = with_sink.zip(sink).map(|(extra, sink)| extra - sink);
    let note = match (with_sink, sink) {
        (Some(extra), Some(sink)) => {
            format!("{extra:.0} with the sink's own {sink:.0}; the aim is {AIM:.0}")
        }
        _ => String::new(),
    };
    checks.push(at_most(
        "extra instructions of a traced request",
        traced,
        TRACED,
        "",
        note,
    ));

    let agent = figures.agent.as_ref();
    let missing = agent.map(|agent| float(missing(agent)));
    let note = agent.map(account).unwrap_or_default();
    checks.push(at_most("lost at that load", missing, 0.0, "", note));
    let note = agent.map(|agent| format!("{:.1} MiB at most", mib(agent.peak_kib)));
    let resident = agent.map(|agent| mib(agent.rss_kib));
    checks.push(at_most(
        "resident",
        resident,
        MEMORY,
        "MiB",
        note.unwrap_or_default(),
    ));

    let foreign = figures.foreign.as_ref();
    let ratio = foreign.map(|foreign| foreign.watched / foreign.unwatched);
    let note = foreign.map(|foreign| {
        format!(
            "{:.0} to {:.0} instructions a turn of 4 calls; {:.0} without the agent",
            foreign.watched, foreign.unwatched, foreign.nothing
        )
    });
    checks.push(at_most(
        "no HTTP, to unwatched",
        ratio,
        RATIO,
        "times",
        note.unwrap_or_default(),
    ));

    let share = figures
        .bodies
        .iter()
        .filter(|body| body.size > 1 << 20)
        .map(|body| 100.0 * body.share())
        .reduce(f64::max);
    checks.push(at_most(
        "bodies over 1 MiB in the ring",
        share,
        SHARE,
        "%",
        String::new(),
    ));

    let replayed = figures.replay.as_ref();
    let each = replayed.map(super::figures::Replay::per_exchange);
    let note = replayed.map(|replay| format!("{} exchanges", replay.exchanges));
    checks.push(at_most(
        "instructions of a replayed exchange",
        each,
        REPLAYED,
        "",
        note.unwrap_or_default(),
    ));
    checks
}

/// Spans that did not arrive, arrived too often, or whatever the ledger calls
/// lost.
fn missing(agent: &AgentFigures) -> u64 {
    agent.served.abs_diff(agent.arrived) + agent.lost.values().sum::<u64>()
}

fn account(agent: &AgentFigures) -> String {
    let mut text = format!(
        "{} requests, {} spans in {} batches of {:.0} bytes a span",
        agent.served,
        agent.arrived,
        agent.posts,
        float(agent.bytes) / float(agent.arrived.max(1))
    );
    for (reason, count) in &agent.lost {
        text.push_str(&format!("; {reason} {count}"));
    }
    text
}

fn mib(kib: u64) -> f64 {
    float(kib) / 1024.0
}

#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
fn float(count: u64) -> f64 {
    count as f64
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quick = if self.quick { ", quick" } else { "" };
        writeln!(
            f,
            "\nkernel {}{quick}: nginx, 6 bytes, keep-alive, B3 headers",
            self.release
        )?;
        writeln!(
            f,
            "{:<30} {:>14} {:>8} {:>16} {:>10}",
            "", "requests/10^9", "kept", "instructions", "extra"
        )?;
        for row in &self.rows {
            writeln!(
                f,
                "{:<30} {:>14.0} {:>6.1} % {:>16.0} {:>10.0}",
                row.what, row.rate, row.kept, row.per_request, row.extra
            )?;
        }
        self.parties(f)?;
        self.bodies(f)?;
        self.latencies(f)?;
        writeln!(f, "\n{:<40} {:>10} {:>14}", "", "measured", "limit")?;
        for check in &self.checks {
            let verdict = if check.fine { "ok" } else { "NOT OK" };
            let figure = match check.figure {
                Some(figure) => format!("{figure:.*}", digits(check.limit)),
                None => "-".to_owned(),
            };
            writeln!(
                f,
                "{:<40} {figure:>10} {:>8.*} {:<5} {verdict:<6} {}",
                check.what,
                digits(check.limit),
                check.limit,
                check.unit,
                check.note
            )?;
        }
        Ok(())
    }
}

impl Report {
    /// Where a traced request's instructions go.
    fn parties(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let figures = &self.instructions;
        let loads = [
            ("nothing", figures.nothing.first()),
            ("not watched", figures.unwatched.as_ref()),
            ("traced", figures.traced.as_ref()),
        ];
        writeln!(f, "\nprocessor time of a request, by party")?;
        for (name, load) in loads {
            let Some(load) = load else { continue };
            write!(f, "{name:<30}")?;
            for party in load.parties.keys() {
                write!(f, " {party} {:.0} ", load.of_party(party))?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn bodies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instructions.bodies.is_empty() {
            return Ok(());
        }
        writeln!(f, "\nbody bytes that crossed the ring")?;
        for body in &self.instructions.bodies {
            writeln!(
                f,
                "{:<30} {:>8} KiB {:>8.3} %",
                format!("{}, {}", body.server, body.way),
                body.size >> 10,
                100.0 * Body::share(body)
            )?;
        }
        Ok(())
    }

    fn latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(figures) = &self.latencies else {
            return Ok(());
        };
        writeln!(
            f,
            "\n{:<30} {:>12} {:>10} {:>10} {:>10} {:>10}",
            "emulated, 2 processors", "requests/s", "p50 ms", "p75 ms", "p90 ms", "p99 ms"
        )?;
        let loads = [
            ("nothing, before", figures.nothing.first()),
            ("nothing, after", figures.nothing.get(1)),
            ("agent, every request traced", figures.traced.as_ref()),
            ("Envoy, every request traced", figures.envoy.as_ref()),
        ];
        for (what, load) in loads {
            let Some((load, latency)) = load.and_then(|load| Some((load, load.latency?))) else {
                continue;
            };
            let [p50, p75, p90, p99] =
                [latency.p50, latency.p75, latency.p90, latency.p99].map(|micros| micros / 1e3);
            writeln!(
                f,
                "{what:<30} {:>12.0} {p50:>10.2} {p75:>10.2} {p90:>10.2} {p99:>10.2}",
                load.rate
            )?;
        }
        Ok(())
    }
}

/// Small limits are compared in their fractions.
fn digits(limit: f64) -> usize {
    if limit.abs() < 10.0 && limit > 0.0 {
        2
    } else {
        0
    }
}
