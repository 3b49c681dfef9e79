//! The demonstration's mesh exporting everywhere at once: one agent, and a
//! `Mesh` with a backend for each way into a real Zipkin and a real Jaeger.
//!
//! A service has the backend that its policy names, so the policies change
//! from round to round: first each service goes another way, and in the end
//! each has gone every way; then all together go one way after the other. What
//! the agent prints must be in the server of the service's way, fact by fact,
//! and nowhere else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::backends::Servers;
use crate::backends::fields::{self, Fields};
use crate::backends::rows::{self, Row, Store};
use crate::ledger::{at, imbalance};
use crate::mesh::{self, Mesh, SERVICES, SPANS};
use crate::policy::node::{Node, SOON, replace};
use crate::policy::scene::{dataplane, policy};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::targets::Places;
use crate::traced::{Call, Carries};
use crate::wait;

/// What is bought in each round; the last cannot be paid for.
const PRODUCTS: &[usize] = &[1, 3, 4];
/// For the stages to take what they are told.
const TOLD: Duration = Duration::from_millis(500);
/// For a server to store what it has taken.
const STORED: Duration = Duration::from_secs(60);

/// One way out of the agent into a server.
#[derive(Debug)]
struct Way {
    /// The backend's name in the `Mesh`.
    name: &'static str,
    /// What the server makes of its spans.
    row: &'static str,
    /// A fact that, of all that is in this server, only spans have that came
    /// this way. In Zipkin nothing tells.
    mark: Option<&'static str>,
    /// Type and configuration of the backend, with the place of the server.
    backend: fn(&str) -> String,
}

const WAYS: &[Way] = &[
    Way {
        name: "zipkin-v1",
        row: "zipkin/v1-json",
        mark: None,
        backend: |at| format!("type: zipkin, conf: {{url: 'http://{at}/api/v1/spans'}}"),
    },
    Way {
        name: "zipkin-v2",
        row: "zipkin/v2-json",
        mark: None,
        backend: |at| format!("type: zipkin, conf: {{url: 'http://{at}/api/v2/spans'}}"),
    },
    // At the same address as the one before.
    Way {
        name: "zipkin-proto",
        row: "zipkin/v2-proto",
        mark: None,
        backend: |at| {
            format!(
                "type: zipkin, conf: {{url: 'http://{at}/api/v2/spans', apiVersion: httpProto, \
                 sharedSpanContext: false}}"
            )
        },
    },
    Way {
        name: "jaeger-zipkin",
        row: "jaeger/v2-json",
        mark: Some("tag net.host.ip"),
        backend: |at| format!("type: zipkin, conf: {{url: 'http://{at}/api/v2/spans'}}"),
    },
    Way {
        name: "otlp",
        row: "jaeger/otlp",
        mark: Some("tag network.protocol.version"),
        backend: |at| format!("type: opentelemetry, conf: {{endpoint: 'http://{at}/v1/traces'}}"),
    },
    Way {
        name: "jaeger-agent",
        row: "jaeger/udp",
        mark: Some("resource nodespan.version"),
        backend: |at| format!("type: jaeger, conf: {{agentAddress: '{at}'}}"),
    },
];

impl Way {
    fn row(&self) -> Result<&'static Row> {
        let row = rows::ROWS.iter().find(|row| row.name == self.row);
        row.with_context(|| format!("no row {}", self.row))
    }
}

/// Buys in each round, and looks for what the agent printed in the servers.
///
/// # Errors
/// If the mesh or the agent cannot be started.
pub fn run(report: &mut Report, places: &Places, nodespan: &Path, servers: &Servers) -> Result<()> {
    let names = || WAYS.iter().map(|way| way.name);
    let others = ["all", "nowhere-else", "sent", "ledger"];
    if !names().chain(others).any(|name| report.wants(&check(name))) {
        return Ok(());
    }
    let _mesh = Mesh::start(places)?;
    let folder = places.out.join("everywhere");
    if folder.exists() {
        fs::remove_dir_all(&folder)?; // Of an earlier run.
    }
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("mesh.yaml"), resources(servers)?)?;
    let rounds = rounds();
    let (file, spare) = (
        folder.join("policies.yaml"),
        places.out.join("policies.next"),
    );
    replace(&file, &policies(&rounds[0]), &spare)?;
    let resources = folder.display().to_string();
    let words = ["--resources", &resources, "--output", "jsonl"];
    let agent = Node::start(nodespan, "everywhere", words, None, &places.out)?;

    let mut bought: BTreeMap<String, &[usize]> = BTreeMap::new();
    for (number, round) in rounds.iter().enumerate() {
        if number > 0 {
            let before = agent.count_said("is in force");
            replace(&file, &policies(round), &spare)?;
            wait::until_true("the policies to be in force", SOON, || {
                Ok(agent.count_said("is in force") > before)
            })?;
            // It is said when the stages are told, who are at work meanwhile.
            std::thread::sleep(TOLD);
        }
        for trace in buy(number)? {
            bought.insert(trace, round);
        }
        let spans = u64::try_from(bought.len() * SPANS)?;
        agent.wait_ledger("/exchanges/spans", spans)?;
    }
    report.note(&format!("{} were bought, every way", bought.len()));
    let delivered = sent(&agent, bought.len() * SPANS);
    let mut status = agent.status()?;
    // What the probes have seen is read now and then.
    let balanced = wait::until_true("the ledger to balance", SOON, || {
        status = agent.status()?;
        Ok(imbalance(&status["ledger"]).is_ok())
    });
    let ended = agent.terminate();
    let printed = printed(&places.out.join("everywhere.out"), &bought)?;
    let stored = Stored::read(servers, &bought, &printed)?;
    report.check(&check("all"), || {
        let spans: usize = printed.values().map(Vec::len).sum();
        let expected = bought.len() * SPANS;
        ensure!(spans == expected, "{spans} spans, not {expected}");
        Ok(Verdict::Passed)
    });
    for (number, way) in WAYS.iter().enumerate() {
        report.check(&check(way.name), || {
            stored.arrived(number, &bought, &printed)
        });
    }
    report.check(&check("nowhere-else"), || stored.nothing_else(&printed));
    report.check(&check("sent"), || {
        delivered?;
        for (number, way) in WAYS.iter().enumerate() {
            let name = format!("default/{}", way.name);
            let all = status["ledger"]["backends"].as_array();
            let account = all.into_iter().flatten().find(|one| one["name"] == name);
            let sent = at(
                account.with_context(|| format!("no account {name}"))?,
                "/sent",
            )?;
            let expected = printed.get(&number).map_or(0, Vec::len) as u64;
            ensure!(
                sent == expected,
                "{name} was sent {sent} spans, not {expected}"
            );
        }
        Ok(Verdict::Passed)
    });
    report.check(&check("ledger"), || {
        imbalance(&status["ledger"])?;
        balanced?;
        ended.map(|_said| Verdict::Passed)
    });
    Ok(())
}

fn check(name: &str) -> String {
    format!("everywhere/{name}")
}

/// The way of each service in each round.
fn rounds() -> Vec<Vec<usize>> {
    let ways = WAYS.len();
    let apart = (0..ways).map(|first| {
        let way_of = |place| (first + place) % ways;
        (0..SERVICES.len()).map(way_of).collect()
    });
    let together = (0..ways).map(|way| vec![way; SERVICES.len()]);
    apart.chain(together).collect()
}

/// The mesh and its members.
fn resources(servers: &Servers) -> Result<String> {
    let mut text = "type: Mesh\nname: default\ntracing:\n  backends:\n".to_owned();
    for way in WAYS {
        let at = (way.row()?.to)(servers)?;
        text += &format!("  - {{name: {}, {}}}\n", way.name, (way.backend)(&at));
    }
    for (place, service) in SERVICES.iter().enumerate() {
        let tags = "kuma.io/protocol: http";
        text += &format!(
            "---\n{}",
            dataplane(mesh::address(place), &name(service), tags)
        );
    }
    Ok(text)
}

/// Other suites have services, too.
fn name(service: &str) -> String {
    format!("mesh-{service}")
}

fn policies(round: &[usize]) -> String {
    let of_service = |(service, way): (&&str, &usize)| {
        let selector = format!("kuma.io/service: {}", name(service));
        format!("---\n{}", policy(service, &selector, WAYS[*way].name))
    };
    SERVICES.iter().zip(round).map(of_service).collect()
}

/// Buys each product once; the ids of the traces.
fn buy(round: usize) -> Result<Vec<String>> {
    let mut client = Client::connect(mesh::address(0))?;
    let mut traces = Vec::new();
    for product in PRODUCTS {
        let call = Call::new(0x300 + u16::try_from(round)?, *product);
        let headers = call.headers(Carries::B3) + "Content-Length: 0\r\n";
        let answer = client.exchange("POST", &format!("/buy/{product}"), &headers)?;
        let expected = if product % 4 == 0 { 500 } else { 200 };
        ensure!(
            answer.status == expected,
            "the front says {}",
            answer.status
        );
        traces.push(call.trace().to_owned());
    }
    Ok(traces)
}

/// Waits until the backends were sent so many spans.
fn sent(agent: &Node, spans: usize) -> Result<()> {
    let expected = u64::try_from(spans)?;
    wait::until_true("all spans to be sent", SOON, || {
        let status = agent.status()?;
        let all = status["ledger"]["backends"]
            .as_array()
            .into_iter()
            .flatten();
        let of_mesh = all.filter(|one| one["name"].as_str().is_some_and(|name| name.contains('/')));
        let sent: u64 = of_mesh.filter_map(|one| one["sent"].as_u64()).sum();
        Ok(sent >= expected)
    })
}

/// What the agent printed of these traces, by the way of the service.
fn printed(
    file: &Path,
    bought: &BTreeMap<String, &[usize]>,
) -> Result<BTreeMap<usize, Vec<Fields>>> {
    let mut printed: BTreeMap<usize, Vec<Fields>> = BTreeMap::new();
    for line in fs::read_to_string(file)?.lines() {
        let span = Fields::from_zipkin(&serde_json::from_str(line)?)?;
        let way = way_of(&span, bought);
        let way = way.with_context(|| format!("a span of nothing that was bought: {line}"))?;
        printed.entry(way).or_default().push(span);
    }
    Ok(printed)
}

/// The way that a span has to go.
fn way_of(span: &Fields, bought: &BTreeMap<String, &[usize]>) -> Option<usize> {
    let round = bought.get(span.get("trace"))?;
    let of = |service: &&str| name(service) == span.get("service");
    let place = SERVICES.iter().position(of)?;
    round.get(place).copied()
}

/// What the servers have of what was bought.
struct Stored {
    zipkin: Vec<Fields>,
    jaeger: Vec<Fields>,
}

impl Stored {
    fn read(
        servers: &Servers,
        bought: &BTreeMap<String, &[usize]>,
        printed: &BTreeMap<usize, Vec<Fields>>,
    ) -> Result<Self> {
        let of = |store: Store| -> Result<Vec<Fields>> {
            let mut expected = 0;
            for (way, spans) in printed {
                let same = WAYS[*way].row()?.store == store;
                expected += if same { spans.len() } else { 0 };
            }
            let mut got = Vec::new();
            // What is missing is said by what compares.
            let _ = wait::until_true("all spans", STORED, || {
                got.clear();
                for trace in bought.keys() {
                    got.extend(store.trace(servers, trace)?);
                }
                Ok(got.len() >= expected)
            });
            Ok(got)
        };
        Ok(Self {
            zipkin: of(Store::Zipkin)?,
            jaeger: of(Store::Jaeger)?,
        })
    }

    fn of(&self, store: Store) -> &[Fields] {
        match store {
            Store::Zipkin => &self.zipkin,
            Store::Jaeger => &self.jaeger,
        }
    }

    /// The server has the spans of this way as they were printed, and of each
    /// trace one tree.
    fn arrived(
        &self,
        number: usize,
        bought: &BTreeMap<String, &[usize]>,
        printed: &BTreeMap<usize, Vec<Fields>>,
    ) -> Result<Verdict> {
        let way = &WAYS[number];
        let row = way.row()?;
        let came_here = |span: &&Fields| match way.mark {
            Some(mark) => !span.get(mark).is_empty(),
            None => way_of(span, bought) == Some(number),
        };
        let mut got: Vec<Fields> = self
            .of(row.store)
            .iter()
            .filter(came_here)
            .cloned()
            .collect();
        let mut expected = printed.get(&number).context("nothing was printed")?.clone();
        one_tree_each(&got)?;
        for span in &mut expected {
            (row.shape)(span);
            // Where every service of the mesh listens.
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
        Ok(Verdict::Passed)
    }

    /// A server has no span of these traces but those that came its ways.
    fn nothing_else(&self, printed: &BTreeMap<usize, Vec<Fields>>) -> Result<Verdict> {
        for store in [Store::Zipkin, Store::Jaeger] {
            let mut expected = 0;
            for (way, spans) in printed {
                let same = WAYS[*way].row()?.store == store;
                expected += if same { spans.len() } else { 0 };
            }
            let got = self.of(store).len();
            ensure!(got == expected, "{store:?} has {got} spans, not {expected}");
        }
        Ok(Verdict::Passed)
    }
}

/// Of each trace one span alone has its parent elsewhere, and no two spans are
/// above each other.
fn one_tree_each(spans: &[Fields]) -> Result<()> {
    let mut traces: BTreeMap<&str, Vec<&Fields>> = BTreeMap::new();
    for span in spans {
        traces.entry(span.get("trace")).or_default().push(span);
    }
    for (trace, spans) in traces {
        let ids: BTreeSet<&str> = spans.iter().map(|span| span.get("id")).collect();
        let clients: BTreeSet<&str> = spans
            .iter()
            .filter(|span| span.get("kind") == "CLIENT")
            .map(|span| span.get("id"))
            .collect();
        // A server's half that shares its id is below the client's.
        let joined =
            |span: &Fields| span.get("kind") == "SERVER" && clients.contains(span.get("id"));
        let is_root = |span: &&&Fields| !joined(span) && !ids.contains(span.get("parent"));
        let roots = spans.iter().filter(is_root).count();
        ensure!(
            roots == 1,
            "{roots} trees in trace {trace}: {}",
            show(&spans)
        );
        let parents: BTreeMap<&str, &str> = spans
            .iter()
            .filter(|span| !joined(span))
            .map(|span| (span.get("id"), span.get("parent")))
            .collect();
        for id in &ids {
            let mut above = *id;
            for _ in 0..=spans.len() {
                above = parents.get(above).copied().unwrap_or_default();
            }
            ensure!(above.is_empty(), "a circle above {id} in trace {trace}");
        }
    }
    Ok(())
}

fn show(spans: &[&Fields]) -> String {
    let of = |span: &&Fields| {
        let what = ["kind", "service", "id", "parent"].map(|name| span.get(name));
        what.join(" ")
    };
    spans.iter().map(of).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_service_goes_every_way_and_all_together_too() {
        let rounds = rounds();
        for place in 0..SERVICES.len() {
            let ways: BTreeSet<usize> = rounds.iter().map(|round| round[place]).collect();
            assert_eq!(ways.len(), WAYS.len());
        }
        let apart =
            |round: &&Vec<usize>| round.iter().collect::<BTreeSet<_>>().len() == SERVICES.len();
        assert_eq!(rounds.iter().filter(apart).count(), WAYS.len());
    }

    #[test]
    fn two_trees_and_circles_are_found() {
        let span = |id: &str, kind: &str, parent: &str| {
            let json = json!({"traceId": "1", "id": id, "kind": kind, "parentId": parent});
            Fields::from_zipkin(&json).unwrap()
        };
        let tree = [
            span("a", "SERVER", "carried"),
            span("b", "CLIENT", "a"),
            span("b", "SERVER", "carried"),
            span("c", "CLIENT", "b"),
        ];
        one_tree_each(&tree).unwrap();
        let mut two = tree.to_vec();
        two.push(span("d", "SERVER", "carried"));
        assert!(
            one_tree_each(&two)
                .unwrap_err()
                .to_string()
                .contains("2 trees")
        );
        let circle = [
            span("a", "SERVER", ""),
            span("b", "CLIENT", "c"),
            span("c", "SERVER", "b"),
        ];
        assert!(
            one_tree_each(&circle)
                .unwrap_err()
                .to_string()
                .contains("a circle")
        );
    }
}
