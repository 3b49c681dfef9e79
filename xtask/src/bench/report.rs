//! The table, the limits, and the JSON.

use std::fmt;

use anyhow::{Context, Result};
use serde::Serialize;

use super::{
    cluster::Cluster,
    encoders::Encoders,
    figures::{Body, Figures},
    limits::{self, Check, float},
    policy::Policy,
};
use crate::kernel::Kernel;

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
    encoders: Option<Encoders>,
    policy: Option<Policy>,
    cluster: Option<Cluster>,
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
        policy: Result<Policy>,
    ) -> Result<Self> {
        let base = limits::base(&instructions.nothing)
            .context("the load without anything could not be measured")?;
        let rows = rows(&instructions, base);
        let mut checks = limits::checks(&instructions, base);
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
        let (policy, unmeasured) = match policy {
            Ok(policy) => (Some(policy), None),
            Err(error) => (None, Some(format!("policies: {error:#}"))),
        };
        checks.extend(policy.iter().flat_map(Policy::checks));
        checks.extend(unmeasured.map(|note| Check {
            what: "could be measured",
            figure: None,
            limit: 0.0,
            unit: "",
            fine: false,
            note,
        }));
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
            encoders: None,
            policy,
            cluster: None,
        })
    }

    /// With what encoding costs.
    pub(super) fn with_encoders(mut self, encoders: Encoders) -> Self {
        self.checks.extend(encoders.checks());
        self.fine = self.checks.iter().all(|check| check.fine);
        self.encoders = Some(encoders);
        self
    }

    /// With what knowing a cluster costs, if that could be measured.
    pub(super) fn with_cluster(mut self, cluster: Result<Cluster>) -> Self {
        match cluster {
            Ok(cluster) => {
                self.checks.extend(cluster.checks());
                self.cluster = Some(cluster);
            }
            Err(error) => self.checks.push(Check {
                what: "could be measured",
                figure: None,
                limit: 0.0,
                unit: "",
                fine: false,
                note: format!("a cluster: {error:#}"),
            }),
        }
        self.fine = self.checks.iter().all(|check| check.fine);
        self
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
        self.programs(f)?;
        self.foreign(f)?;
        self.bodies(f)?;
        self.latencies(f)?;
        if let Some(encoders) = &self.encoders {
            write!(f, "{encoders}")?;
        }
        if let Some(policy) = &self.policy {
            write!(f, "{policy}")?;
        }
        if let Some(cluster) = &self.cluster {
            write!(f, "{cluster}")?;
        }
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
        if let Some(agent) = &figures.agent {
            write!(f, "{:<30}", "the agent's threads")?;
            for (name, spent) in &agent.threads {
                let each = float(*spent) / float(agent.served.max(1));
                write!(f, " {name} {each:.0} ")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }

    fn programs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.instructions.programs.is_empty() {
            return Ok(());
        }
        writeln!(
            f,
            "\n{:<30} {:>14} {:>16} {:>10}",
            "kernel programs, traced", "runs/request", "instructions", "a run"
        )?;
        for program in &self.instructions.programs {
            let (runs, spent) = (float(program.runs), float(program.spent));
            let requests = float(program.requests.max(1));
            writeln!(
                f,
                "{:<30} {:>14.2} {:>16.0} {:>10.0}",
                format!("{} ({})", program.name, program.function),
                runs / requests,
                spent / requests,
                spent / runs.max(1.0)
            )?;
        }
        Ok(())
    }

    fn foreign(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(foreign) = &self.instructions.foreign else {
            return Ok(());
        };
        writeln!(
            f,
            "\n{:<30} {:>14} {:>16}",
            "sockets without HTTP", "a call", "of it ours"
        )?;
        for (what, turn) in [
            ("nothing", foreign.nothing),
            ("not watched", foreign.unwatched),
            ("not watched, never HTTP", foreign.undecided),
            ("watched", foreign.watched),
        ] {
            let ours = turn - foreign.nothing;
            writeln!(f, "{what:<30} {:>14.0} {:>16.0}", turn / 4.0, ours / 4.0)?;
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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::figures::{AgentFigures, Foreign, Load, Replay};

    fn load(rate: f64, left_over: u64, sink: u64) -> Load {
        Load {
            served: 1000,
            answered: 1000,
            rate,
            left_over,
            parties: BTreeMap::from([("sink".to_owned(), sink)]),
            latency: None,
        }
    }

    /// 40,000 instructions a request, 1,000 for the empty programs, 1,200
    /// unwatched, 15,000 traced and 2,000 of them the sink's.
    fn good() -> Figures {
        Figures {
            nothing: vec![load(25_000.0, 0, 0), load(25_000.0, 0, 0)],
            floor: Some(load(1e9 / 41_000.0, 0, 0)),
            unwatched: Some(load(1e9 / 41_200.0, 0, 0)),
            traced: Some(load(1e9 / 50_000.0, 5_000_000, 2_000_000)),
            agent: Some(AgentFigures {
                served: 1000,
                arrived: 1000,
                rss_kib: 20 << 10,
                ..AgentFigures::default()
            }),
            foreign: Some(Foreign {
                nothing: 9.0,
                unwatched: 10.0,
                watched: 10.2,
                undecided: 12.0,
            }),
            bodies: vec![Body {
                size: 10 << 20,
                times: 1,
                heads: 100,
                ring: 100 + (1 << 10),
                ..Body::default()
            }],
            replay: Some(Replay {
                exchanges: 1064,
                spent: 3_000_000,
                small_exchanges: 64,
                small_spent: 1_000_000,
            }),
            ..Figures::default()
        }
    }

    fn judge(figures: Figures) -> Report {
        Report::new(Kernel::V6_12, true, figures, None, Ok(Policy::good())).unwrap()
    }

    fn figure(report: &Report, what: &str) -> f64 {
        let check = report.checks.iter().find(|check| check.what == what);
        check.unwrap().figure.unwrap()
    }

    #[test]
    fn limits_that_are_kept() {
        let report = judge(good());
        assert!(report.is_fine(), "{report}");
        let traced = figure(&report, "extra instructions of a traced request");
        assert!((traced - 13_000.0).abs() < 1.0, "{report}");
        let unwatched = figure(&report, "unwatched, to four empty programs");
        assert!((unwatched - 1.2).abs() < 1e-6, "{report}");
        let replayed = figure(&report, "instructions of a replayed exchange");
        assert!((replayed - 2_000.0).abs() < 1e-6, "{report}");
        assert!(report.json().is_ok());
    }

    #[test]
    fn each_limit_that_is_not() {
        let spoil: [fn(&mut Figures); 10] = [
            |figures| figures.nothing[1].rate = 25_500.0,
            |figures| figures.unwatched = Some(load(1e9 / 41_300.0, 0, 0)),
            |figures| figures.traced = Some(load(1e9 / 60_000.0, 0, 0)),
            |figures| figures.agent.as_mut().unwrap().arrived = 999,
            |figures| {
                let lost = &mut figures.agent.as_mut().unwrap().lost;
                lost.insert("records lost: ring full".to_owned(), 1);
            },
            |figures| figures.agent.as_mut().unwrap().rss_kib = 41 << 10,
            |figures| figures.bodies[0].ring = 1 << 20,
            |figures| figures.foreign.as_mut().unwrap().watched = 10.3,
            |figures| figures.replay = None,
            |figures| {
                figures.failures.insert("Envoy".to_owned(), "no".to_owned());
            },
        ];
        for (n, spoil) in spoil.into_iter().enumerate() {
            let mut figures = good();
            spoil(&mut figures);
            let report = judge(figures);
            let broken = report.checks.iter().filter(|check| !check.fine).count();
            assert_eq!(broken, 1, "spoiled {n}: {report}");
            assert!(!report.is_fine());
        }
    }

    #[test]
    fn encoders_have_limits_too() {
        use crate::bench::encoders::tests::measured;
        let report = judge(good()).with_encoders(measured([Some(0.2), Some(0.3)]));
        assert!(report.is_fine(), "{report}");
        assert!(report.to_string().contains("otlp to theirs"));
        let report = judge(good()).with_encoders(measured([Some(0.2), Some(0.6)]));
        assert!(!report.is_fine(), "{report}");
    }

    #[test]
    fn nothing_to_compare_with() {
        let nothing = Figures::default();
        let policy = Ok(Policy::good());
        assert!(Report::new(Kernel::V6_12, true, nothing, None, policy).is_err());
    }

    #[test]
    fn policies_that_could_not_be_measured() {
        let policy = Err(anyhow::anyhow!("it does not build"));
        let report = Report::new(Kernel::V6_12, true, good(), None, policy).unwrap();
        assert!(!report.is_fine());
        assert!(report.to_string().contains("policies: it does not build"));
    }
}
