//! `policy-suite --out DIR [--kernel NAME] [--only NAME]… [--except NAME]…`: policies,
//! configuration and the resource API, end to end. Needs root and a kernel that
//! can run the probes.
//!
//! The agent is `NODESPAN_BIN`, two Zipkin servers `NODESPAN_ZIPKIN` and
//! `NODESPAN_ZIPKIN_2` (`cargo xtask test` sets all three). The second must be
//! used by nobody else.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use nodespan_tests::policy;
use nodespan_tests::report::Report;
use nodespan_tests::targets::Places;
use nodespan_tests::zipkin::Zipkin;

fn main() -> Result<ExitCode> {
    let mut places = Places {
        scenarios: concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios").into(),
        programs: env!("OUT_DIR").into(),
        out: PathBuf::new(),
        envoy: None,
    };
    let mut kernel = "unknown".to_owned();
    let (mut only, mut except) = (Vec::new(), Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--out" => places.out = std::path::absolute(value)?,
            "--kernel" => kernel = value,
            "--only" => only.push(value),
            "--except" => except.push(value),
            other => bail!("unknown argument {other}"),
        }
    }
    if places.out.as_os_str().is_empty() {
        bail!("--out DIR is needed");
    }
    std::fs::create_dir_all(&places.out)?;
    let set = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let nodespan = PathBuf::from(set("NODESPAN_BIN")?);
    let zipkins = [
        Zipkin::new(&set("NODESPAN_ZIPKIN")?)?,
        Zipkin::new(&set("NODESPAN_ZIPKIN_2")?)?,
    ];
    let mut report = Report::new(only);
    report.leave_out(except);
    report.note(&format!("policy-suite on kernel {kernel}"));
    policy::run(&mut report, &places, &nodespan, &zipkins)?;
    Ok(if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
