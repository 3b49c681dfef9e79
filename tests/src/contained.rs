//! The agent as a container runs it: with a cgroup namespace of its own, the
//! host's cgroup tree, and five capabilities. `contained/` of the guest suite.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::agent::Agent;
use crate::compare::Seen;
use crate::ledger::{at, status};
use crate::origin::Origin;
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::Kind;
use crate::targets::{PORTS, Places};
use crate::wait;
use crate::zipkin::Zipkin;

/// Port of the server.
const PORT: u16 = PORTS + 70;
/// Named as containerd names one, so that it is one workload.
const CGROUP: &str = "/sys/fs/cgroup/system.slice/cri-containerd-\
    a9e70123456789abcdef0123456789abcdef0123456789abcdef0123456789ab.scope";
/// What the DaemonSet adds.
const CAPABILITIES: &str = "-all,+bpf,+perfmon,+sys_ptrace,+dac_read_search,+sys_resource";
/// The tag of requests on the connection that waits.
const EARLY: &str = "waiting";
/// The tag of the others.
const LATER: &str = "root";
/// How many of them.
const TIMES: usize = 5;

/// All of it, with one agent.
///
/// # Errors
/// If the server or the agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places, zipkin: &str) -> Result<()> {
    if !report.wants("contained/") {
        return Ok(());
    }
    let zipkin = Zipkin::new(zipkin)?;
    let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, PORT));
    let _origin = Origin::start(&[addr.ip()], PORT)?;
    // From now on its thread waits in a receive, until the agent is there.
    let mut early = Client::connect(addr)?;
    let cgroup = Cgroup::new(CGROUP)?;

    let config = places.out.join("contained.toml");
    let endpoint = zipkin.spans_url();
    let sends = format!("[export]\nzipkinEndpoint = \"{endpoint}\"\nbatchDelay = \"100ms\"\n");
    fs::write(&config, sends).with_context(|| format!("writing {}", config.display()))?;
    let into = [
        "sh",
        "-c",
        "echo $$ > \"$1\" && shift && exec \"$@\"",
        "sh",
        &format!("{CGROUP}/cgroup.procs"),
        "unshare",
        "--cgroup",
        "setpriv",
        &format!("--bounding-set={CAPABILITIES}"),
    ];
    let ports = [PORT, zipkin.addr().port()].map(|port| port.to_string());
    let arguments = [
        "--config".as_ref(),
        config.as_os_str(),
        "--port".as_ref(),
        ports[0].as_ref(),
        "--port".as_ref(),
        ports[1].as_ref(),
    ];
    let mut agent = Agent::start_by(&into, nodespan, "contained", arguments, &places.out)?;
    agent.wait_stderr("tracing")?;
    let ask = |client: &mut Client, tag: &str, n: usize| -> Result<()> {
        let answer = client.exchange("GET", &format!("/small/{tag}/{n}"), "")?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(())
    };
    ask(&mut early, EARLY, 0)?;
    agent.wait_ready(addr)?;
    let mut client = Client::connect(addr)?;
    for n in 0..TIMES {
        ask(&mut client, LATER, n)?;
    }

    report.check("contained/namespace", || {
        let own = format!("/proc/{}/ns/cgroup", agent.pid().as_raw_nonzero());
        let own = fs::read_link(&own).with_context(|| format!("reading {own}"))?;
        ensure!(own != fs::read_link("/proc/self/ns/cgroup")?, "it is ours");
        let degraded = &status(nodespan)?["probes"]["degraded"];
        let text = degraded.to_string();
        ensure!(!text.contains("CAP_SYS_PTRACE"), "degraded: {degraded}");
        Ok(Verdict::Passed)
    });
    report.check("contained/exports", || exports(nodespan));
    let seen = Seen::new(agent.stop()?, []);
    report.check("contained/root", || {
        for kind in [Kind::Client, Kind::Server] {
            let spans = seen.spans(LATER, kind).len();
            ensure!(spans == TIMES, "{spans} {kind:?} spans, not {TIMES}");
        }
        Ok(Verdict::Passed)
    });
    report.check("contained/waiting", || {
        let spans = seen.spans(EARLY, Kind::Server).len();
        ensure!(
            spans == 1,
            "{spans} spans of the request that was waited for"
        );
        Ok(Verdict::Passed)
    });
    drop(cgroup);
    Ok(())
}

/// Spans have left, and the requests that took them are no exchanges: they
/// would be not sampled, because they say so.
fn exports(nodespan: &Path) -> Result<Verdict> {
    let mut last = status(nodespan)?;
    wait::until_true("a second batch", Duration::from_secs(60), || {
        last = status(nodespan)?;
        let backends = last.pointer("/ledger/backends").and_then(|b| b.as_array());
        let batches = backends.into_iter().flatten();
        let batches = batches.filter_map(|backend| backend["batches"].as_u64());
        Ok(batches.sum::<u64>() >= 2)
    })
    .with_context(|| format!("{}", last["ledger"]))?;
    // What the first took is an exchange by now, if it is one at all.
    std::thread::sleep(Duration::from_secs(3));
    let exchanges = &status(nodespan)?["ledger"]["exchanges"];
    let not_sampled = exchanges["not_sampled"].as_object();
    let not_sampled = not_sampled.context("no account of what is not sampled")?;
    let own: u64 = not_sampled
        .values()
        .filter_map(serde_json::Value::as_u64)
        .sum();
    ensure!(own == 0, "{own} exchanges are the agent's own: {exchanges}");
    at(exchanges, "/spans")?;
    Ok(Verdict::Passed)
}

/// A cgroup; removed when dropped, if nobody is in it any more.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new(path: &str) -> Result<Self> {
        fs::create_dir_all(path).with_context(|| format!("making {path}"))?;
        Ok(Self(path.into()))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // A guest's tree goes with the guest.
        let _ = fs::remove_dir(&self.0);
    }
}
