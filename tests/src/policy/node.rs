//! A `nodespan run` that is told by files where spans go.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::children::{Running, command};
use crate::ledger::{at, imbalance};
use crate::raw::Client;
use crate::wait;

/// A running agent.
#[derive(Debug)]
pub(crate) struct Node {
    running: Running,
}

/// The agent's admin port.
const ADMIN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9903);

/// For an agent that is told something by a file: it looks five times a
/// second, and this machine may be slow.
pub(crate) const SOON: Duration = Duration::from_secs(60);

impl Node {
    /// Starts one and waits until it traces. `hosts` is what it sees as
    /// `/etc/hosts`.
    pub(crate) fn start<S: AsRef<OsStr>>(
        nodespan: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
        hosts: Option<&Path>,
        out: &Path,
    ) -> Result<Self> {
        let mut words: Vec<OsString> = Vec::new();
        if let Some(hosts) = hosts {
            // In a mount namespace of its own, so that nobody else sees it.
            let mount = "mount --bind \"$1\" /etc/hosts && shift && exec \"$@\"";
            words.extend(["unshare", "-m", "sh", "-c", mount, "sh"].map(Into::into));
            words.push(hosts.into());
        }
        words.extend([nodespan.into(), "run".into()]);
        words.extend(arguments.into_iter().map(|word| word.as_ref().to_owned()));
        let mut running = Running::start(name, &mut command(words), out)?;
        running.wait_stderr("tracing; kernel")?;
        Ok(Self { running })
    }

    /// Its status, asked by this process: `nodespan status` is a process that
    /// the agent would see.
    pub(crate) fn status(&self) -> Result<Value> {
        let mut client = Client::connect(ADMIN)?;
        client.keep_all();
        let answer = client.exchange("GET", "/status", "b3: 0\r\n")?;
        ensure!(answer.status == 200, "/status says {}", answer.status);
        serde_json::from_slice(&answer.body).context("/status")
    }

    /// A number of the ledger, 0 if it is not there.
    pub(crate) fn ledger(&self, place: &str) -> Result<u64> {
        Ok(at(&self.status()?["ledger"], place).unwrap_or_default())
    }

    /// Waits until a number of the ledger is at least this.
    pub(crate) fn wait_ledger(&self, place: &str, least: u64) -> Result<()> {
        let mut last = 0;
        let waited = wait::until_true(place, SOON, || {
            last = self.ledger(place)?;
            Ok(last >= least)
        });
        waited.with_context(|| format!("{last} of {least}"))
    }

    /// How often its log says this.
    pub(crate) fn count_said(&self, text: &str) -> usize {
        self.said().matches(text).count()
    }

    pub(crate) fn said(&self) -> String {
        self.running.said()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    pub(crate) fn kill(mut self) -> Result<ExitStatus> {
        self.running.stop(Signal::KILL, SOON)
    }

    /// Nothing is unaccounted for, and nothing of the agent's own is in the
    /// accounts of what is traced.
    pub(crate) fn in_order(&self) -> Result<()> {
        let mut last = None;
        let balanced = wait::until_true("the ledger to balance", SOON, || {
            last = imbalance(&self.status()?["ledger"]).err();
            Ok(last.is_none())
        });
        if let (Err(_), Some(error)) = (balanced, last) {
            return Err(error);
        }
        let status = self.status()?;
        let skipped = at(&status, "/ledger/records/missed/recursion")?;
        ensure!(skipped == 0, "the kernel skipped {skipped} runs");
        let opaque = &status["ledger"]["opaque"];
        let own = opaque.as_object().and_then(|all| all.get("nodespan"));
        ensure!(own.is_none(), "the agent counts itself: {opaque}");
        let workloads = &status["workloads"];
        ensure!(
            workloads.get("nodespan").is_none(),
            "the agent is a workload of its own: {workloads}"
        );
        Ok(())
    }

    /// [`Node::in_order`], then its end by SIGTERM, after which all accounts
    /// must be even.
    pub(crate) fn stop(self) -> Result<()> {
        self.in_order()?;
        self.terminate().map(|_said| ())
    }

    /// Its end by SIGTERM, which must be a good one with even accounts; what it
    /// said.
    pub(crate) fn terminate(mut self) -> Result<String> {
        self.running.must_live()?;
        let status = self.running.stop(Signal::TERM, Duration::from_secs(60))?;
        let said = self.said();
        ensure!(status.success(), "the agent ended with {status}: {said}");
        let last = last_account(&said)?;
        ensure!(
            last.contains(", 0 lost") && !said.contains("does not balance"),
            "the accounts at the end: {last}"
        );
        Ok(said)
    }
}

/// The ledger's line at the end of a log.
pub(crate) fn last_account(said: &str) -> Result<&str> {
    let line = said
        .lines()
        .rev()
        .find(|line| line.contains(" exchanges = "));
    line.context("no account at the end of the log")
}

/// Replaces a file at once, so that nobody reads half of it. `spare` is a
/// place for the new text that nobody looks at.
pub(crate) fn replace(file: &Path, text: &str, spare: &Path) -> Result<()> {
    fs::write(spare, text).with_context(|| spare.display().to_string())?;
    fs::rename(spare, file).with_context(|| file.display().to_string())
}
