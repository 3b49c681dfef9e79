//! `suites kubernetes --out DIR [--only NAME]…`: what is shown with a real
//! Kubernetes API, on any machine.
//!
//! The agent is `NODESPAN_BIN`, the API `NODESPAN_KUBERNETES`
//! (`cargo xtask test` sets them, `cargo xtask serve --kubernetes` prints it).

use anyhow::Result;
use nodespan_tests::kubernetes::{self, Cluster};
use nodespan_tests::report::Report;
use nodespan_tests::suite::{self, Arguments};

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let nodespan = suite::agent()?;
    let cluster = Cluster::new(&suite::needed("NODESPAN_KUBERNETES")?)?;
    kubernetes::run(report, &nodespan, &cluster, &arguments.out);
    Ok(())
}
