//! Wrong files while the agent runs: it says what is wrong and goes on with
//! what it had; a good file counts again.

use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use super::node::{Node, SOON, replace};
use super::scene::{FIRST, Site, arrived, dataplane, mesh, policy, until_traced};
use crate::report::{Report, Verdict};
use crate::wait;

const SERVICE: &str = "policy-wrong";
const TOML: &str = "[admin]\napiTokenFile = \"token\"\n";

/// Name of the check, the file that is wrong, its text, and what is said.
const WRONG: [(&str, &str, &str, &str); 8] = [
    (
        "toml-key",
        "nodespan.toml",
        "[agent]\nnodee = \"a\"\n",
        "nodee",
    ),
    (
        "toml-sampler",
        "nodespan.toml",
        "[tracing]\nbackend = \"jaeger\"\n[tracing.jaeger]\nsamplingType = \"probabilistic\"\n\
         samplingParam = 2.0\n",
        "samplingParam",
    ),
    ("no-toml", "nodespan.toml", "[agent\n", "nodespan.toml"),
    (
        "mesh-url",
        "resources/mesh.yaml",
        "type: Mesh\nname: default\ntracing: {backends: [{name: a, type: zipkin, conf: {url: 'http://zipkin-us.local/v2/spans'}}]}\n",
        "port has to be explicitly specified",
    ),
    (
        "selector",
        "resources/policy.yaml",
        "type: TrafficTrace\nmesh: default\nname: all\nselectors: []\nconf: {backend: a}\n",
        "must have at least one element",
    ),
    (
        "dataplane-address",
        "resources/dataplane.yaml",
        "type: Dataplane\nmesh: default\nname: d\nnetworking: {address: 0.0.0.0, inbound: [{port: 1, tags: {kuma.io/service: s}}]}\n",
        "must not be 0.0.0.0 or ::",
    ),
    (
        "twice",
        "resources/more.yaml",
        "type: Mesh\nname: default\n",
        "is there twice",
    ),
    (
        "no-yaml",
        "resources/more.yaml",
        "type: [Mesh\n",
        "more.yaml",
    ),
];

pub(super) fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let server = site.server("policy-wrong", FIRST + 2)?;
    let folder = site.folder("policy-wrong")?;
    let spare = site.places.out.join("policy-spare");
    let [first, second] = site.zipkins;
    fs::create_dir(folder.join("resources"))?;
    let backends = mesh(&[("a", &first.spans_url()), ("b", &second.spans_url())]);
    let to = |backend| policy("all", "kuma.io/service: '*'", backend);
    for (file, text) in [
        ("nodespan.toml", TOML.to_owned()),
        ("token", "0123456789abcdef".to_owned()),
        ("resources/mesh.yaml", backends),
        ("resources/policy.yaml", to("a")),
        (
            "resources/dataplane.yaml",
            dataplane(server.addr, SERVICE, "kuma.io/protocol: http"),
        ),
    ] {
        fs::write(folder.join(file), text)?;
    }
    let at = |file: &str| folder.join(file).display().to_string();
    let words = [
        "--config",
        &at("nodespan.toml"),
        "--resources",
        &at("resources"),
    ];
    let agent = site.agent("policy-wrong", &words)?;
    let mut traces = server.ask(2)?;
    for (name, file, text, says) in WRONG {
        report.check(&format!("wrong-files/{name}"), || {
            let file = folder.join(file);
            let before = fs::read_to_string(&file).ok();
            replace(&file, text, &spare)?;
            let judged = refused(&agent, says);
            let asked = server.ask(2);
            match before {
                Some(text) => replace(&file, &text, &spare)?,
                None => fs::remove_file(&file)?,
            }
            accepted(&agent)?;
            judged?;
            traces.extend(asked?);
            Ok(Verdict::Passed)
        });
    }
    report.check("wrong-files/old-state-goes-on", || {
        arrived(first, &traces, &[SERVICE])?;
        Ok(Verdict::Passed)
    });
    report.check("wrong-files/good-file-counts", || {
        replace(&folder.join("resources/policy.yaml"), &to("b"), &spare)?;
        until_traced(second, &server, SERVICE)?;
        let traces = server.ask(2)?;
        arrived(second, &traces, &[SERVICE])?;
        super::scene::nothing(first, &traces)?;
        Ok(Verdict::Passed)
    });
    report.check("wrong-files/sighup", || {
        hangup(&agent, &folder, &spare)?;
        Ok(Verdict::Passed)
    });
    let stopped = agent.stop();
    report.check("wrong-files/ledger-at-end", || {
        stopped.map(|()| Verdict::Passed)
    });
    Ok(())
}

/// The status and the log say what is wrong.
fn refused(agent: &Node, says: &str) -> Result<()> {
    let mut last = String::new();
    let told = wait::until_true("the status to say it", SOON, || {
        let status = agent.status()?;
        let refused = &status["configuration"]["refused"];
        last = refused.as_str().unwrap_or_default().to_owned();
        Ok(last.contains(says))
    });
    told.with_context(|| format!("no {says:?} in {last:?}"))?;
    let said = agent.said();
    let logged = said.split("the configuration stays as it was").skip(1);
    ensure!(
        logged.last().is_some_and(|text| text.contains(says)),
        "no {says:?} in the log"
    );
    Ok(())
}

fn accepted(agent: &Node) -> Result<()> {
    wait::until_true("the files to be right again", SOON, || {
        Ok(agent.status()?["configuration"]["refused"].is_null())
    })
}

/// A file that only the configuration names is not watched; SIGHUP reads it.
fn hangup(agent: &Node, folder: &Path, spare: &Path) -> Result<()> {
    let notices = || agent.count_said("[admin] has changed");
    replace(&folder.join("token"), "fedcba9876543210", spare)?;
    // Longer than the watch takes for a change, and for its second look.
    std::thread::sleep(Duration::from_secs(3));
    ensure!(notices() == 0, "it was read without being asked");
    agent.signal(Signal::HUP);
    wait::until_true("SIGHUP to be heard", SOON, || Ok(notices() == 1))
}
