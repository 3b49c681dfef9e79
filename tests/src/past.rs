//! What goes past the probes is counted, and what the agent does not need any
//! more is given up: `past/` and `privileges/` of the guest suite.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

use crate::agent::Agent;
use crate::children;
use crate::ledger::{at, status};
use crate::report::{Report, Verdict};
use crate::targets::{self, PORTS, Places, python_program};
use crate::wait;

/// Port of the server that finds out whether the agent is ready.
const PROBE: u16 = PORTS + 55;
/// How often each path is gone.
const TIMES: u64 = 10;

/// Paths of `scenarios/past.py`, and the reason in the ledger for each.
const PATHS: [(&str, &str); 5] = [
    ("mptcp", "mptcp"),
    ("splice", "splice_read"),
    ("sockmap", "sockmap"),
    ("tls", "kernel_tls"),
    ("sendfile", "kernel_pages"),
];

/// `CAP_SYS_PTRACE` (include/uapi/linux/capability.h).
const SYS_PTRACE: u64 = 1 << 19;
/// `CAP_BPF`.
const BPF: u64 = 1 << 39;

/// All of them, with one agent.
///
/// # Errors
/// If the server or the agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !["past/", "privileges/"].iter().any(|g| report.wants(g)) {
        return Ok(());
    }
    let origin = targets::origin("past", PROBE)?;
    let mut agent = Agent::start(nodespan, "past", [""; 0], &places.out)?;
    agent.wait_ready(origin.addr())?;
    for (path, reason) in PATHS {
        report.check(&format!("past/{path}"), || {
            gone(nodespan, places, path, reason)
        });
    }
    report.check("privileges/given-up", || given_up(agent.pid()));
    report.check("privileges/told", || {
        let status = status(nodespan)?;
        let told = status.pointer("/probes/capabilities");
        let told = told.and_then(|told| told.as_array()).context("not told")?;
        ensure!(
            told.iter().any(|one| one == "CAP_SYS_PTRACE"),
            "told are {told:?}"
        );
        Ok(Verdict::Passed)
    });
    agent.stop()?;
    Ok(())
}

/// The path is gone so often, and so often it is counted.
fn gone(nodespan: &Path, places: &Places, path: &str, reason: &str) -> Result<Verdict> {
    let place = format!("/ledger/records/missed/{reason}");
    let count = || status(nodespan).and_then(|status| at(&status, &place));
    let before = count()?;
    let mut command = Command::new(python_program()?);
    command
        .arg(places.scenarios.join("past.py"))
        .args([path, &TIMES.to_string()]);
    let said = children::run(&mut command, Duration::from_secs(30))?;
    let said = said.trim();
    if let Some(why) = said.strip_prefix("none: ") {
        // Debian's 5.10 is built without MPTCP and TLS; the others have both.
        ensure!(kernel()? < (5, 19), "this kernel has no such path: {why}");
        ensure!(count()? == before, "counted without the path");
        return Ok(Verdict::Passed);
    }
    let expected: u64 = said.parse().with_context(|| format!("it said {said:?}"))?;
    let mut counted = 0;
    // The kernel's counts come into the ledger once a second.
    wait::until_true("the count", Duration::from_secs(60), || {
        counted = count()? - before;
        Ok(counted >= expected)
    })
    .with_context(|| format!("{counted} of {expected} are counted"))?;
    ensure!(counted == expected, "{counted} counted, not {expected}");
    Ok(Verdict::Passed)
}

/// No thread of the agent has more than it needs, nor can get it.
fn given_up(pid: rustix::process::Pid) -> Result<Verdict> {
    let mut seen = BTreeSet::new();
    let mut threads = 0;
    for thread in fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero()))? {
        let status = fs::read_to_string(thread?.path().join("status"))?;
        let set = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let line = line.with_context(|| format!("no {name} in {status}"))?;
            Ok(u64::from_str_radix(line.trim(), 16)?)
        };
        threads += 1;
        let effective = set("CapEff:")?;
        seen.insert(effective);
        ensure!(
            set("CapPrm:")? == effective && set("CapInh:")? == 0 && set("CapAmb:")? == 0,
            "a thread may raise more: {status}"
        );
        ensure!(
            set("CapBnd:")? == effective,
            "a program it runs may gain more: {status}"
        );
        ensure!(set("NoNewPrivs:")? == 1, "no_new_privs is off: {status}");
    }
    ensure!(threads >= 3, "only {threads} threads");
    // Up to 5.18 no call of bpf(2) is for those without it where the sysctl
    // says so, and Debian's kernels say so.
    let expected = if kernel()? < (5, 19) {
        SYS_PTRACE | BPF
    } else {
        SYS_PTRACE
    };
    ensure!(
        seen == BTreeSet::from([expected]),
        "effective are {seen:x?}, not {expected:x}"
    );
    Ok(Verdict::Passed)
}

/// The two numbers of this kernel's release.
fn kernel() -> Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(['.', '-']).map(str::parse::<u32>);
    let (Some(Ok(major)), Some(Ok(minor))) = (numbers.next(), numbers.next()) else {
        bail!("the release is {release}");
    };
    Ok((major, minor))
}
