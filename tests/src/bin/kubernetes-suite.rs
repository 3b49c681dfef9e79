//! `kubernetes-suite --out DIR [--only NAME]…`: what is shown with a real
//! Kubernetes API, on any machine.
//!
//! The agent is `NODESPAN_BIN`, the API `NODESPAN_KUBERNETES`
//! (`cargo xtask test` sets them, `cargo xtask serve --kubernetes` prints it).

use std::process::ExitCode;

use anyhow::Result;
use nodespan_tests::kubernetes::{self, Cluster};
use nodespan_tests::suite::{self, Arguments};

fn main() -> Result<ExitCode> {
    let arguments = Arguments::of_process()?;
    let nodespan = suite::agent()?;
    let cluster = Cluster::new(&suite::needed("NODESPAN_KUBERNETES")?)?;
    let mut report = arguments.report();
    kubernetes::run(&mut report, &nodespan, &cluster, &arguments.out);
    Ok(suite::finish(&report))
}
