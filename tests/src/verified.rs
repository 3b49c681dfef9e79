//! The programs are no bigger than recorded: `verified/` of the guest suite.
//!
//! The verifier's work grows faster than a program, and has an end at a
//! million instructions; so growth is to be seen in review, where the record
//! (`data/verified-instructions.json`) changes with the program. And debug
//! messages cost nothing where nobody asked for them.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::report::{Report, Verdict};
use crate::targets::{self, PORTS, Places};
use crate::wait;
use crate::wrong::has_kprobes;

const RECORD: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/data/verified-instructions.json"
);
/// Percent that other compilers may add.
const TOLERANCE: u64 = 15;

/// Port of the server that gives the programs something to tell.
const PORT: u16 = PORTS + 120;

/// Functions whose programs have debug messages.
const TALKATIVE: [&str; 3] = ["tcp_sendmsg", "tcp_recvmsg", "tcp_sendpage"];

/// Compares what this kernel says of the programs with what is recorded, and
/// both objects with each other.
///
/// # Errors
/// If the record cannot be read.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places, kernel: &str) -> Result<()> {
    if !report.wants("verified/") {
        return Ok(());
    }
    report.check("verified/messages-cost-nothing", || {
        let plain = counts(&ask(nodespan, &[])?)?;
        messages(&plain, &counts(&ask(nodespan, &["--kernel-log"])?)?)?;
        Ok(Verdict::Passed)
    });
    report.check("verified/messages", || talk(nodespan, places));
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

/// With `--kernel-log` the programs say what they do, without it nothing.
fn talk(nodespan: &Path, places: &Places) -> Result<Verdict> {
    let target = targets::origin("messages", PORT)?;
    let said = |name: &str, arguments: &[&str], message: bool| -> Result<()> {
        let mut agent = Agent::start(nodespan, name, arguments, &places.out)?;
        agent.wait_ready(target.addr())?;
        if message {
            let heard = || {
                let said = agent.said();
                Ok(said.contains("tcp_sendmsg returned") && said.contains("tcp_recvmsg returned"))
            };
            wait::until_true("a message", Duration::from_secs(60), heard)?;
        }
        agent.stop()?;
        let silent = !agent.said().contains("tcp_sendmsg returned");
        ensure!(silent != message, "messages that nobody asked for");
        Ok(())
    };
    said("messages", &["-v", "--kernel-log"], true)?;
    said("no-messages", &["-v"], false)?;
    Ok(Verdict::Passed)
}

/// The instructions of each program and the function it sits on. Not those that
/// the verifier went through: it may find the shorter way through the longer
/// program.
fn counts(report: &Value) -> Result<BTreeMap<String, (String, u64)>> {
    let programs = report["programs"].as_array().context("no programs")?;
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let each = programs.iter().map(|program| {
        let count = program["instructions"].as_u64().filter(|count| *count > 0);
        let count = count.with_context(|| format!("no count of {program}"))?;
        Ok((text(&program["name"]), (text(&program["function"]), count)))
    });
    each.collect()
}

/// Messages are what the logging object has more, and where there are none it
/// has nothing more: so the usual object has no instruction of them.
fn messages(
    plain: &BTreeMap<String, (String, u64)>,
    logging: &BTreeMap<String, (String, u64)>,
) -> Result<()> {
    ensure!(
        plain.keys().eq(logging.keys()),
        "other programs: {plain:?}, {logging:?}"
    );
    let mut talkative = 0;
    for (name, (function, count)) in plain {
        let with = logging.get(name).map_or(0, |(_, count)| *count);
        if TALKATIVE.contains(&function.as_str()) && name.contains("_exit") {
            talkative += 1;
            ensure!(
                with > *count,
                "{name} has {count} instructions without messages and {with} with them"
            );
        } else {
            ensure!(
                with == *count,
                "{name} has no messages, but {count} and {with} instructions"
            );
        }
    }
    ensure!(talkative >= 2, "only {talkative} programs have messages");
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
    fn messages_must_cost_and_nothing_else() {
        let of = |send: u64, close: u64| {
            let program = |name: &str, function: &str, count: u64| json!({"name": name, "function": function, "instructions": count});
            counts(&json!({"programs": [
                program("send_exit", "tcp_sendmsg", send),
                program("recv_exit_5", "tcp_recvmsg", send),
                program("close", "tcp_close", close),
            ]}))
            .unwrap()
        };
        assert!(messages(&of(10, 5), &of(12, 5)).is_ok());
        assert!(messages(&of(12, 5), &of(12, 5)).is_err());
        assert!(messages(&of(10, 5), &of(12, 6)).is_err());
        assert!(counts(&json!({"programs": [{"name": "close"}]})).is_err());
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
