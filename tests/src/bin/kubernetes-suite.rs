//! `kubernetes-suite --out DIR [--only NAME]…`: what is shown with a real
//! Kubernetes API, on any machine.
//!
//! The agent is `NODESPAN_BIN`, the API `NODESPAN_KUBERNETES`
//! (`cargo xtask test` sets them, `cargo xtask serve --kubernetes` prints it).

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use nodespan_tests::kubernetes::{self, Cluster};
use nodespan_tests::report::Report;

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
            other => bail!("unknown argument {other}"),
        }
    }
    let out = out.context("--out DIR is needed")?;
    std::fs::create_dir_all(&out)?;
    let nodespan = std::env::var_os("NODESPAN_BIN").context("NODESPAN_BIN is not set")?;
    let places = std::env::var("NODESPAN_KUBERNETES").context("NODESPAN_KUBERNETES is not set")?;
    let cluster = Cluster::new(&places)?;
    let mut report = Report::new(only);
    kubernetes::run(&mut report, &PathBuf::from(nodespan), &cluster, &out);
    Ok(if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
