//! Hosts without cgroup v2: `legacy/` of the guest suite. The agent sees only
//! hierarchies of cgroup v1, as on hosts whose systemd uses the legacy layout;
//! then the process is the owner, and its v1 paths say what it is called.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::agent::{Agent, READY};
use crate::children::{command, run as run_program};
use crate::compare::Seen;
use crate::ledger::status;
use crate::placed::{Cgroup, GoServer};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::selected::Counts;
use crate::spans::Kind;
use crate::targets::{PORTS, Places};

/// Port of the first server.
const FIRST: u16 = PORTS + 110;
const TIMES: usize = 3;

/// The servers: tag, v1 cgroup, and the service that their spans must name.
/// The first two are two processes of one unit; nobody wants the last.
const SERVERS: [(&str, &str, &str); 5] = [
    ("one", "system.slice/nodespan-old.service", "nodespan-old"),
    ("two", "system.slice/nodespan-old.service", "nodespan-old"),
    ("container", "docker/ID", "5eed01234567"),
    ("command", "user.slice/session-1.scope", "goserver"),
    ("quiet", "system.slice/nodespan-quiet.service", ""),
];

/// What the agent is started by, in a mount namespace of its own.
const WITHOUT_V2: &str = "set -e
umount -l /sys/fs/cgroup
mount -t tmpfs none /sys/fs/cgroup
mkdir /sys/fs/cgroup/systemd
mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
exec \"$@\"";

/// All of them, with one agent.
///
/// # Errors
/// If the servers or the agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !report.wants("legacy/") {
        return Ok(());
    }
    let hierarchy = Hierarchy::mount(&places.out)?;
    let mut servers = Vec::new();
    for ((tag, cgroup, _), port) in SERVERS.into_iter().zip(FIRST..) {
        let cgroup = Cgroup::make(&hierarchy.0, cgroup)?;
        servers.push(GoServer::start(tag, cgroup, port, places)?);
    }
    let file = places.out.join("legacy.toml");
    fs::write(&file, "[capture]\nexclude = [\"nodespan-quiet\"]\n")?;
    let start = ["unshare", "-m", "sh", "-c", WITHOUT_V2, "sh"];
    let arguments = [OsStr::new("--config"), file.as_os_str()];
    let mut agent = Agent::start_by(&start, nodespan, "legacy", arguments, &places.out)?;
    agent.wait_ready(servers[0].addr)?;
    let before = Counts::now(nodespan)?;
    report.check("legacy/owners", || owners(nodespan));
    for server in &servers {
        let mut client = Client::connect(server.addr)?;
        for n in 0..TIMES {
            client.exchange("GET", &format!("/small/{}/{n}", server.tag), "")?;
        }
    }
    let counts = Counts::now(nodespan).map(|now| now.since(&before));
    let seen = Seen::new(agent.stop()?, []);
    for (tag, _, service) in &SERVERS[..4] {
        report.check(&format!("legacy/{tag}"), || {
            let spans = seen.spans(tag, Kind::Server);
            ensure!(spans.len() == TIMES, "{} spans, not {TIMES}", spans.len());
            let other = spans.iter().find(|span| span.service != *service);
            ensure!(
                other.is_none(),
                "service {:?}",
                other.map(|span| &span.service)
            );
            seen.joined(tag)?;
            Ok(Verdict::Passed)
        });
    }
    report.check("legacy/excluded", || {
        let quiet = seen.spans("quiet", Kind::Server).len();
        ensure!(quiet == 0, "{quiet} spans of the excluded unit");
        let refused = counts?.refused("excluded_workload");
        ensure!(refused > 0, "none is counted");
        let strangers = seen.strangers(|span| {
            span.case() == READY || SERVERS.iter().any(|(tag, ..)| span.case() == *tag)
        });
        ensure!(
            strangers.is_empty(),
            "other spans: {}",
            strangers.join(", ")
        );
        Ok(Verdict::Passed)
    });
    Ok(())
}

/// The agent knows that owners are processes, and says why.
fn owners(nodespan: &Path) -> Result<Verdict> {
    let probes = status(nodespan)?["probes"].take();
    ensure!(
        probes["owners"] == "process",
        "owners are {}",
        probes["owners"]
    );
    let degraded = probes["degraded"].as_array().context("not told")?;
    ensure!(
        degraded
            .iter()
            .any(|line| line.as_str().is_some_and(|line| line.contains("cgroup v2"))),
        "it says {degraded:?}"
    );
    Ok(Verdict::Passed)
}

/// The hierarchy that systemd names after itself, mounted for the suite.
struct Hierarchy(PathBuf);

impl Hierarchy {
    fn mount(out: &Path) -> Result<Self> {
        let at = out.join("cgroup-v1");
        fs::create_dir_all(&at)?;
        let mut mount = command(["mount", "-t", "cgroup", "-o", "none,name=systemd", "none"]);
        run_program(mount.arg(&at), Duration::from_secs(30))?;
        Ok(Self(at))
    }
}

impl Drop for Hierarchy {
    fn drop(&mut self) {
        // It is the guest's, which ends soon.
        let _ = run_program(command(["umount"]).arg(&self.0), Duration::from_secs(30));
    }
}
