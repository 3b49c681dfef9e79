//! `nodespan check --resources` and `nodespan explain`, on any machine.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::children::command;
use crate::report::{Report, Verdict};

/// The examples of the document that the project started from.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/data/seeds");
const WEB: &str = "kuma.io/service=web,kuma.io/protocol=http";

/// Name, arguments, exit code, and what is said.
type Check<'a> = (&'a str, Vec<String>, i32, &'a [&'a [&'a str]]);

/// Runs all checks.
///
/// # Errors
/// If their files cannot be written.
pub fn run(report: &mut Report, nodespan: &Path, out: &Path) -> Result<()> {
    if !report.wants("resources/") && !report.wants("explain/") {
        return Ok(());
    }
    let dir = out.join("resources");
    fs::create_dir_all(&dir)?;
    let file = |name: &str, text: &str| -> Result<PathBuf> {
        let path = dir.join(name);
        fs::write(&path, text)?;
        Ok(path)
    };
    let seed = |name: &str| Path::new(SEEDS).join(name);
    let [mesh, right, typo] = [
        "mesh-universal.yaml",
        "traffic-trace-kubernetes.yaml",
        "traffic-trace-universal.yaml",
    ]
    .map(seed);
    let wrong = file(
        "wrong.yaml",
        "type: Mesh\nname: default\ntracing: {backends: [{name: a, type: zipkin, conf: {url: 'http://zipkin-us.local/v2/spans'}}]}\n",
    )?;
    let toml = file("nodespan.toml", "[tracing]\nbackend = \"zipkin\"\n")?;
    let of = |paths: &[&Path]| -> Vec<String> {
        let paths = paths.iter().map(|path| path.display().to_string());
        paths
            .flat_map(|path| ["--resources".to_owned(), path])
            .collect()
    };
    let whole = of(&[&mesh, &right]);
    let misspelt = of(&[&mesh, &typo]);
    let with = |all: &[String], more: &[&str]| -> Vec<String> {
        all.iter()
            .cloned()
            .chain(more.iter().map(|word| (*word).to_owned()))
            .collect()
    };
    let toml = toml.display().to_string();
    let checks: [Check<'_>; 7] = [
        (
            "fine",
            with(&whole, &["--strict"]),
            0,
            &[&["1 Mesh, 1 TrafficTrace"]],
        ),
        (
            "typo",
            misspelt.clone(),
            0,
            &[&["did you mean \"jaeger-collector\"?"]],
        ),
        (
            "typo-strict",
            with(&misspelt, &["--strict"]),
            1,
            &[&["jager-collector"]],
        ),
        (
            "wrong",
            of(&[&wrong, &mesh]),
            1,
            &[&["wrong.yaml:3:"], &["port has to be explicitly specified"]],
        ),
        (
            "missing",
            of(&[&dir.join("nowhere")]),
            1,
            &[&["nowhere"], &["No such file"]],
        ),
        (
            "twice",
            of(&[&mesh, &seed("mesh-kubernetes.yaml")]),
            1,
            &[&["is there twice"]],
        ),
        (
            "unused-tracing",
            with(&whole, &["--config", &toml]),
            0,
            &[&["[tracing] is unused"]],
        ),
    ];
    for (name, words, code, says) in checks {
        report.check(&format!("resources/{name}"), || {
            let mut start = command([nodespan]);
            start.arg("check").args(words);
            Answer {
                codes: &[code],
                says,
                lines: 0,
            }
            .of(&mut start)?;
            Ok(Verdict::Passed)
        });
    }
    let backend = json!({
        "name": "jaeger-collector",
        "type": "zipkin",
        "url": "http://jaeger-collector.kuma-tracing:9411/api/v2/spans",
        "sampling": 100.0,
    });
    let explained = [
        (
            "traced",
            &whole,
            WEB,
            json!("trace-all-traffic"),
            backend.clone(),
            true,
            "jaeger-collector",
        ),
        (
            "outgoing",
            &whole,
            "kuma.io/service=db",
            json!("trace-all-traffic"),
            backend,
            false,
            "outgoing calls",
        ),
        (
            "typo",
            &misspelt,
            WEB,
            json!("trace-all-traffic"),
            Value::Null,
            false,
            "the nearest is \"jaeger-collector\"",
        ),
        (
            "nobody",
            &whole,
            "version=1",
            Value::Null,
            Value::Null,
            false,
            "does not match",
        ),
    ];
    for (name, resources, tags, policy, backend, traced, says) in explained {
        report.check(&format!("explain/{name}"), || {
            let words = with(resources, &["--tags", tags]);
            let json = explain(nodespan, &with(&words, &["--output", "json"]))?;
            let answer: Value = serde_json::from_str(&json).context("not one JSON object")?;
            let reason = answer["reason"].as_str().context("no reason")?.to_owned();
            let wanted = json!({
                "mesh": "default", "policy": policy, "backend": backend,
                "traced": traced, "reason": reason,
            });
            ensure!(answer == wanted, "{answer}, not {wanted}");
            ensure!(reason.contains(says), "{reason}");
            let text = explain(nodespan, &words)?;
            ensure!(text.contains(&reason), "another reason in {text}");
            Ok(Verdict::Passed)
        });
    }
    for (name, words) in [("no-tags", &[][..]), ("bad-tags", &["--tags", "web"][..])] {
        report.check(&format!("explain/{name}"), || {
            let mut start = command([nodespan]);
            start.arg("explain").args(with(&whole, words));
            Answer {
                codes: &[2],
                says: &[&["--tags"]],
                lines: 10,
            }
            .of(&mut start)?;
            Ok(Verdict::Passed)
        });
    }
    Ok(())
}

fn explain(nodespan: &Path, words: &[String]) -> Result<String> {
    let mut start = command([nodespan]);
    start.arg("explain").args(words);
    let answer = Answer {
        codes: &[0],
        says: &[],
        lines: 0,
    }
    .of(&mut start)?;
    Ok(String::from_utf8(answer.stdout)?)
}
