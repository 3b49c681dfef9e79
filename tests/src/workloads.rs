//! Whose span it is: processes in cgroups as systemd and container runtimes
//! make them.

use std::path::Path;

use anyhow::{Result, ensure};

use crate::agent::{Agent, READY};
use crate::compare::Seen;
use crate::placed::{CGROUPS, Cgroup, GoServer};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::Kind;
use crate::targets::{PORTS, Places};

/// Port of the first server.
const FIRST: u16 = PORTS + 60;

/// The servers: tag, cgroup, and the service that their spans must name.
const SERVERS: [(&str, &str, &str); 3] = [
    (
        "unit",
        "system.slice/nodespan-suite.service/workers",
        "nodespan-suite",
    ),
    ("container", "system.slice/docker-ID.scope", "5eed01234567"),
    ("command", "user.slice/nodespan-suite", "goserver"),
];

/// Names and selectors.
///
/// # Errors
/// If the servers or the agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !report.wants("workloads/") {
        return Ok(());
    }
    let mut servers = Vec::new();
    for ((tag, cgroup, _), port) in SERVERS.into_iter().zip(FIRST..) {
        let cgroup = Cgroup::make(CGROUPS, cgroup)?;
        servers.push(GoServer::start(tag, cgroup, port, places)?);
    }
    let names = |seen: &Seen, tag: &str, service: &str| {
        let spans = seen.spans(tag, Kind::Server);
        ensure!(spans.len() == 3, "{} spans, not 3", spans.len());
        let other = spans.iter().find(|span| span.service != service);
        ensure!(
            other.is_none(),
            "service {:?}",
            other.map(|span| &span.service)
        );
        Ok(Verdict::Passed)
    };

    let seen = observe(nodespan, places, "workloads", &[], &servers)?;
    for (tag, _, service) in SERVERS {
        report.check(&format!("workloads/{tag}"), || names(&seen, tag, service));
    }
    for (tag, _, service) in &SERVERS[..2] {
        let name = format!("workloads/only-{tag}");
        let option = format!("--{tag}");
        // The requests that find out whether the agent is ready must be seen,
        // so whoever answers them is the one who is wanted.
        let seen = observe(
            nodespan,
            places,
            &format!("only-{tag}"),
            &[&option, service],
            &servers,
        );
        report.check(&name, || {
            let seen = seen?;
            names(&seen, tag, service)?;
            let others = seen.strangers(|span| span.case() == READY || span.case() == *tag);
            ensure!(others.is_empty(), "other spans: {}", others.join(", "));
            Ok(Verdict::Passed)
        });
    }
    Ok(())
}

/// Runs the agent and three requests to each server.
fn observe(
    nodespan: &Path,
    places: &Places,
    name: &str,
    arguments: &[&str],
    servers: &[GoServer],
) -> Result<Seen> {
    let mut agent = Agent::start(nodespan, name, arguments, &places.out)?;
    let wanted = servers
        .iter()
        .position(|server| arguments.first() == Some(&format!("--{}", server.tag).as_str()));
    agent.wait_ready(wanted.map_or(servers[0].addr, |n| servers[n].addr))?;
    for server in servers {
        let mut client = Client::connect(server.addr)?;
        for n in 0..3 {
            let answer = client.exchange("GET", &format!("/small/{}/{n}", server.tag), "")?;
            ensure!(answer.status == 200, "status {}", answer.status);
        }
    }
    Ok(Seen::new(agent.stop()?, []))
}
