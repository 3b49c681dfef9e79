//! `node-suite --out DIR [--kernel NAME] [--only NAME]…`: the agent on a node
//! of a Kubernetes cluster. Needs root, and cgroup v2.
//!
//! The agent is `NODESPAN_BIN`, the API `NODESPAN_KUBERNETES`
//! (`cargo xtask test` sets them).

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use nodespan_tests::kubernetes::{self, Cluster};
use nodespan_tests::report::Report;
use nodespan_tests::targets::Places;

fn main() -> Result<ExitCode> {
    let (mut out, mut only) = (None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--out" => out = Some(std::path::absolute(value)?),
            "--only" => only.push(value),
            "--kernel" => {}
            other => bail!("unknown argument {other}"),
        }
    }
    let places = Places {
        scenarios: concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios").into(),
        programs: env!("OUT_DIR").into(),
        out: out.context("--out DIR is needed")?,
        envoy: None,
    };
    std::fs::create_dir_all(&places.out)?;
    let nodespan = std::env::var_os("NODESPAN_BIN").context("NODESPAN_BIN is not set")?;
    let cluster = std::env::var("NODESPAN_KUBERNETES").context("NODESPAN_KUBERNETES is not set")?;
    let cluster = Cluster::new(&cluster)?;
    let mut report = Report::new(only);
    let run = kubernetes::run_node(&mut report, &PathBuf::from(nodespan), &cluster, &places);
    if let Err(error) = run {
        report.result("node", Err(error));
    }
    Ok(if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
