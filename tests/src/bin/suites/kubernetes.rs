//! `suites kubernetes --out DIR [--only NAME]…`: what is shown with a real
//! Kubernetes API, on any machine.
//!
//! The agent is `NODESPAN_BIN`, the API `NODESPAN_KUBERNETES`
//! (`cargo xtask test` sets them, `cargo xtask serve --kubernetes` prints it).

use std::process::ExitCode;

use anyhow::Result;
use nodespan_tests::kubernetes::{self, Cluster};
use nodespan_tests::suite::{self, Arguments};

pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    let nodespan = suite::agent()?;
    let cluster = Cluster::new(&suite::needed("NODESPAN_KUBERNETES")?)?;
    let mut report = arguments.report();
    kubernetes::run(&mut report, &nodespan, &cluster, &arguments.out);
    Ok(suite::finish(&report))
}
