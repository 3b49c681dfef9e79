//! What runs where the probes can: the mesh, the agent and the load.
//!
//! Speaks to people on standard error, to `cargo xtask demo` on standard
//! output.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use clap::Args;
use serde_json::{Value, json};
use signal_hook::{consts::SIGTERM, low_level};

use super::{mesh::Mesh, say};
use crate::{daemon::Daemon, interrupt, scratch::ScratchDir, servers::free_port, sh, vm::NoExit};

/// The load that is shown.
const SECONDS: u32 = 10;
const RATE: u32 = 5;

/// For one round of load beyond its own time: the slowest answers.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time for the agent to hand over what it has.
const DRAIN: Duration = Duration::from_secs(30);

/// Internal: the mesh and the agent, as root, where probes can run.
#[derive(Args, Debug)]
pub(crate) struct Stage {
    /// The agent.
    #[arg(long)]
    nodespan: PathBuf,
    /// The mesh's programs.
    #[arg(long)]
    scenarios: PathBuf,
    /// Zipkin, as it is reached from here.
    #[arg(long)]
    zipkin: String,
    /// Go on with a slow load until a signal.
    #[arg(long)]
    stay: bool,
    /// End also when standard input does.
    #[arg(long)]
    end_with_stdin: bool,
}

/// What the stage has to say at the end of the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Done {
    /// Trace ids of the requests that were sent.
    pub(super) requests: Vec<String>,
    /// The agent's ledger in one line.
    pub(super) ledger: String,
}

/// Before the stage's message, which nobody else writes.
const MARK: &str = "nodespan-demo-stage ";

impl Done {
    /// Reads a line of the stage's output, if it is the message.
    pub(super) fn parse(line: &str) -> Option<Self> {
        let value: Value = serde_json::from_str(line.strip_prefix(MARK)?).ok()?;
        Some(Self {
            requests: serde_json::from_value(value["requests"].clone()).ok()?,
            ledger: value["ledger"].as_str()?.to_owned(),
        })
    }

    fn line(&self) -> String {
        let value = json!({ "requests": self.requests, "ledger": self.ledger });
        format!("{MARK}{value}")
    }
}

impl Stage {
    /// 0 after the load has been sent and the agent has ended well.
    ///
    /// # Errors
    /// If a part does not run.
    pub(crate) fn run(&self) -> Result<i32> {
        match self.perform() {
            // Whoever interrupted it knows.
            Err(error) if matches!(error.downcast_ref(), Some(NoExit::Interrupted)) => Ok(130),
            result => result,
        }
    }

    fn perform(&self) -> Result<i32> {
        let _guard = interrupt::Guard::new()?;
        if self.end_with_stdin {
            thread::spawn(|| {
                let mut byte = [0];
                while std::io::stdin().read(&mut byte).is_ok_and(|n| n > 0) {}
                // A signal that cannot be raised leaves the others.
                let _ = low_level::raise(SIGTERM);
            });
        }
        if !sh::is_root() {
            bail!("the stage must run as root");
        }
        let dir = ScratchDir::new()?;
        let names: Vec<&str> = Mesh::names().collect();
        say(&format!("starting the services {}", names.join(", ")));
        let mut mesh = Mesh::start(&self.scenarios, dir.path())?;
        say("starting the agent (nodespan run --config nodespan.toml)");
        let mut agent = Agent::start(&self.nodespan, &self.zipkin, dir.path())?;
        mesh.wait_ready()?;
        say("warming the services up: 3 requests with `b3: 0`, not reported (denied)");
        for product in 1..=3 {
            mesh.warm_up(product)?;
        }
        agent.wait_ready()?;

        say(&format!("sending {RATE} requests a second for {SECONDS} s"));
        let sent = self.load(&mesh, dir.path(), "load", SECONDS, RATE)?;
        if sent.is_empty() {
            bail!("the load sent nothing");
        }
        say(&format!("answered: {}", tally(&sent)));
        let ledger = if self.stay {
            agent.settle()?
        } else {
            agent.stop()?
        };
        let done = Done {
            requests: sent.into_iter().map(|sent| sent.trace).collect(),
            ledger,
        };
        let mut out = std::io::stdout();
        writeln!(out, "{}", done.line())?;
        out.flush()?;
        // Until a signal: then the load ends with an error.
        for round in (0..).take_while(|_| self.stay) {
            if interrupt::requested() {
                break;
            }
            let name = format!("more-{}", round % 2);
            self.load(&mesh, dir.path(), &name, SECONDS, 1)?;
            agent.must_live()?;
        }
        Ok(0)
    }

    /// Sends load to its end; the statuses of the answers.
    fn load(
        &self,
        mesh: &Mesh,
        dir: &Path,
        name: &str,
        seconds: u32,
        rate: u32,
    ) -> Result<Vec<Sent>> {
        let python = sh::which("python3").context("python3 is missing")?;
        let script = self.scenarios.join("load.py");
        let (seconds_text, rate) = (seconds.to_string(), rate.to_string());
        let words = mesh.with_hosts(&[
            &python.to_string_lossy(),
            "-B",
            &script.to_string_lossy(),
            "front:80",
            "--seconds",
            &seconds_text,
            "--rate",
            &rate,
            "--zipkin",
            &self.zipkin,
        ]);
        let log = dir.join(name);
        fs::write(&log, "")?;
        let unshare = sh::which("unshare").context("unshare is missing")?;
        let mut load = Daemon::start(Command::new("setpriv"), &unshare, &words, &log)?;
        let deadline = Instant::now() + Duration::from_secs(seconds.into()) + PATIENCE;
        while !load.has_ended()? {
            if interrupt::requested() {
                return Err(NoExit::Interrupted.into());
            }
            if Instant::now() > deadline {
                bail!("the load does not end; front's answers do not come");
            }
            thread::sleep(Duration::from_millis(50));
        }
        let text = fs::read_to_string(&log)?;
        if text.contains("Traceback") {
            bail!("the load failed:\n{}", sh::last_lines(&text, 5));
        }
        Ok(read_load(&text))
    }
}

/// A request of the load.
#[derive(Debug)]
struct Sent {
    trace: String,
    status: String,
}

/// Reads lines of `TRACE METHOD PATH STATUS`.
fn read_load(text: &str) -> Vec<Sent> {
    let sent = |line: &str| {
        let mut words = line.splitn(4, ' ');
        Some(Sent {
            trace: words.next()?.to_owned(),
            status: words.nth(2)?.to_owned(),
        })
    };
    text.lines().filter_map(sent).collect()
}

fn tally(sent: &[Sent]) -> String {
    let mut counts = BTreeMap::new();
    for sent in sent {
        *counts.entry(sent.status.as_str()).or_insert(0) += 1;
    }
    let counts: Vec<String> = counts
        .into_iter()
        .map(|(status, count)| format!("{count} with {status}"))
        .collect();
    counts.join(", ")
}

/// `nodespan run`, ended when dropped.
#[derive(Debug)]
struct Agent {
    process: Daemon,
    nodespan: PathBuf,
    admin: SocketAddr,
    log: PathBuf,
}

impl Agent {
    fn start(nodespan: &Path, zipkin: &str, dir: &Path) -> Result<Self> {
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let config = dir.join("nodespan.toml");
        fs::write(&config, configuration(zipkin, admin))?;
        let log = dir.join("nodespan.log");
        let arguments: [OsString; 3] = ["run".into(), "--config".into(), config.into()];
        let process = Daemon::start(Command::new("setpriv"), nodespan, &arguments, &log)?;
        Ok(Self {
            process,
            nodespan: nodespan.to_owned(),
            admin,
            log,
        })
    }

    fn wait_ready(&mut self) -> Result<()> {
        let admin = self.admin;
        self.process.wait_until(|| Ok(is_ready(admin)))
    }

    fn must_live(&mut self) -> Result<()> {
        if self.process.has_ended()? {
            let said = self.process.log_tail().unwrap_or_default();
            bail!("the agent has ended: {said}");
        }
        Ok(())
    }

    /// Waits until nothing is on its way; the ledger in one line.
    fn settle(&mut self) -> Result<String> {
        let mut before = None;
        let deadline = Instant::now() + DRAIN;
        loop {
            thread::sleep(Duration::from_secs(2));
            self.must_live()?;
            let text = sh::capture(
                Command::new(&self.nodespan)
                    .args(["status", "--output", "json", "--agent"])
                    .arg(self.admin.to_string()),
            )?;
            let status: Value = serde_json::from_str(&text).context("nodespan status")?;
            let summary = status["summary"]
                .as_str()
                .context("the status has no summary")?;
            if before.as_deref() == Some(summary) || Instant::now() > deadline {
                return Ok(summary.to_owned());
            }
            before = Some(summary.to_owned());
        }
    }

    /// Ends it, which drains it; the ledger in one line.
    fn stop(&mut self) -> Result<String> {
        self.must_live()?;
        sh::quiet(Command::new("sh").args([
            "-c",
            "kill -TERM \"$1\"",
            "sh",
            &self.process.pid().to_string(),
        ]))?;
        let deadline = Instant::now() + DRAIN;
        while !self.process.has_ended()? {
            if Instant::now() > deadline {
                bail!("the agent does not end within {} s", DRAIN.as_secs());
            }
            thread::sleep(Duration::from_millis(20));
        }
        let log = fs::read_to_string(&self.log)?;
        for line in complaints(&log) {
            say(&format!("the agent says: {line}"));
        }
        ledger_line(&log).with_context(|| {
            let said = sh::last_lines(&log, 10);
            format!("the agent ended without its ledger: {said}")
        })
    }
}

/// What a log warns of.
fn complaints(log: &str) -> impl Iterator<Item = &str> {
    log.lines()
        .filter(|line| line.contains(" WARN ") || line.contains(" ERROR "))
}

/// The last line of the ledger in a log.
fn ledger_line(log: &str) -> Option<String> {
    let line = log.lines().rfind(|line| line.contains(" exchanges = "))?;
    // Time and level stand before it.
    let start = line.find(" exchanges = ")?;
    let number = line[..start].rfind(' ').map_or(0, |space| space + 1);
    Some(line[number..].to_owned())
}

fn configuration(zipkin: &str, admin: SocketAddr) -> String {
    let names: Vec<String> = Mesh::names().map(|name| format!("{name:?}")).collect();
    format!(
        "[capture]\ninclude = [{}]\n\n[export]\nzipkinEndpoint = \"{zipkin}/api/v2/spans\"\n\n\
         [admin]\nlisten = \"{admin}\"\n",
        names.join(", ")
    )
}

fn is_ready(admin: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut socket = TcpStream::connect_timeout(&admin, Duration::from_secs(1))?;
        socket.set_read_timeout(Some(Duration::from_secs(5)))?;
        socket.write_all(b"GET /readyz HTTP/1.1\r\nHost: agent\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| answer == "HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_arrives() {
        let done = Done {
            requests: vec!["a".into(), "b".into()],
            ledger: "1 exchanges = \"x\"".into(),
        };
        assert_eq!(Done::parse(&done.line()), Some(done));
        assert_eq!(Done::parse("[demo] something"), None);
    }

    #[test]
    fn warnings_are_told() {
        let log = "t  INFO fine\nt  WARN the ledger does not balance\nt ERROR bad\n";
        assert_eq!(complaints(log).count(), 2);
    }

    #[test]
    fn the_ledger_is_found_without_its_time() {
        let log = "2026-01-01T00:00:00Z  INFO 3 exchanges = 3 spans\nx\n\
                   2026-01-01T00:01:00Z  INFO 9 exchanges = 8 spans + 1 dropped\nbye\n";
        assert_eq!(
            ledger_line(log).as_deref(),
            Some("9 exchanges = 8 spans + 1 dropped")
        );
        assert_eq!(ledger_line("nothing"), None);
    }

    #[test]
    fn the_loads_lines_are_counted_by_status() {
        let text = "a GET /product/1 200\nb POST /buy/4 500\nc GET /product/2 200\n\
                    d GET /x failed: timed out\n";
        assert_eq!(
            tally(&read_load(text)),
            "2 with 200, 1 with 500, 1 with failed: timed out"
        );
    }
}
