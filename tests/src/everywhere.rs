//! Every backend at once, from live agents on one node.
//!
//! An agent has one backend unless a `Mesh` says more, so here several run side
//! by side and watch the same calls. What they print must be the same, for ids
//! come from the wire, and each one's server must have what it printed.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::agent::Agent;
use crate::backends::Servers;
use crate::backends::fields::{self, Fields};
use crate::backends::rows::{self, Ids, Row};
use crate::network::Network;
use crate::origin::Origin;
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::targets::{PORTS, Places};
use crate::{traced, wait};

/// Port of the origin that finds out whether the agent is ready.
const PROBE: u16 = PORTS + 23;
/// Calls of the chain.
const CALLS: usize = 50;
/// Spans of each: both ends of three hops.
const SPANS: usize = 6;
/// For a server to store what it has taken.
const STORED: Duration = Duration::from_secs(30);

/// One way out of an agent into a server, and a fact that only spans have that
/// came there on this way.
#[derive(Debug)]
struct Way {
    row: &'static str,
    mark: &'static str,
}

const WAYS: &[Way] = &[
    Way {
        row: "zipkin/v2-json",
        mark: "local",
    },
    Way {
        row: "jaeger/v2-json",
        mark: "tag net.host.ip",
    },
    Way {
        row: "jaeger/udp",
        mark: "resource nodespan.version",
    },
    Way {
        row: "jaeger/otlp",
        mark: "tag network.protocol.version",
    },
];

/// Calls a chain of three services, and looks for what the agents print in
/// their servers.
///
/// # Errors
/// If the services or an agent cannot be started.
pub fn run(report: &mut Report, places: &Places, nodespan: &Path, servers: &Servers) -> Result<()> {
    let mut names = WAYS.iter().map(|way| way.row).chain(["same", "ledger"]);
    if !names.any(|name| report.wants(&check(name))) {
        return Ok(());
    }
    let _network = Network::new().context("network namespaces")?;
    let mut services = traced::start_services(places)?;
    let _origin = Origin::start(&[[127, 0, 0, 1].into()], PROBE)?;
    for (service, n) in services.iter_mut().zip(1..) {
        service.wait_listening((Network::pod(n, false), 8080).into())?;
    }
    let mut agents = Vec::new();
    for way in WAYS {
        agents.push(Running::start(way, places, nodespan, servers)?);
    }
    for one in &mut agents {
        one.agent.wait_ready(([127, 0, 0, 1], PROBE).into())?;
    }
    let traces = call()?;
    report.note("the chain was called, for every backend");
    let mut printed = Vec::new();
    for agent in &mut agents {
        printed.push(agent.stop(&traces)?);
    }
    report.check(&check("same"), || same_everywhere(&printed));
    for (agent, printed) in agents.iter().zip(&printed) {
        report.check(&check(agent.row.name), || {
            agent.arrived(servers, &traces, printed)
        });
    }
    // Each ended while the others' spans went over the same wire.
    report.check(&check("ledger"), || {
        for agent in &agents {
            agent.agent.balanced().context(agent.row.name)?;
        }
        Ok(Verdict::Passed)
    });
    Ok(())
}

fn check(name: &str) -> String {
    format!("everywhere/{name}")
}

/// An agent and its backend.
#[derive(Debug)]
struct Running {
    row: &'static Row,
    mark: &'static str,
    agent: Agent,
    printed: PathBuf,
}

impl Running {
    fn start(way: &Way, places: &Places, nodespan: &Path, servers: &Servers) -> Result<Self> {
        let row = rows::ROWS.iter().find(|row| row.name == way.row);
        let row = row.with_context(|| format!("no row {}", way.row))?;
        let name = format!("everywhere-{}", way.row.replace('/', "-"));
        let file = places.out.join(format!("{name}.toml"));
        fs::write(&file, (row.config)(&(row.to)(servers)?, Ids::Own))?;
        let arguments = ["--config".as_ref(), file.as_os_str()];
        let agent = Agent::start(nodespan, &name, arguments, &places.out)?;
        Ok(Self {
            row,
            mark: way.mark,
            agent,
            printed: places.out.join(format!("{name}.out")),
        })
    }

    /// Ends the agent; what it printed of these traces.
    fn stop(&mut self, traces: &BTreeSet<String>) -> Result<Vec<Fields>> {
        self.agent.stop()?;
        let mut spans = Vec::new();
        for line in fs::read_to_string(&self.printed)?.lines() {
            let span = Fields::from_zipkin(&serde_json::from_str(line)?)?;
            if traces.contains(span.get("trace")) {
                spans.push(span);
            }
        }
        Ok(spans)
    }

    /// The server has the spans as they were printed, in its way.
    fn arrived(
        &self,
        servers: &Servers,
        traces: &BTreeSet<String>,
        printed: &[Fields],
    ) -> Result<Verdict> {
        let mut got = Vec::new();
        let all = wait::until_true("all spans", STORED, || {
            got.clear();
            for trace in traces {
                let spans = self.row.store.trace(servers, trace)?.into_iter();
                got.extend(spans.filter(|span| !span.get(self.mark).is_empty()));
            }
            Ok(got.len() >= printed.len())
        });
        let mut expected = printed.to_vec();
        for span in &mut expected {
            (self.row.shape)(span);
            // Where every service of the chain listens.
            let has_host = !span.get("tag server.address").is_empty();
            if has_host && span.get("tag server.port").is_empty() {
                span.set("tag server.port", "int 8080");
            }
        }
        // Whether a process has an address of its own is not in what is printed.
        for span in expected.iter_mut().chain(&mut got) {
            span.take("resource ip");
            span.take("resource service.instance.id");
        }
        fields::equal(got, expected)?;
        all?;
        Ok(Verdict::Passed)
    }
}

/// All agents printed all spans of the chain, with the same ids and parents.
fn same_everywhere(printed: &[Vec<Fields>]) -> Result<Verdict> {
    let ids = |spans: &[Fields]| -> Vec<Fields> {
        let mut spans = spans.to_vec();
        for span in &mut spans {
            // Each agent has clocks and readings of its own.
            span.retain(|name| ["trace", "id", "parent", "kind", "name"].contains(&name));
        }
        spans
    };
    let (first, others) = printed.split_first().context("no agents")?;
    let expected = CALLS * SPANS;
    ensure!(
        first.len() == expected,
        "{} spans, not {expected}",
        first.len()
    );
    for other in others {
        fields::equal(ids(other), ids(first))?;
    }
    Ok(Verdict::Passed)
}

/// Calls the chain; the ids of the traces.
fn call() -> Result<BTreeSet<String>> {
    let mut client = Client::connect((Network::pod(1, false), 8080).into())?;
    let mut traces = BTreeSet::new();
    for n in 0..CALLS {
        let call = traced::Call::new(0x300, n);
        let headers = call.headers(traced::Carries::B3);
        let response = client.exchange("GET", &format!("/chain/direct/{n}"), &headers)?;
        ensure!(response.status == 200, "the chain said {}", response.status);
        traces.insert(call.trace().to_owned());
    }
    Ok(traces)
}
