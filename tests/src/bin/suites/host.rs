//! `suites host --out DIR [--only NAME]…`: what needs neither root nor probes.
//!
//! The agent is `NODESPAN_BIN`, a Zipkin server `NODESPAN_ZIPKIN`, a Jaeger
//! `NODESPAN_JAEGER`, a Zipkin to start and to kill `NODESPAN_ZIPKIN_JAR`
//! (`cargo xtask test` sets them).

use std::path::PathBuf;

use anyhow::Result;
use nodespan_tests::backends::{self, Servers};
use nodespan_tests::report::Report;
use nodespan_tests::suite::{self, Arguments};
use nodespan_tests::{host, policies};

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    let (nodespan, out) = (suite::agent()?, &arguments.out);
    let zipkin = std::env::var("NODESPAN_ZIPKIN").ok();
    let jaeger = std::env::var("NODESPAN_JAEGER").ok();
    host::run(report, &nodespan, zipkin.as_deref(), out);
    policies::run(report, &nodespan, out)?;
    let servers = Servers::new(zipkin.as_deref(), jaeger.as_deref());
    let jar = std::env::var_os("NODESPAN_ZIPKIN_JAR").map(PathBuf::from);
    backends::run(report, &nodespan, servers, jar.as_deref(), out);
    Ok(())
}
