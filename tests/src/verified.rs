//! The programs are no bigger than recorded: `verified/` of the guest suite.
//!
//! The verifier's work grows faster than a program, and has an end at a
//! million instructions; so growth is to be seen in review, where the record
//! (`data/verified-instructions.json`) changes with the program.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::report::{Report, Verdict};
use crate::wrong::has_kprobes;

const RECORD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/data/verified-instructions.json"
);
/// Percent that other compilers may add.
const TOLERANCE: u64 = 15;

/// Compares what this kernel says of the programs with what is recorded.
///
/// # Errors
/// If the record cannot be read.
pub fn run(report: &mut Report, nodespan: &Path, kernel: &str) -> Result<()> {
    if !report.wants("verified/") {
        return Ok(());
    }
    let text = std::fs::read_to_string(RECORD).with_context(|| format!("reading {RECORD}"))?;
    let record: Value = serde_json::from_str(&text).with_context(|| format!("reading {RECORD}"))?;
    let modes: [(&str, &[&str]); 2] = [("fentry", &[]), ("kprobe", &["--force-kprobes"])];
    for (mode, arguments) in modes {
        report.check(&format!("verified/{mode}"), || {
            if mode == "kprobe" && !has_kprobes() {
                return Ok(Verdict::Skipped("this kernel has no kprobes".to_owned()));
            }
            let Some(recorded) = record.get(kernel) else {
                return Ok(Verdict::Skipped(format!(
                    "nothing is recorded for kernel {kernel}"
                )));
            };
            compare(kernel, recorded, &ask(nodespan, arguments)?)?;
            Ok(Verdict::Passed)
        });
    }
    Ok(())
}

fn ask(nodespan: &Path, arguments: &[&str]) -> Result<Value> {
    let output = Command::new(nodespan)
        .args(["probe", "--output", "json"])
        .args(arguments)
        .output()?;
    ensure!(
        output.status.success(),
        "nodespan probe: {}",
        String::from_utf8_lossy(&output.stderr).trim()
    );
    serde_json::from_slice(&output.stdout).context("reading what nodespan probe prints")
}

/// Fails if a program has grown, or is not on record.
fn compare(kernel: &str, recorded: &Value, now: &Value) -> Result<()> {
    let counted = recorded["counted"].as_str().unwrap_or_default();
    let key = match counted {
        "verified" => "verified_instructions",
        "translated" => "instructions",
        other => bail!("the record counts `{other}` instructions"),
    };
    let programs = now["programs"].as_array().context("no programs")?;
    ensure!(!programs.is_empty(), "no programs");
    for program in programs {
        let name = program["name"].as_str().context("a program has no name")?;
        let count = program[key]
            .as_u64()
            .with_context(|| format!("this kernel does not tell the {key} of {name}"))?;
        let Some(before) = recorded["programs"][name].as_u64() else {
            bail!(
                "{name} has {count} {counted} instructions on {kernel} and is not on record: run `cargo xtask gen verified`"
            );
        };
        ensure!(
            count * 100 <= before * (100 + TOLERANCE),
            "{name} has grown from {before} to {count} {counted} instructions on {kernel}, by more than {TOLERANCE} %: if that is meant, run `cargo xtask gen verified`"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn growth_is_named() {
        let recorded = json!({"counted": "verified", "programs": {"close": 100}});
        let now = |name: &str, count: u64| {
            let now = json!({"programs": [{"name": name, "verified_instructions": count}]});
            compare("6.1", &recorded, &now)
                .err()
                .map(|error| error.to_string())
        };
        assert_eq!(now("close", 115), None);
        assert_eq!(now("close", 10), None);
        assert_eq!(
            now("close", 116).unwrap(),
            "close has grown from 100 to 116 verified instructions on 6.1, by more than 15 %: if that is meant, run `cargo xtask gen verified`"
        );
        assert_eq!(
            now("open", 1).unwrap(),
            "open has 1 verified instructions on 6.1 and is not on record: run `cargo xtask gen verified`"
        );
    }

    #[test]
    fn old_kernels_are_judged_by_size() {
        let recorded = json!({"counted": "translated", "programs": {"close": 100}});
        let now = |count: u64| json!({"programs": [{"name": "close", "verified_instructions": null, "instructions": count}]});
        assert!(compare("5.10", &recorded, &now(100)).is_ok());
        assert!(compare("5.10", &recorded, &now(200)).is_err());
        assert!(compare("5.10", &recorded, &json!({"programs": []})).is_err());
    }

    #[test]
    fn every_kernel_is_on_record() {
        let record: Value =
            serde_json::from_str(&std::fs::read_to_string(RECORD).unwrap()).unwrap();
        for kernel in ["5.10", "6.1", "6.12", "7"] {
            let programs = record[kernel]["programs"].as_object().unwrap();
            assert!(programs.contains_key("send_exit") && programs.contains_key("kprobe_close"));
        }
    }
}
