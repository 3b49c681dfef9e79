//! What encoding a span costs, beside the crates that others use
//! (`agent/benches/encoders`): no guest is needed for that.

use std::fmt;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::limits::Check;
use crate::{sh, workspace::Workspace};

/// Of our time for a span to the rival's: at least twice as fast.
const RATIO: f64 = 0.5;

/// Every encoding that was measured, and the rivals.
#[derive(Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Encoders(Vec<Encoder>);

/// One of them.
#[derive(Debug, Serialize, Deserialize)]
struct Encoder {
    name: String,
    /// None of a rival.
    rival: Option<String>,
    /// Time for a span, to the rival's.
    ratio: Option<f64>,
    /// On one core.
    spans_per_second: f64,
    nanos_per_span: f64,
    bytes_per_span: f64,
}

/// Measures all of them in one process.
///
/// # Errors
/// If the benchmark does not build or fails.
pub(super) fn measure(workspace: &Workspace, quick: bool) -> Result<Encoders> {
    let mut cargo = workspace.cargo();
    cargo.args(["bench", "--quiet", "-p", "nodespan", "--bench", "encoders"]);
    cargo.args(["--", "--json"]);
    if quick {
        cargo.arg("--quick");
    }
    let text = sh::step("measuring encoders", || sh::capture(&mut cargo))?;
    let encoders: Encoders =
        serde_json::from_str(&text).with_context(|| format!("reading {text}"))?;
    encoders.must_be_all()?;
    Ok(encoders)
}

/// What has to be measured; an encoding that is left out would keep every
/// limit.
const ALL: [&str; 6] = [
    "zipkin-json",
    "zipkin-proto",
    "zipkin-v1-json",
    "zipkin-v1-thrift",
    "otlp",
    "jaeger-compact",
];

impl Encoders {
    fn must_be_all(&self) -> Result<()> {
        for name in ALL {
            let measured = self.ours().any(|encoder| encoder.name == name);
            ensure!(measured, "{name} was not measured");
        }
        Ok(())
    }

    fn ours(&self) -> impl Iterator<Item = &Encoder> {
        self.0.iter().filter(|encoder| encoder.rival.is_some())
    }

    /// Whether every limit is kept.
    pub(super) fn are_fine(&self) -> bool {
        self.checks().iter().all(|check| check.fine)
    }

    /// Each of ours with its limit.
    pub(super) fn checks(&self) -> Vec<Check> {
        self.ours()
            .map(|encoder| Check {
                what: "encoding a span, to its rival",
                figure: encoder.ratio,
                limit: RATIO,
                unit: "times",
                fine: encoder.ratio.is_some_and(|ratio| ratio <= RATIO),
                note: format!(
                    "{} to {}",
                    encoder.name,
                    encoder.rival.as_deref().unwrap_or_default()
                ),
            })
            .collect()
    }
}

impl fmt::Display for Encoders {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "\n{:<30} {:>14} {:>16} {:>10} {:>10}",
            "encoding, on one core", "spans/s", "ns a span", "bytes", "to rival"
        )?;
        for encoder in &self.0 {
            write!(
                f,
                "{:<30} {:>14.0} {:>16.0} {:>10.0}",
                encoder.name,
                encoder.spans_per_second,
                encoder.nanos_per_span,
                encoder.bytes_per_span
            )?;
            match encoder.ratio {
                Some(ratio) => writeln!(f, " {ratio:>10.2}")?,
                None => writeln!(f)?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Two of ours beside one rival.
    pub(in crate::bench) fn measured(ratios: [Option<f64>; 2]) -> Encoders {
        let encoder = |name: &str, rival: Option<&str>, ratio| Encoder {
            name: name.to_owned(),
            rival: rival.map(str::to_owned),
            ratio,
            spans_per_second: 1e6,
            nanos_per_span: 1e3,
            bytes_per_span: 500.0,
        };
        Encoders(vec![
            encoder("otlp", Some("theirs"), ratios[0]),
            encoder("jaeger", Some("theirs"), ratios[1]),
            encoder("theirs", None, None),
        ])
    }

    #[test]
    fn half_the_time_is_fine_and_more_is_not() {
        let fine = |ratios| {
            measured(ratios)
                .checks()
                .iter()
                .map(|c| c.fine)
                .collect::<Vec<_>>()
        };
        assert_eq!(fine([Some(0.1), Some(0.5)]), [true, true]);
        assert_eq!(fine([Some(0.51), None]), [false, false]);
    }

    #[test]
    fn an_encoding_that_was_not_measured_is_missed() {
        let error = measured([Some(0.1); 2]).must_be_all().unwrap_err();
        assert!(error.to_string().contains("zipkin-json"), "{error}");
        let encoder = |name: &&str| Encoder {
            name: (*name).to_owned(),
            rival: Some("theirs".to_owned()),
            ratio: Some(0.1),
            spans_per_second: 1e6,
            nanos_per_span: 1e3,
            bytes_per_span: 500.0,
        };
        Encoders(ALL.iter().map(encoder).collect())
            .must_be_all()
            .unwrap();
    }

    #[test]
    fn the_benchmarks_output_is_read() {
        let text = r#"[{"name": "otlp", "rival": "theirs", "ratio": 0.25, "spans_per_second": 4e6,
            "nanos_per_span": 250.0, "bytes_per_span": 700.5},
            {"name": "theirs", "rival": null, "ratio": null, "spans_per_second": 1e6,
            "nanos_per_span": 1000.0, "bytes_per_span": 710.0}]"#;
        let encoders: Encoders = serde_json::from_str(text).unwrap();
        assert_eq!(encoders.checks().len(), 1);
        assert!(encoders.checks()[0].note.contains("otlp to theirs"));
        assert!(encoders.to_string().contains("4000000"));
    }
}
