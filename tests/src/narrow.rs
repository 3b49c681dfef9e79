//! Short runs with arguments: another kind of hook, and less than everything.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::agent::{Agent, READY};
use crate::cases::{CASES, Go, short_connections};
use crate::compare::Seen;
use crate::report::{Report, Verdict};
use crate::run::{Cases, all_lines};
use crate::selected::Counts;
use crate::spans::Kind;
use crate::special;
use crate::targets::{self, PORTS, Places, Target};

/// Ports of the server that is wanted and of the one that is not.
const WANTED: u16 = PORTS + 40;
const OTHER: u16 = PORTS + 41;
/// Connections to the one that is not.
const SHORT: u64 = 30;

/// All of them.
///
/// # Errors
/// If the servers or the agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if report.wants("kprobes/") {
        let target = [targets::origin("kprobes", WANTED)?];
        if let Err(error) = kprobes(report, nodespan, places, &target) {
            report.result("kprobes/run", Err(error));
        }
    }
    if report.wants("selectors/") {
        let targets = [
            targets::origin("selectors", WANTED + 10)?,
            targets::origin("other", OTHER + 10)?,
        ];
        selectors(report, nodespan, places, &targets)?;
    }
    Ok(())
}

/// Where fentry is missing, kprobes see the same.
fn kprobes(
    report: &mut Report,
    nodespan: &Path,
    places: &Places,
    targets: &[Target],
) -> Result<()> {
    let mut agent = Agent::start(nodespan, "kprobes", ["--force-kprobes"], &places.out)?;
    agent.wait_ready(targets[0].addr())?;
    let mut cases = Cases::default();
    for target in targets {
        cases.drive_table(report, target, CASES);
        special::decisions(&mut cases, report, target);
        special::split(&mut cases, report, target, false);
    }
    cases.wait_logged(targets);
    let seen = Seen::new(agent.stop()?, all_lines(targets)?);
    cases.judge(report, &seen, true);
    Ok(())
}

/// `--port` leaves everything else alone.
fn selectors(
    report: &mut Report,
    nodespan: &Path,
    places: &Places,
    targets: &[Target; 2],
) -> Result<()> {
    let [wanted, other] = targets;
    let port = wanted.port.to_string();
    let mut agent = Agent::start(nodespan, "selectors", ["--port", &port], &places.out)?;
    agent.wait_ready(wanted.addr())?;
    let mut cases = Cases::default();
    cases.drive_table(report, wanted, &CASES[..1]);
    (CASES[0].run)(&Go::new(other, &CASES[0]))?;
    short_connections(
        &Go::at(other.addr(), "other-short".to_owned()),
        usize::try_from(SHORT)?,
    )?;
    cases.wait_logged(targets);
    let counts = Counts::now(nodespan);
    let seen = Seen::new(agent.stop()?, all_lines(targets)?);
    cases.judge(report, &seen, true);
    report.check("selectors/port-counted", || {
        // The kernel is told to leave a connection alone once its ports are
        // known, so later requests on it are not observed.
        let refused = counts?.refused("excluded_port");
        ensure!(
            refused >= SHORT,
            "excluded_port is {refused} after {SHORT} connections to another port"
        );
        Ok(Verdict::Passed)
    });
    report.check("selectors/port", || {
        let lines = seen.lines("other-keep-alive").len();
        ensure!(lines > 0, "the other server was not called");
        let strangers =
            seen.strangers(|span| span.case() == READY || span.case() == "selectors-keep-alive");
        ensure!(
            strangers.is_empty(),
            "spans of another port: {}",
            strangers.join(", ")
        );
        let clients = seen.spans("selectors-keep-alive", Kind::Client).len();
        ensure!(clients == 5, "{clients} client spans of the wanted port");
        Ok(Verdict::Passed)
    });
    Ok(())
}
