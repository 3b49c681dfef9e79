//! Processes that end before anybody can ask who they are: `brief/` of the guest
//! suite. The agent stands still while they call and end, so that it reads of
//! them when nothing of them is left but what the kernel has said.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::agent::Agent;
use crate::children::run as run_command;
use crate::compare::Seen;
use crate::placed::{CGROUPS, Cgroup};
use crate::report::{Report, Verdict};
use crate::spans::Kind;
use crate::targets::{self, PORTS, Places, python_program};
use crate::wait;
use crate::wrong::has_kprobes;

const PORT: u16 = PORTS + 140;
/// How often each client calls.
const CALLS: usize = 3;

/// The clients: tag, command name, and whether the agent has met its cgroup
/// before, so that the records name the process instead of the cgroup.
const CLIENTS: [(&str, &str, bool); 2] =
    [("curl", "curl", false), ("thread", "brief-process", true)];

/// Both, by each kind of hook.
///
/// # Errors
/// If the server or the agent cannot be started, or a client fails.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !report.wants("brief/") {
        return Ok(());
    }
    let target = targets::origin("brief", PORT)?;
    for (mode, arguments) in [("fentry", &[][..]), ("kprobes", &["--force-kprobes"])] {
        if mode == "kprobes" && !has_kprobes() {
            continue;
        }
        let mut agent = Agent::start(
            nodespan,
            &format!("brief-{mode}"),
            arguments.iter().copied(),
            &places.out,
        )?;
        agent.wait_ready(target.addr())?;
        let mut cgroups = Vec::new();
        for (tag, _, is_met) in CLIENTS {
            let cgroup = Cgroup::make(CGROUPS, &format!("user.slice/nodespan-{mode}-{tag}"))?;
            if is_met {
                meet(&agent, &cgroup, &target.addr(), places)?;
            }
            cgroups.push(cgroup);
        }
        agent.signal(Signal::STOP);
        let called = still(&agent).and_then(|()| {
            CLIENTS
                .iter()
                .zip(&cgroups)
                .try_for_each(|((tag, ..), cgroup)| {
                    (0..CALLS).try_for_each(|n| {
                        let path = format!("/small/brief-{tag}/{n}");
                        call(cgroup, &words(tag, target.addr(), &path, places)?)
                    })
                })
        });
        agent.signal(Signal::CONT);
        called?;
        let seen = Seen::new(agent.stop()?, []);
        // There kprobes miss a call now and then, as the agent says.
        let all = mode == "fentry" || !agent.said().contains("this kernel preempts");
        for (tag, name, _) in CLIENTS {
            report.check(&format!("brief/{mode}-{tag}"), || {
                judge(&seen, tag, name, all)
            });
        }
    }
    Ok(())
}

/// A call from the cgroup while the agent looks, so that it knows that each of
/// its processes is a workload.
fn meet(agent: &Agent, cgroup: &Cgroup, server: &SocketAddr, places: &Places) -> Result<()> {
    let mut n = 0;
    wait::until_true("a span of the cgroup", Duration::from_secs(30), || {
        n += 1;
        let path = format!("/small/brief-met/{n}");
        call(cgroup, &words("curl", *server, &path, places)?)?;
        let spans = agent.spans()?;
        let mut met = spans.iter().filter(|span| span.case() == "brief-met");
        Ok(met.any(|span| span.kind == Kind::Client))
    })
}

fn words(client: &str, server: SocketAddr, path: &str, places: &Places) -> Result<Vec<OsString>> {
    Ok(match client {
        "curl" => vec![
            "curl".into(),
            "-sS".into(),
            "--fail".into(),
            format!("http://{server}{path}").into(),
        ],
        _ => vec![
            python_program()?.into(),
            places.scenarios.join("brief.py").into(),
            server.port().to_string().into(),
            path.into(),
        ],
    })
}

/// Runs a client in a cgroup; when this returns there is no process of it.
fn call(cgroup: &Cgroup, words: &[OsString]) -> Result<()> {
    run_command(cgroup.start().args(words), Duration::from_secs(60))?;
    Ok(())
}

/// Waits until each thread of the agent has stopped.
fn still(agent: &Agent) -> Result<()> {
    let tasks = format!("/proc/{}/task", agent.pid().as_raw_nonzero());
    wait::until_true("the agent to stand still", Duration::from_secs(10), || {
        for task in fs::read_dir(&tasks)? {
            let stat = fs::read_to_string(task?.path().join("stat"))?;
            let state = stat.rsplit(')').next().unwrap_or_default().trim_start();
            if !state.starts_with('T') {
                return Ok(false);
            }
        }
        Ok(true)
    })
}

fn judge(seen: &Seen, tag: &str, name: &str, all: bool) -> Result<Verdict> {
    let spans = seen.spans(&format!("brief-{tag}"), Kind::Client);
    let least = if all { CALLS } else { 1 };
    ensure!(
        (least..=CALLS).contains(&spans.len()),
        "{} client spans of {CALLS} calls",
        spans.len()
    );
    let other = spans.iter().find(|span| span.service != name);
    ensure!(
        other.is_none(),
        "service {:?}, not {name}",
        other.map(|span| &span.service)
    );
    Ok(Verdict::Passed)
}
