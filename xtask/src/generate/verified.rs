//! `cargo xtask gen verified`: what each kernel's verifier goes through.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde_json::{Map, Value, json};

use crate::{build, kernel::Kernel, scratch::ScratchDir, vm::Guest, workspace::Workspace};

/// Writes tests/data/verified-instructions.json anew; `suites guest` compares
/// with it (`tests/src/verified.rs`).
///
/// # Errors
/// If the agent does not build, or does not run in a guest.
pub(super) fn run(kernels: &[Kernel]) -> Result<()> {
    let workspace = Workspace::load()?;
    // The kernel programs are the same in every build of the agent.
    let agent = build::agent(&workspace, false)?;
    let file = workspace.root.join("tests/data/verified-instructions.json");
    let mut all: BTreeMap<Kernel, Value> = match fs::read_to_string(&file) {
        Ok(text) => known(&serde_json::from_str(&text).context("the recorded numbers")?),
        Err(_) => BTreeMap::new(),
    };
    for kernel in kernels {
        let [fentry, kprobe] = probe(*kernel, &agent)?;
        let recorded = record(&[fentry, kprobe])
            .with_context(|| format!("what kernel {kernel} says of the programs"))?;
        println!("{kernel} {recorded}");
        all.insert(*kernel, recorded);
    }
    let object: Map<String, Value> = all
        .into_iter()
        .map(|(kernel, value)| (kernel.name().to_owned(), value))
        .collect();
    let text = format!("{:#}\n", Value::Object(object));
    fs::write(&file, text).with_context(|| format!("writing {}", file.display()))
}

/// What the agent says of its programs on a kernel, with fentry and with
/// kprobes.
fn probe(kernel: Kernel, agent: &Path) -> Result<[Value; 2]> {
    let scratch = ScratchDir::new()?;
    let script = "\
        \"$1\" probe --output json > \"$2/fentry\" && \
        \"$1\" probe --output json --force-kprobes > \"$2/kprobe\"";
    let code = Guest::new(kernel).share(scratch.path()).run(&[
        "sh".into(),
        "-c".into(),
        script.into(),
        "sh".into(),
        agent.as_os_str().to_owned(),
        scratch.path().as_os_str().to_owned(),
    ])?;
    ensure!(
        code == 0,
        "the probes do not run on kernel {kernel} (status {code})"
    );
    let read = |name: &str| -> Result<Value> {
        let text = fs::read_to_string(scratch.path().join(name))?;
        serde_json::from_str(&text).context("what the agent printed")
    };
    Ok([read("fentry")?, read("kprobe")?])
}

/// One kernel's part of the file.
fn record(reports: &[Value]) -> Result<Value> {
    let programs: Vec<&Value> = reports
        .iter()
        .filter_map(|report| report["programs"].as_array())
        .flatten()
        .collect();
    // `bpf_prog_info.verified_insns` came with 5.16.
    let told = programs
        .iter()
        .all(|one| one["verified_instructions"].is_u64());
    let (counted, key) = if told {
        ("verified", "verified_instructions")
    } else {
        ("translated", "instructions")
    };
    let mut counts = Map::new();
    for one in programs {
        let name = one["name"].as_str().context("a program has no name")?;
        let count = one[key].as_u64().filter(|count| *count > 0);
        let count = count.with_context(|| format!("{name} has no number of instructions"))?;
        counts.insert(name.to_owned(), count.into());
    }
    ensure!(!counts.is_empty(), "there are no programs");
    Ok(json!({
        "release": reports.first().map(|report| &report["kernel"]),
        "counted": counted,
        "programs": counts,
    }))
}

fn known(recorded: &Value) -> BTreeMap<Kernel, Value> {
    Kernel::ALL
        .into_iter()
        .filter_map(|kernel| Some((kernel, recorded.get(kernel.name())?.clone())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(programs: &Value) -> Value {
        json!({"kernel": "6.1.0-x", "programs": programs})
    }

    #[test]
    fn records_what_the_kernel_tells() {
        let fentry = report(&json!([
            {"name": "close", "verified_instructions": 100, "instructions": 60},
        ]));
        let kprobe = report(&json!([
            {"name": "kprobe_close", "verified_instructions": 200, "instructions": 70},
        ]));
        assert_eq!(
            record(&[fentry, kprobe]).unwrap(),
            json!({
                "release": "6.1.0-x",
                "counted": "verified",
                "programs": {"close": 100, "kprobe_close": 200},
            })
        );
    }

    #[test]
    fn old_kernels_tell_the_size_only() {
        let old = report(&json!([
            {"name": "close", "verified_instructions": null, "instructions": 60},
        ]));
        let recorded = record(&[old]).unwrap();
        assert_eq!(recorded["counted"], "translated");
        assert_eq!(recorded["programs"]["close"], 60);
        assert!(record(&[report(&json!([]))]).is_err());
        let nothing = json!([{"name": "close", "instructions": 0}]);
        assert!(record(&[report(&nothing)]).is_err());
    }
}
