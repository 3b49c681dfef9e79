//! `host-suite --out DIR [--only NAME]…`: what needs neither root nor probes.
//!
//! The agent is `NODESPAN_BIN`, a Zipkin server `NODESPAN_ZIPKIN`, a Jaeger
//! `NODESPAN_JAEGER`, a Zipkin to start and to kill `NODESPAN_ZIPKIN_JAR`
//! (`cargo xtask test` sets them).

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use nodespan_tests::backends::{self, Servers};
use nodespan_tests::report::Report;
use nodespan_tests::{host, policies};

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
    let zipkin = std::env::var("NODESPAN_ZIPKIN").ok();
    let jaeger = std::env::var("NODESPAN_JAEGER").ok();
    let nodespan = PathBuf::from(nodespan);
    let mut report = Report::new(only);
    host::run(&mut report, &nodespan, zipkin.as_deref(), &out);
    policies::run(&mut report, &nodespan, &out)?;
    let servers = Servers::new(zipkin.as_deref(), jaeger.as_deref());
    let jar = std::env::var_os("NODESPAN_ZIPKIN_JAR").map(PathBuf::from);
    backends::run(&mut report, &nodespan, servers, jar.as_deref(), &out);
    Ok(if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
