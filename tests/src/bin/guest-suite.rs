//! `guest-suite`: the whole suite on the kernel it runs on. Needs root.
//!
//! `guest-suite --out DIR [--kernel NAME] [--only NAME]…`
//!
//! The agent is `NODESPAN_BIN`, Envoy `NODESPAN_ENVOY`, a Zipkin server
//! `NODESPAN_ZIPKIN`, a Jaeger `NODESPAN_JAEGER` (`cargo xtask test` sets them). Without an agent the
//! traffic alone is judged: no kernel feature is needed for that.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use nodespan_tests::backends::Servers;
use nodespan_tests::report::Report;
use nodespan_tests::targets::Places;
use nodespan_tests::zipkin::Zipkin;
use nodespan_tests::{
    contained, everywhere, full, handed, identity, legacy, narrow, opaque, past, selected, traced,
    traffic, verified, workloads, wrong,
};

struct Arguments {
    places: Places,
    nodespan: Option<PathBuf>,
    kernel: String,
    only: Vec<String>,
}

fn main() -> Result<ExitCode> {
    let words: Vec<String> = std::env::args().collect();
    if let [_, verb, address, route, dir] = &words[..]
        && verb == "talk"
    {
        identity::client(address, route, Path::new(dir))?;
        return Ok(ExitCode::SUCCESS);
    }
    let arguments = arguments()?;
    std::fs::create_dir_all(&arguments.places.out)?;
    let mut report = Report::new(arguments.only);
    report.note(&format!("guest-suite on kernel {}", arguments.kernel));
    let (places, nodespan) = (&arguments.places, arguments.nodespan.as_ref());
    if let Err(error) = traffic::run(&mut report, places, nodespan) {
        report.result("traffic", Err(error));
    }
    let zipkin = std::env::var("NODESPAN_ZIPKIN").context("NODESPAN_ZIPKIN is not set");
    let traced = zipkin
        .and_then(|url| Zipkin::new(&url))
        .and_then(|zipkin| traced::run(&mut report, places, nodespan, &zipkin));
    if let Err(error) = traced {
        report.result("traced", Err(error));
    }
    if let Some(nodespan) = nodespan {
        let zipkin = std::env::var("NODESPAN_ZIPKIN").ok();
        let jaeger = std::env::var("NODESPAN_JAEGER").ok();
        let everywhere = Servers::new(zipkin.as_deref(), jaeger.as_deref())
            .and_then(|servers| everywhere::run(&mut report, places, nodespan, &servers));
        if let Err(error) = everywhere {
            report.result("everywhere", Err(error));
        }
        let contained = zipkin
            .as_deref()
            .context("NODESPAN_ZIPKIN is not set")
            .and_then(|url| contained::run(&mut report, nodespan, places, url));
        if let Err(error) = contained {
            report.result("contained", Err(error));
        }
        type Run = fn(&mut Report, &Path, &Places) -> Result<()>;
        let parts: [(&str, Run); 8] = [
            ("narrow", narrow::run),
            ("selected", selected::run),
            ("past", past::run),
            ("opaque", opaque::run),
            ("full", full::run),
            ("workloads", workloads::run),
            ("handed", handed::run),
            ("legacy", legacy::run),
        ];
        for (name, run) in parts {
            if let Err(error) = run(&mut report, nodespan, places) {
                report.result(name, Err(error));
            }
            report.note(&format!("{name} is done"));
        }
        if let Err(error) = wrong::run(&mut report, nodespan, &places.out) {
            report.result("wrong", Err(error));
        }
        if let Err(error) = verified::run(&mut report, nodespan, places, &arguments.kernel) {
            report.result("verified", Err(error));
        }
    }
    Ok(if report.finish() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn arguments() -> Result<Arguments> {
    let scenarios = concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios");
    let mut parsed = Arguments {
        places: Places {
            scenarios: scenarios.into(),
            programs: env!("OUT_DIR").into(),
            out: PathBuf::new(),
            envoy: std::env::var_os("NODESPAN_ENVOY").map(PathBuf::from),
        },
        nodespan: std::env::var_os("NODESPAN_BIN").map(PathBuf::from),
        kernel: "unknown".to_owned(),
        only: Vec::new(),
    };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        match word.as_str() {
            "--out" => parsed.places.out = std::path::absolute(value()?)?,
            "--kernel" => parsed.kernel = value()?,
            "--only" => parsed.only.push(value()?),
            other => bail!("unknown argument {other}"),
        }
    }
    if parsed.places.out.as_os_str().is_empty() {
        bail!("--out DIR is needed");
    }
    Ok(parsed)
}
