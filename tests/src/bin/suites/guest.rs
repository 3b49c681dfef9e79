//! `suites guest`: the whole suite on the kernel it runs on. Needs root.
//!
//! `suites guest --out DIR [--kernel NAME] [--only NAME]… [--except NAME]…`
//!
//! The agent is `NODESPAN_BIN`, Envoy `NODESPAN_ENVOY`, a Zipkin server
//! `NODESPAN_ZIPKIN`, a Jaeger `NODESPAN_JAEGER` (`cargo xtask test` sets them). Without an agent the
//! traffic alone is judged: no kernel feature is needed for that.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use nodespan_tests::backends::Servers;
use nodespan_tests::report::Report;
use nodespan_tests::suite::Arguments;
use nodespan_tests::targets::Places;
use nodespan_tests::zipkin::Zipkin;
use nodespan_tests::{
    brief, contained, everywhere, full, handed, legacy, narrow, opaque, past, selected, traced,
    traffic, verified, workloads, wrong,
};

pub(crate) fn run(arguments: &Arguments, report: &mut Report) -> Result<()> {
    report.note(&format!("suites guest on kernel {}", arguments.kernel));
    let nodespan = std::env::var_os("NODESPAN_BIN").map(PathBuf::from);
    let (places, nodespan) = (&arguments.places(), nodespan.as_ref());
    if let Err(error) = traffic::run(report, places, nodespan) {
        report.result("traffic", Err(error));
    }
    let zipkin = std::env::var("NODESPAN_ZIPKIN").context("NODESPAN_ZIPKIN is not set");
    let traced = zipkin
        .and_then(|url| Zipkin::new(&url))
        .and_then(|zipkin| traced::run(report, places, nodespan, &zipkin));
    if let Err(error) = traced {
        report.result("traced", Err(error));
    }
    if let Some(nodespan) = nodespan {
        let zipkin = std::env::var("NODESPAN_ZIPKIN").ok();
        let jaeger = std::env::var("NODESPAN_JAEGER").ok();
        let everywhere = Servers::new(zipkin.as_deref(), jaeger.as_deref())
            .and_then(|servers| everywhere::run(report, places, nodespan, &servers));
        if let Err(error) = everywhere {
            report.result("everywhere", Err(error));
        }
        let contained = zipkin
            .as_deref()
            .context("NODESPAN_ZIPKIN is not set")
            .and_then(|url| contained::run(report, nodespan, places, url));
        if let Err(error) = contained {
            report.result("contained", Err(error));
        }
        type Run = fn(&mut Report, &Path, &Places) -> Result<()>;
        let parts: [(&str, Run); 9] = [
            ("narrow", narrow::run),
            ("selected", selected::run),
            ("past", past::run),
            ("opaque", opaque::run),
            ("full", full::run),
            ("workloads", workloads::run),
            ("handed", handed::run),
            ("brief", brief::run),
            ("legacy", legacy::run),
        ];
        for (name, run) in parts {
            if let Err(error) = run(report, nodespan, places) {
                report.result(name, Err(error));
            }
            report.note(&format!("{name} is done"));
        }
        if let Err(error) = wrong::run(report, nodespan, &places.out) {
            report.result("wrong", Err(error));
        }
        if let Err(error) = verified::run(report, nodespan, places, &arguments.kernel) {
            report.result("verified", Err(error));
        }
    }
    Ok(())
}
