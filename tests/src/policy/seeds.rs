//! The examples of the document that the project started from, as they are:
//! what they say arrives where they say.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use super::node::{Node, SOON, replace};
use super::relay::JaegerPort;
use super::scene::{FIRST, Server, Site, arrived, dataplane, nothing, until_traced};
use super::thrift;
use crate::answer::Answer;
use crate::children::command;
use crate::report::{Report, Verdict};
use crate::wait;

/// The examples.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/seeds");
/// The served workload's name in its Dataplane.
const SERVICE: &str = "policy-seed";
/// What both of Traefik's examples call every service.
const TRAEFIK: &str = "traefik";
/// The host that the examples' Mesh names is this one.
const HOSTS: &str = "127.0.0.1 localhost jaeger-collector.kuma-tracing\n";
const COUNT: usize = 10;

pub(super) fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let server = site.server("policy-seed", FIRST + 1)?;
    for (check, run) in [
        (
            "seeds/traefik-zipkin",
            traefik_zipkin as fn(&Site<'_>, &Server) -> Result<Verdict>,
        ),
        ("seeds/traefik-jaeger", traefik_jaeger),
        ("seeds/kuma-kubernetes", kuma_kubernetes),
        ("seeds/kuma-universal-typo", kuma_universal),
    ] {
        report.check(check, || run(site, &server));
    }
    Ok(())
}

fn seed(name: &str) -> String {
    Path::new(SEEDS).join(name).display().to_string()
}

fn traefik_zipkin(site: &Site<'_>, server: &Server) -> Result<Verdict> {
    let toml = seed("traefik-zipkin.toml");
    let agent = site.agent("policy-seed-zipkin", &["--config", &toml])?;
    let traces = server.ask(COUNT)?;
    // Both halves: without a Mesh, nobody need have a Dataplane.
    arrived(&site.zipkins[0], &traces, &[TRAEFIK, TRAEFIK])?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

fn traefik_jaeger(site: &Site<'_>, server: &Server) -> Result<Verdict> {
    let port = JaegerPort::start()?;
    let toml = seed("traefik-jaeger.toml");
    let agent = site.agent("policy-seed-jaeger", &["--config", &toml])?;
    let traces = server.ask(COUNT)?;
    agent.stop()?;
    let mut spans = Vec::new();
    for datagram in port.datagrams() {
        spans.extend(thrift::spans(&datagram).context("a datagram")?);
    }
    for trace in &traces {
        let low = u64::from_str_radix(&trace[16..], 16)?;
        let of_trace = spans.iter().filter(|span| span.trace == low);
        let services: Vec<&str> = of_trace.map(|span| span.service.as_str()).collect();
        ensure!(
            services == [TRAEFIK, TRAEFIK],
            "trace {trace} has spans of {services:?} among {spans:?}"
        );
    }
    Ok(Verdict::Passed)
}

fn kuma_kubernetes(site: &Site<'_>, server: &Server) -> Result<Verdict> {
    let folder = site.folder("policy-seed-kubernetes")?;
    for name in ["mesh-kubernetes.yaml", "traffic-trace-kubernetes.yaml"] {
        fs::copy(seed(name), folder.join(name))?;
    }
    let text = format!(
        "apiVersion: kuma.io/v1alpha1\nkind: Dataplane\nmesh: default\nmetadata: {{name: seed-1}}\n\
         spec:\n  networking:\n    address: {}\n    inbound:\n    - port: {}\n      tags: \
         {{kuma.io/service: {SERVICE}, kuma.io/protocol: http}}\n",
        server.addr.ip(),
        server.addr.port()
    );
    fs::write(folder.join("dataplane.yaml"), text)?;
    let agent = start(site, "policy-seed-kubernetes", &folder)?;
    let traces = server.ask(COUNT)?;
    arrived(&site.zipkins[0], &traces, &[SERVICE])?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// The example with the typo: nothing is sent, and it is said why. With the
/// typo corrected, spans arrive without a restart.
fn kuma_universal(site: &Site<'_>, server: &Server) -> Result<Verdict> {
    let folder = site.folder("policy-seed-universal")?;
    let (mesh, policy) = ("mesh-universal.yaml", "traffic-trace-universal.yaml");
    for name in [mesh, policy] {
        fs::copy(seed(name), folder.join(name))?;
    }
    let own = dataplane(server.addr, SERVICE, "kuma.io/protocol: http");
    fs::write(folder.join("dataplane.yaml"), own)?;
    let agent = start(site, "policy-seed-universal", &folder)?;
    let traces = server.ask(COUNT)?;
    // At least one: then the kernel side leaves the workload alone.
    agent.wait_ledger("/exchanges/not_selected/unknown_backend", 1)?;
    explained(site, &folder)?;
    ensure!(agent.ledger("/exchanges/spans")? == 0, "spans were made");
    nothing(&site.zipkins[0], &traces)?;

    let text = fs::read_to_string(seed(policy))?;
    ensure!(text.contains("jager-collector"), "the typo is gone");
    let right = text.replace("jager-collector", "jaeger-collector");
    let spare = site.places.out.join("policy-spare");
    replace(&folder.join(policy), &right, &spare)?;
    until_traced(&site.zipkins[0], server, SERVICE)?;
    let traces = server.ask(COUNT)?;
    arrived(&site.zipkins[0], &traces, &[SERVICE])?;
    agent.stop()?;
    Ok(Verdict::Passed)
}

/// `explain` names the typo and what was meant, from files and from the agent.
fn explained(site: &Site<'_>, folder: &Path) -> Result<()> {
    let resources = folder.display().to_string();
    let tags = format!("kuma.io/service={SERVICE},kuma.io/protocol=http");
    let says = Answer {
        codes: &[0],
        says: &[
            &["names backend \"jager-collector\""],
            &["the nearest is \"jaeger-collector\""],
        ],
        lines: 0,
    };
    let explain = |words: &[&str]| {
        let mut start = command([site.nodespan]);
        start.arg("explain").args(words);
        says.of(&mut start).map(|_said| ())
    };
    explain(&["--resources", &resources, "--tags", &tags]).context("explain")?;
    // What the agent says of its workloads is brought up to date once a second.
    let mut last = None;
    let asked = wait::until_true("explain --agent", SOON, || {
        last = explain(&["--agent", "--workload", SERVICE]).err();
        Ok(last.is_none())
    });
    match (asked, last) {
        (Err(_), Some(error)) => Err(error.context("explain --agent")),
        (asked, _) => asked,
    }
}

/// An agent with a folder of resources, for which the examples' host is here.
fn start(site: &Site<'_>, name: &str, folder: &Path) -> Result<Node> {
    let hosts = site.places.out.join("policy-hosts");
    fs::write(&hosts, HOSTS)?;
    let words = ["--resources".as_ref(), folder.as_os_str()];
    Node::start(site.nodespan, name, words, Some(&hosts), &site.places.out)
}
