//! `suites policy --out DIR [--kernel NAME] [--only NAME]… [--except NAME]…`: policies,
//! configuration and the resource API, end to end. Needs root and a kernel that
//! can run the probes.
//!
//! The agent is `NODESPAN_BIN`, two Zipkin servers `NODESPAN_ZIPKIN` and
//! `NODESPAN_ZIPKIN_2` (`cargo xtask test` sets all three). The second must be
//! used by nobody else.

use anyhow::Result;
use nodespan_tests::policy;
use nodespan_tests::report::Report;
use nodespan_tests::suite::{self, Arguments, needed};
use nodespan_tests::zipkin::Zipkin;

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let nodespan = suite::agent()?;
    let zipkins = [
        Zipkin::new(&needed("NODESPAN_ZIPKIN")?)?,
        Zipkin::new(&needed("NODESPAN_ZIPKIN_2")?)?,
    ];
    report.note(&format!("suites policy on kernel {}", arguments.kernel));
    policy::run(report, &arguments.places(), &nodespan, &zipkins)?;
    Ok(())
}
