//! `suites node --out DIR [--kernel NAME] [--only NAME]… [--except NAME]…`: the agent on a node
//! of a Kubernetes cluster. Needs root, and cgroup v2.
//!
//! The agent is `NODESPAN_BIN`, the API `NODESPAN_KUBERNETES`
//! (`cargo xtask test` sets them).

use anyhow::Result;
use nodespan_tests::kubernetes::{self, Cluster};
use nodespan_tests::report::Report;
use nodespan_tests::suite::{self, Arguments};

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let nodespan = suite::agent()?;
    let cluster = Cluster::new(&suite::needed("NODESPAN_KUBERNETES")?)?;
    let run = kubernetes::run_node(report, &nodespan, &cluster, &arguments.places());
    if let Err(error) = run {
        report.result("node", Err(error));
    }
    Ok(())
}
