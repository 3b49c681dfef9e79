//! The resource API: what is applied counts at once, and after a `kill -9`.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::node::Node;
use super::scene::{FIRST, Server, Site, arrived, dataplane, mesh, nothing, policy, until_traced};
use crate::children;
use crate::children::command;
use crate::report::{Report, Verdict};

const SERVICE: &str = "policy-api";
/// What was applied counts after this time at the latest, together with the
/// delivery of the first span and the server's own time to store it.
const AT_ONCE: Duration = Duration::from_secs(5);

pub(super) fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let server = site.server("policy-api", FIRST + 3)?;
    let folder = site.folder("policy-api")?;
    let zipkin = &site.zipkins[0];
    let file = |name: &str, text: &str| -> Result<String> {
        let path = folder.join(name);
        fs::write(&path, text)?;
        Ok(path.display().to_string())
    };
    let toml = file(
        "nodespan.toml",
        "[admin]\napi = true\nstateFolder = \"state\"\n",
    )?;
    let mesh = file("mesh.yaml", &mesh(&[("main", &zipkin.spans_url())]))?;
    let policy = file(
        "policy.yaml",
        &policy("all", "kuma.io/service: '*'", "main"),
    )?;
    let own = dataplane(server.addr, SERVICE, "kuma.io/protocol: http");
    let own = file("dataplane.yaml", &own)?;
    let start = |name: &str| site.agent(name, &["--config", &toml]);
    let nodespan = |words: &[&str]| cli(site.nodespan, words);

    let agent = start("policy-api")?;
    report.check("api/apply", || {
        let before = server.ask(2)?;
        nodespan(&["apply", "-f", &mesh, "-f", &policy, "-f", &own])?;
        let took = until_traced(zipkin, &server, SERVICE)?;
        ensure!(took <= AT_ONCE, "it took {} ms", took.as_millis());
        let traces = server.ask(3)?;
        arrived(zipkin, &traces, &[SERVICE])?;
        nothing(zipkin, &before)?;
        Ok(Verdict::Passed)
    });
    report.check("api/get", || {
        shown(&nodespan)?;
        Ok(Verdict::Passed)
    });
    report.check("api/delete", || {
        deleted(&agent, &server, &nodespan)?;
        let traces = server.ask(3)?;
        nodespan(&["apply", "-f", &policy])?;
        until_traced(zipkin, &server, SERVICE)?;
        nothing(zipkin, &traces)?;
        Ok(Verdict::Passed)
    });
    report.check("api/own-traffic", || {
        own_traffic(&agent)?;
        Ok(Verdict::Passed)
    });
    report.check("api/kill-9", || {
        agent.kill()?;
        let agent = start("policy-api-again")?;
        shown(&nodespan)?;
        let traces = server.ask(3)?;
        arrived(zipkin, &traces, &[SERVICE])?;
        own_traffic(&agent)?;
        agent.terminate()?;
        Ok(Verdict::Passed)
    });
    Ok(())
}

fn cli(nodespan: &Path, words: &[&str]) -> Result<String> {
    children::run(command([nodespan]).args(words), Duration::from_secs(30))
}

/// All three resources are there.
fn shown(nodespan: &impl Fn(&[&str]) -> Result<String>) -> Result<()> {
    for (words, says) in [
        (&["get", "meshes", "-o", "json"][..], "\"main\""),
        (
            &["get", "traffic-trace", "all", "-o", "yaml"],
            "backend: main",
        ),
        (&["get", "dataplanes"], "policy-api-1"),
    ] {
        let said = nodespan(words)?;
        ensure!(said.contains(says), "{words:?} said {said:?}");
    }
    Ok(())
}

/// Without the policy, requests are counted and not traced.
fn deleted(
    agent: &Node,
    server: &Server,
    nodespan: &impl Fn(&[&str]) -> Result<String>,
) -> Result<()> {
    nodespan(&["delete", "traffic-trace", "all"])?;
    crate::wait::until_true("the policy to be gone", super::node::SOON, || {
        server.ask(1)?;
        Ok(agent.ledger("/exchanges/not_selected/no_policy")? > 0)
    })
}

/// The agent's own connections, deliveries and answers of the API are in no
/// account. Its command line is another process, which is seen and denies.
fn own_traffic(agent: &Node) -> Result<()> {
    let status = agent.status()?;
    let opaque = &status["ledger"]["opaque"];
    ensure!(
        opaque.get("nodespan").is_none(),
        "the agent counts itself: {opaque}"
    );
    let traced = &status["workloads"]["nodespan"]["traced"];
    ensure!(traced != true, "the agent is traced: {status}");
    Ok(())
}
