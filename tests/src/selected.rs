//! Less than everything by configuration: `selected/` of the guest suite. What
//! is wanted becomes spans, and the ledger says why the rest does not.

use std::path::Path;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::agent::{Agent, READY};
use crate::compare::Seen;
use crate::ledger::{at, balances, status};
use crate::placed::{CGROUPS, Cgroup, GoServer};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::Kind;
use crate::targets::{PORTS, Places};

/// Port of the first server.
const FIRST: u16 = PORTS + 80;
/// Requests of each kind.
const TIMES: u64 = 4;
/// A context, so that a request is not headerless.
const B3: &str = "b3: 5eed00000000000000000000000000aa-5eed0000000000bb-1\r\n";
const SHOP: &str = "nodespan-shop";

/// The servers: tag and cgroup. Their units are called alike, so that globs
/// have something to tell apart.
const SERVERS: [(&str, &str); 3] = [
    ("front", "system.slice/nodespan-shop-front.service"),
    ("batch", "system.slice/nodespan-shop-batch.service"),
    ("container", "system.slice/docker-ID.scope"),
];

/// Both runs.
///
/// # Errors
/// If the servers or the agents cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !report.wants("selected/") {
        return Ok(());
    }
    let mut servers = Vec::new();
    for ((tag, cgroup), port) in SERVERS.into_iter().zip(FIRST..) {
        let cgroup = Cgroup::make(CGROUPS, cgroup)?;
        servers.push(GoServer::start(tag, cgroup, port, places)?);
    }
    workloads(report, nodespan, places, &servers)?;
    exchanges(report, nodespan, places, &servers[0])
}

/// `include` and `exclude`: the shop's units but one.
fn workloads(
    report: &mut Report,
    nodespan: &Path,
    places: &Places,
    servers: &[GoServer],
) -> Result<()> {
    let text = format!("[capture]\ninclude = [\"{SHOP}-*\"]\nexclude = [\"*-batch.service\"]\n");
    let mut agent = start(nodespan, places, "selected-workloads", &text, &[])?;
    agent.wait_ready(servers[0].addr)?;
    let before = Counts::now(nodespan)?;
    for server in servers {
        let mut client = Client::connect(server.addr)?;
        for n in 0..TIMES {
            ask(
                &mut client,
                &format!("/small/workloads-{}/{n}", server.tag),
                "",
            )?;
        }
    }
    let balanced = balances(nodespan);
    let counts = Counts::now(nodespan)?.since(&before);
    let seen = Seen::new(agent.stop()?, []);
    report.check("selected/include-exclude", || {
        let tag = "workloads-front";
        ensure!(
            seen.spans(tag, Kind::Server).len() as u64 == TIMES,
            "{} server spans of the included unit",
            seen.spans(tag, Kind::Server).len()
        );
        let strangers = seen.strangers(|span| {
            span.service == format!("{SHOP}-front") && [tag, READY].contains(&span.case())
        });
        ensure!(
            strangers.is_empty(),
            "other spans: {}",
            strangers.join(", ")
        );
        // The kernel is told to leave an owner alone once nothing is wanted of
        // it, so of the others only the first exchanges are observed. Each of
        // the two other servers and the client was met at least once.
        let refused = counts.refused("excluded_workload");
        ensure!(refused >= 2, "excluded_workload is {refused}");
        counts.are_all(&["excluded_workload"])?;
        balanced
    });
    Ok(())
}

/// `excludePaths`, `headerless` and `--service`: each request is counted.
fn exchanges(
    report: &mut Report,
    nodespan: &Path,
    places: &Places,
    server: &GoServer,
) -> Result<()> {
    let text =
        "[capture]\nexcludePaths = [\"/small/health/*\", \"*/hidden\"]\nheaderless = \"ignore\"\n";
    let arguments = ["--service", "whole-shop"];
    let mut agent = start(nodespan, places, "selected-exchanges", text, &arguments)?;
    agent.wait_ready_with(server.addr, B3)?;
    let before = Counts::now(nodespan)?;
    let mut client = Client::connect(server.addr)?;
    for n in 0..TIMES {
        ask(&mut client, &format!("/small/wanted/{n}"), B3)?;
        ask(&mut client, &format!("/small/health/{n}?full=1"), B3)?;
        ask(&mut client, &format!("/small/path{n}/hidden"), B3)?;
        ask(&mut client, &format!("/small/headerless/{n}"), "")?;
        // A wish for a trace is as good as a context.
        ask(&mut client, &format!("/small/wished/{n}"), "b3: 1\r\n")?;
    }
    let balanced = balances(nodespan);
    let counts = Counts::now(nodespan)?.since(&before);
    let seen = Seen::new(agent.stop()?, []);
    for case in ["wanted", "wished"] {
        report.check(&format!("selected/{case}"), || {
            for kind in [Kind::Client, Kind::Server] {
                let spans = seen.spans(case, kind);
                ensure!(
                    spans.len() as u64 == TIMES,
                    "{} {kind:?} spans",
                    spans.len()
                );
            }
            seen.joined(case)?;
            Ok(Verdict::Passed)
        });
    }
    report.check("selected/service", || {
        let other = seen.strangers(|span| span.service == "whole-shop");
        ensure!(other.is_empty(), "other services: {}", other.join(", "));
        Ok(Verdict::Passed)
    });
    report.check("selected/nothing-else", || {
        let other = seen.strangers(|span| ["wanted", "wished", READY].contains(&span.case()));
        ensure!(other.is_empty(), "other spans: {}", other.join(", "));
        Ok(Verdict::Passed)
    });
    // Both ends of each request are observed.
    for (reason, count) in [("excluded_path", 2 * 2 * TIMES), ("headerless", 2 * TIMES)] {
        report.check(&format!("selected/counted-{reason}"), || {
            let counted = counts.refused(reason);
            ensure!(counted == count, "{counted}, not {count}");
            counts.are_all(&["excluded_path", "headerless"])?;
            Ok(Verdict::Passed)
        });
    }
    report.check("selected/ledger", || balanced);
    Ok(())
}

fn start(
    nodespan: &Path,
    places: &Places,
    name: &str,
    text: &str,
    arguments: &[&str],
) -> Result<Agent> {
    let file = places.out.join(format!("{name}.toml"));
    std::fs::write(&file, text)?;
    let mut all = vec!["--config".into(), file.into_os_string()];
    all.extend(arguments.iter().map(Into::into));
    Agent::start(nodespan, name, all, &places.out)
}

fn ask(client: &mut Client, path: &str, headers: &str) -> Result<()> {
    let status = client.exchange("GET", path, headers)?.status;
    ensure!(status == 200, "{path}: status {status}");
    Ok(())
}

/// The account of exchanges.
#[derive(Clone, Debug)]
pub(crate) struct Counts(Value);

impl Counts {
    /// As it is, once it balances: exchanges under way are in no account.
    pub(crate) fn now(nodespan: &Path) -> Result<Self> {
        balances(nodespan)?;
        Ok(Self(status(nodespan)?["ledger"]["exchanges"].clone()))
    }

    /// What has come since.
    pub(crate) fn since(mut self, before: &Self) -> Self {
        subtract(&mut self.0, &before.0);
        self
    }

    /// How many were not selected for this reason.
    pub(crate) fn refused(&self, reason: &str) -> u64 {
        at(&self.0, &format!("/not_selected/{reason}")).unwrap_or_default()
    }

    /// None was refused for another reason.
    fn are_all(&self, reasons: &[&str]) -> Result<()> {
        let all = self.0["not_selected"].as_object().into_iter().flatten();
        let others: Vec<_> = all
            .filter(|(reason, count)| !reasons.contains(&reason.as_str()) && **count != 0)
            .collect();
        ensure!(others.is_empty(), "refused for other reasons: {others:?}");
        Ok(())
    }
}

fn subtract(now: &mut Value, before: &Value) {
    match now {
        Value::Object(fields) => {
            for (key, value) in fields {
                subtract(value, &before[key.as_str()]);
            }
        }
        Value::Number(number) => {
            let difference = number
                .as_u64()
                .unwrap_or_default()
                .saturating_sub(before.as_u64().unwrap_or_default());
            *number = difference.into();
        }
        _ => {}
    }
}
