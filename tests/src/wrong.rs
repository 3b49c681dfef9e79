//! Wrong input gets an answer: what needs root and a kernel with probes.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, ensure};
use serde_json::Value;

use crate::agent::Agent;
use crate::answer::Answer;
use crate::children::command;
use crate::ledger::status;
use crate::origin::Origin;
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::targets::PORTS;
use crate::wait;

/// Exit codes: a failed run; wrong usage; this kernel cannot.
const FAILED: &[i32] = &[1];
const USAGE: &[i32] = &[2];
const KERNEL: &[i32] = &[3];

/// Port of an origin, and one that is taken.
const PROBE: u16 = PORTS + 30;
const TAKEN: u16 = PORTS + 31;

/// All of them.
///
/// # Errors
/// If their files cannot be written.
pub fn run(report: &mut Report, nodespan: &Path, out: &Path) -> Result<()> {
    if !report.wants("wrong/") && !report.wants("probe/") {
        return Ok(());
    }
    let dir = out.join("wrong");
    fs::create_dir_all(&dir)?;
    report.check("probe/report", || probe(nodespan));
    report.check("wrong/no-root", || no_root(nodespan));
    for verb in ["run", "probe"] {
        report.check(&format!("wrong/no-btf-{verb}"), || {
            no_btf(nodespan, &dir, verb)
        });
    }
    for (name, text, says) in CONFIGS {
        report.check(&format!("wrong/{name}"), || {
            bad_config(nodespan, &dir, name, text, says)
        });
    }
    report.check("wrong/config-missing", || {
        let missing = dir.join("missing.toml");
        let answer = Answer {
            codes: &[1, 2],
            says: &[&["missing.toml"]],
            lines: 2,
        };
        answer.of(command([nodespan]).args(["run", "--config"]).arg(missing))?;
        Ok(Verdict::Passed)
    });
    report.check("wrong/config-is-a-folder", || {
        let answer = Answer {
            codes: &[1, 2],
            says: &[&["directory", "folder"]],
            lines: 2,
        };
        answer.of(command([nodespan]).args(["run", "--config"]).arg(&dir))?;
        Ok(Verdict::Passed)
    });
    report.check("wrong/config-unreadable", || unreadable(nodespan));
    report.check("wrong/unknown-option", || {
        let answer = Answer {
            codes: USAGE,
            says: &[&["--no-such"]],
            lines: 8,
        };
        answer.of(command([nodespan]).args(["run", "--no-such"]))?;
        Ok(Verdict::Passed)
    });
    report.check("wrong/admin-port-taken", || admin_port(nodespan, &dir));
    report.check("wrong/dead-zipkin", || dead_zipkin(nodespan, &dir));
    Ok(())
}

/// A file, and words of the answer to it.
const CONFIGS: &[(&str, &str, &[&[&str]])] = &[
    (
        "config-syntax",
        "[tracing\nbackend = \"zipkin\"\n",
        &[&["config-syntax.toml"], &["line 1", ":1"]],
    ),
    (
        "config-unknown-key",
        "[capture]\nexcludePath = [\"/health\"]\n",
        &[&["excludePath"], &["excludePaths"], &["line 2", ":2"]],
    ),
    (
        "config-wrong-type",
        "[tracing]\nbackend = 9411\n",
        &[&["backend"], &["line 2", ":2"]],
    ),
];

/// The capability report of a kernel that can.
fn probe(nodespan: &Path) -> Result<Verdict> {
    let answer = Answer {
        codes: &[0],
        says: &[&["fentry", "kprobe"], &["layout"], &["self-test"]],
        lines: 50,
    };
    answer.of(command([nodespan]).arg("probe"))?;
    Ok(Verdict::Passed)
}

fn no_root(nodespan: &Path) -> Result<Verdict> {
    let answer = Answer {
        codes: &[1, 3],
        says: &[&["root", "CAP_", "permission"]],
        lines: 3,
    };
    by_nobody(nodespan, |agent| {
        answer.of(nobody(agent).arg("run")).map(drop)
    })?;
    Ok(Verdict::Passed)
}

/// A configuration that others may not read, asked for by one of them, and by
/// root without what lets root read everything.
fn unreadable(nodespan: &Path) -> Result<Verdict> {
    by_nobody(nodespan, |agent| {
        let file = agent.with_extension("toml");
        fs::write(&file, "[capture]\nports = [80]\n")?;
        fs::set_permissions(&file, fs::Permissions::from_mode(0o000))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        let says: &[&[&str]] = &[&[&name], &["permission denied"]];
        let mut done = Ok(());
        for verb in ["run", "check"] {
            let mut root = command(["setpriv"]);
            root.arg("--bounding-set=-dac_override,-dac_read_search");
            root.arg("--inh-caps=-dac_override,-dac_read_search");
            root.arg(agent);
            for start in [&mut nobody(agent), &mut root] {
                let answer = Answer {
                    codes: FAILED,
                    says,
                    lines: 2,
                };
                let answered = answer.of(start.arg(verb).arg("--config").arg(&file));
                done = done.and(answered.map(drop));
            }
        }
        fs::remove_file(&file)?;
        done
    })?;
    Ok(Verdict::Passed)
}

/// With a copy of the agent where everybody can reach it, whatever the build
/// folder allows.
fn by_nobody(nodespan: &Path, work: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let reachable = PathBuf::from(format!("/tmp/nodespan-{}", std::process::id()));
    fs::copy(nodespan, &reachable)?;
    fs::set_permissions(&reachable, fs::Permissions::from_mode(0o755))?;
    let done = work(&reachable);
    fs::remove_file(&reachable)?;
    done
}

/// A command by a user without any right.
fn nobody(agent: &Path) -> Command {
    let mut start = command([
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "--bounding-set=-all",
    ]);
    start.arg(agent);
    start
}

fn no_btf(nodespan: &Path, dir: &Path, verb: &str) -> Result<Verdict> {
    let empty = dir.join("empty");
    fs::create_dir_all(&empty)?;
    let mut start = command(["unshare", "-m", "sh", "-c"]);
    start.arg("mount --bind \"$1\" /sys/kernel/btf && exec \"$2\" \"$3\"");
    start.arg("sh").arg(&empty).arg(nodespan).arg(verb);
    // `probe` may say in its report, line by line, what there is.
    let lines = if verb == "probe" { 50 } else { 3 };
    Answer {
        codes: KERNEL,
        says: &[&["BTF"]],
        lines,
    }
    .of(&mut start)?;
    Ok(Verdict::Passed)
}

fn bad_config(
    nodespan: &Path,
    dir: &Path,
    name: &str,
    text: &str,
    says: &[&[&str]],
) -> Result<Verdict> {
    let file = dir.join(format!("{name}.toml"));
    fs::write(&file, text)?;
    for verb in ["run", "check"] {
        let mut start = command([nodespan]);
        start.arg(verb).arg("--config").arg(&file);
        Answer {
            codes: FAILED,
            says,
            lines: 20,
        }
        .of(&mut start)?;
    }
    Ok(Verdict::Passed)
}

fn admin_port(nodespan: &Path, dir: &Path) -> Result<Verdict> {
    let _taken = TcpListener::bind((Ipv4Addr::LOCALHOST, TAKEN))?;
    let file = dir.join("admin.toml");
    fs::write(&file, format!("[admin]\nlisten = \"127.0.0.1:{TAKEN}\"\n"))?;
    let port = TAKEN.to_string();
    let answer = Answer {
        codes: FAILED,
        says: &[&["in use"], &[&port]],
        lines: 3,
    };
    answer.of(command([nodespan]).args(["run", "--config"]).arg(file))?;
    Ok(Verdict::Passed)
}

/// The agent goes on, counts what it could not deliver, and ends well.
fn dead_zipkin(nodespan: &Path, dir: &Path) -> Result<Verdict> {
    let origin = Origin::start(&[Ipv4Addr::LOCALHOST.into()], PROBE)?;
    let file = dir.join("dead.toml");
    let url = "http://127.0.0.1:9/api/v2/spans";
    fs::write(
        &file,
        format!("[tracing]\nbackend = \"zipkin\"\n[tracing.zipkin]\nhttpEndpoint = \"{url}\"\n"),
    )?;
    let addr = (Ipv4Addr::LOCALHOST, PROBE).into();
    let arguments = ["--config".as_ref(), file.as_os_str()];
    let mut agent = Agent::start(nodespan, "dead-zipkin", arguments, dir)?;
    agent.wait_ready(addr)?;
    let mut client = Client::connect(addr)?;
    for n in 0..50 {
        client.exchange("GET", &format!("/small/dead/{n}"), "")?;
    }
    wait::until_true("an attempt to be counted", Duration::from_secs(60), || {
        let status = status(nodespan)?;
        let backends = status.pointer("/ledger/backends").and_then(Value::as_array);
        Ok(backends
            .into_iter()
            .flatten()
            .any(|backend| backend["last_error"].is_object()))
    })?;
    let started = std::time::Instant::now();
    let spans = agent.stop()?;
    ensure!(
        started.elapsed() < Duration::from_secs(30),
        "it took long to give up"
    );
    let said = agent.said();
    ensure!(!said.contains("panicked"), "it said {said}");
    let seen = spans.iter().filter(|span| span.case() == "dead").count();
    ensure!(
        seen == 100,
        "{seen} spans of 50 requests in the other output"
    );
    drop(origin);
    Ok(Verdict::Passed)
}

/// Whether this kernel has the hooks at all; then `nodespan run` must work.
#[must_use]
pub fn has_kprobes() -> bool {
    Path::new("/sys/bus/event_source/devices/kprobe").exists()
}

/// On a kernel without them, both verbs say so in one sentence.
///
/// # Errors
/// If they do not.
pub fn no_kprobes(nodespan: &Path, verb: &str) -> Result<Verdict> {
    let mut start = Command::new(nodespan);
    let lines = if verb == "probe" { 50 } else { 4 };
    let says: &[&[&str]] = &[&["kprobe", "fentry", "ftrace"], &["kernel"]];
    Answer {
        codes: KERNEL,
        says,
        lines,
    }
    .of(start.arg(verb))?;
    Ok(Verdict::Passed)
}
