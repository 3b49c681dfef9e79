//! `pods-suite --out DIR --kernel NAME [--only NAME]…`: pods of a real container
//! runtime, with the agent in one of its own. Needs a guest: root, cgroup v2,
//! and a machine on which namespaces, addresses and rules may stay.
//!
//! The API is `NODESPAN_KUBERNETES`, spans go to `NODESPAN_ZIPKIN`, the runtime's packages are unpacked in
//! `NODESPAN_RUNTIME`, the agent's image is `NODESPAN_IMAGE`, a root file
//! system's archive (`cargo xtask test` sets them).

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use nodespan_tests::kubernetes::{self, Cluster, PodsSite};
use nodespan_tests::report::Report;
use nodespan_tests::targets::Places;
use nodespan_tests::zipkin::Zipkin;

/// Pods that come and go, where all of them do.
const ALL: usize = 1000;
/// Elsewhere.
const SOME: usize = 50;
/// The kernel that has all.
const THOROUGH: &str = "6.12";

fn main() -> Result<ExitCode> {
    let (mut out, mut kernel, mut only) = (None, None, Vec::new());
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words
            .next()
            .with_context(|| format!("{word} needs a value"))?;
        match word.as_str() {
            "--out" => out = Some(std::path::absolute(value)?),
            "--only" => only.push(value),
            "--kernel" => kernel = Some(value),
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
    let kernel = kernel.context("--kernel NAME is needed")?;
    let variable = |name: &str| std::env::var(name).with_context(|| format!("{name} is not set"));
    let site = PodsSite {
        kernel: &kernel,
        cluster: &Cluster::new(&variable("NODESPAN_KUBERNETES")?)?,
        places: &places,
        packages: &PathBuf::from(variable("NODESPAN_RUNTIME")?),
        zipkin: &Zipkin::new(&variable("NODESPAN_ZIPKIN")?)?,
        image: &PathBuf::from(variable("NODESPAN_IMAGE")?),
        churns: if kernel == THOROUGH { ALL } else { SOME },
    };
    let mut report = Report::new(only);
    if let Err(error) = kubernetes::run_pods(&mut report, &site) {
        report.result("pods", Err(error));
    }
    Ok(if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
