//! Short runs with arguments: another kind of hook, and less than everything.

use std::path::Path;
use std::thread;

use anyhow::{Result, anyhow, ensure};

use crate::agent::{Agent, READY};
use crate::cases::{CASES, Go, short_connections};
use crate::compare::Seen;
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::run::{Cases, all_lines};
use crate::selected::Counts;
use crate::spans::Kind;
use crate::special;
use crate::targets::{self, PORTS, Places, Target};

/// Ports of the server that kprobes look at, one for each attempt.
const KPROBES: u16 = PORTS + 260;
const ATTEMPTS: u16 = 12;

/// Ports of the server that is wanted and of the one that is not.
const WANTED: u16 = PORTS + 40;
const OTHER: u16 = PORTS + 41;
/// Connections to the one that is not.
const SHORT: u64 = 30;
/// Clients at once, each with so many requests.
const CROWD: usize = 16;
const EACH: usize = 40;

/// All of them.
///
/// # Errors
/// If the servers or the agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if report.wants("kprobes/")
        && let Err(error) = kprobes(report, nodespan, places)
    {
        report.result("kprobes/run", Err(error));
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

/// Where fentry is missing, kprobes see the same. On a kernel that preempts they
/// miss calls now and then, as the agent says; so there a run in which the
/// kernel says that it skipped programs is not judged, but the next, and the
/// last in any case.
fn kprobes(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    let mut attempts = KPROBES..KPROBES + ATTEMPTS;
    while let Some(port) = attempts.next() {
        let targets = [targets::origin("kprobes", port)?];
        let mut agent = Agent::start(nodespan, "kprobes", ["--force-kprobes"], &places.out)?;
        agent.wait_ready(targets[0].addr())?;
        let mut cases = Cases::default();
        for target in &targets {
            cases.drive_table(report, target, CASES);
            special::decisions(&mut cases, report, target);
            special::split(&mut cases, report, target, false);
            crowd(&mut cases, report, target);
        }
        cases.wait_logged(&targets);
        let seen = Seen::new(agent.stop()?, all_lines(&targets)?);
        let said = agent.said();
        let skipped = said.lines().find(|line| line.contains("kernel skipped"));
        if let Some(skipped) = skipped.filter(|_| said.contains("this kernel preempts"))
            && !attempts.is_empty()
        {
            report.note(&format!("kprobes once more: {skipped}"));
            continue;
        }
        cases.judge(report, &seen, true);
        break;
    }
    Ok(())
}

/// More tasks are inside the functions at once than kretprobes have instances
/// for, so that returns are missed.
fn crowd(cases: &mut Cases, report: &Report, target: &Target) {
    let tag = format!("{}-crowd", target.name);
    let go = Go::at(target.addr(), tag.clone());
    let drive = || {
        let mut crowd = Vec::new();
        for n in 0..CROWD {
            let mut client = Client::connect(go.addr)?;
            let paths = (0..EACH).map(|request| format!("/small/{}/{n}-{request}", go.tag));
            let paths: Vec<_> = paths.collect();
            crowd.push(thread::spawn(move || {
                paths.iter().try_for_each(|path| {
                    let status = client.exchange("GET", path, "")?.status;
                    ensure!(status == 200, "status {status}");
                    Ok(())
                })
            }));
        }
        crowd.into_iter().try_for_each(|one| {
            one.join()
                .unwrap_or_else(|_panic| Err(anyhow!("a client panicked")))
        })
    };
    let name = format!("{}/crowd", target.name);
    let all = Some(CROWD * EACH);
    cases.drive(report, &name, &tag.clone(), all, drive, move |seen| {
        seen.servers_equal_log(&tag)?;
        seen.clients_equal_log(&tag)?;
        seen.joined(&tag)
    });
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
