//! The limits that are promised, and the figures that they limit.

use std::fmt::Write as _;

use serde::Serialize;

use super::figures::{AgentFigures, Figures, Load, Replay};

/// Instructions that a traced request may cost.
const TRACED: f64 = 17_500.0;
/// And shall, in the end.
const AIM: f64 = 4_500.0;
/// Of an unwatched workload to the four empty programs, and of a socket that
/// speaks no HTTP to an unwatched one: each time of what is added to a call
/// without the agent.
const RATIO: f64 = 1.25;
/// Percent by which the two loads without anything may differ.
const REPEATS: f64 = 0.5;
/// MB resident.
const MEMORY: f64 = 40.0;
/// Percent of bodies over 1 MiB that may cross the ring.
const SHARE: f64 = 1.0;
/// Instructions that a replayed exchange may cost.
const REPLAYED: f64 = 2_500.0;

/// A figure and its limit.
#[derive(Debug, Serialize)]
pub(super) struct Check {
    pub(super) what: &'static str,
    /// None if it was not measured.
    pub(super) figure: Option<f64>,
    pub(super) limit: f64,
    pub(super) unit: &'static str,
    pub(super) fine: bool,
    pub(super) note: String,
}

/// Instructions a request without anything.
pub(super) fn base(loads: &[Load]) -> Option<f64> {
    let count = u32::try_from(loads.len()).ok().filter(|n| *n > 0)?;
    Some(loads.iter().map(Load::per_request).sum::<f64>() / f64::from(count))
}

/// Every figure with its limit.
pub(super) fn checks(figures: &Figures, base: f64) -> Vec<Check> {
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
    let note = agent.map(|agent| format!("{:.1} MB at its peak", megabytes(agent.peak_kib)));
    let resident = agent.map(|agent| megabytes(agent.rss_kib));
    checks.push(at_most(
        "resident",
        resident,
        MEMORY,
        "MB",
        note.unwrap_or_default(),
    ));

    let foreign = figures.foreign.as_ref();
    let ratio = foreign
        .map(|foreign| (foreign.watched - foreign.nothing) / (foreign.unwatched - foreign.nothing));
    let note = foreign.map(|foreign| {
        format!(
            "of ours alone; whole calls {:.2}",
            foreign.watched / foreign.unwatched
        )
    });
    checks.push(at_most(
        "sockets without HTTP, to unwatched",
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
    let each = replayed.map(Replay::per_exchange);
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
        let _ = write!(text, "; {reason} {count}");
    }
    text
}

/// 10^6 bytes.
fn megabytes(kib: u64) -> f64 {
    float(kib) * 1024.0 / 1e6
}

/// A count as a figure.
#[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
pub(super) fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use nodespan_deploy::kubernetes;

    use super::super::cluster;
    use super::MEMORY;

    /// MB of this many MiB.
    const MIB: f64 = 1.048_576;

    /// What the DaemonSet says of memory, in MiB.
    fn of_daemonset(key: &str) -> f64 {
        let mut all = kubernetes::rendered().into_iter().map(|(_, text)| text);
        let text = all.find(|text| text.contains("kind: DaemonSet")).unwrap();
        let (_, behind) = text.split_once(&format!("{key}:\n")).unwrap();
        let lines = behind.lines().map(str::trim);
        let memory = lines
            .filter_map(|line| line.strip_prefix("memory: "))
            .next()
            .unwrap();
        memory.strip_suffix("Mi").unwrap().parse().unwrap()
    }

    /// Objects of a kind that an agent keeps, as the README says; that it is so,
    /// a test of `deploy` compares.
    fn most_objects() -> f64 {
        let readme = include_str!("../../../README.md");
        let (_, behind) = readme.split_once("\nmaxObjects = ").unwrap();
        let number = behind.split_whitespace().next().unwrap();
        number.parse().unwrap()
    }

    /// The next multiple of so many MiB, of MB.
    fn up_to(megabytes: f64, step: f64) -> f64 {
        (megabytes / MIB / step).ceil() * step
    }

    /// Whoever changes what the bench holds the agent to, or how much it keeps of
    /// a cluster, changes what the DaemonSet asks for, and the other way round.
    #[test]
    fn the_daemonset_asks_for_what_the_bench_promises() {
        let agent_and = |pods: f64| MEMORY + cluster::MEMORY * pods / f64::from(cluster::PODS);
        let usual = agent_and(f64::from(cluster::PODS));
        assert!((of_daemonset("requests") - up_to(usual, 64.0)).abs() < 0.1);
        // What waits for backends, and maps, have what is left of the last step.
        let most = agent_and(most_objects());
        assert!((of_daemonset("limits") - up_to(most, 128.0)).abs() < 0.1);
    }
}
