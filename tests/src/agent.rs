//! The agent as a child process.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::children::{Running, command};
use crate::raw::Client;
use crate::report::Verdict;
use crate::spans::{self, Kind, Span};
use crate::wait;

/// The tag of the requests that find out whether the agent sees requests.
pub const READY: &str = "ready";

/// A running `nodespan run`.
#[derive(Debug)]
pub struct Agent {
    running: Running,
    spans: PathBuf,
    asked: usize,
}

impl Agent {
    /// Starts the agent with JSON lines as its output.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        nodespan: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
        out: &Path,
    ) -> Result<Self> {
        Self::start_by(&[], nodespan, name, arguments, out)
    }

    /// Starts it through `words`, a command that becomes the agent.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start_by<S: AsRef<OsStr>>(
        words: &[&str],
        nodespan: &Path,
        name: &str,
        arguments: impl IntoIterator<Item = S>,
        out: &Path,
    ) -> Result<Self> {
        let words = words.iter().map(OsStr::new);
        let mut start = command(words.chain([nodespan.as_os_str()]));
        start.args(["run", "--output", "jsonl"]).args(arguments);
        let running = Running::start(name, &mut start, out)?;
        Ok(Self {
            running,
            spans: out.join(format!("{name}.out")),
            asked: 0,
        })
    }

    /// Sends requests to `server`, over one connection that is busy while the
    /// agent starts, until one of them has become a span.
    ///
    /// # Errors
    /// If the agent ends or none has in time.
    pub fn wait_ready(&mut self, server: SocketAddr) -> Result<()> {
        self.wait_ready_with(server, "")
    }

    /// [`Self::wait_ready`] by requests with these headers.
    ///
    /// # Errors
    /// As there.
    pub fn wait_ready_with(&mut self, server: SocketAddr, headers: &str) -> Result<()> {
        let mut client = Client::connect(server)?;
        wait::until_true("the agent's first span", Duration::from_secs(60), || {
            self.running.must_live()?;
            self.asked += 1;
            client.exchange("GET", &format!("/small/{READY}/{}", self.asked), headers)?;
            Ok(self.spans()?.iter().any(|span| span.case() == READY))
        })
    }

    /// The connection that was busy while the agent started is seen from some
    /// request on without a gap, with its addresses.
    ///
    /// # Errors
    /// With what is missing.
    pub fn saw_start(&self, spans: &[Span]) -> Result<()> {
        for kind in [Kind::Client, Kind::Server] {
            let ready = spans
                .iter()
                .filter(|span| span.case() == READY && span.kind == kind);
            let mut seen = BTreeSet::new();
            for span in ready {
                seen.insert(
                    span.path()
                        .rsplit('/')
                        .next()
                        .unwrap_or_default()
                        .parse::<usize>()?,
                );
                ensure!(
                    span.remote_port.is_some(),
                    "{kind:?} {} has no peer",
                    span.line()
                );
            }
            let first = seen.first().copied().unwrap_or(self.asked);
            ensure!(
                seen.len() == self.asked + 1 - first,
                "of requests {first} to {} only {} {kind:?} spans",
                self.asked,
                seen.len()
            );
        }
        Ok(())
    }

    /// Waits until it has said `text` on standard error.
    ///
    /// # Errors
    /// If it ends first, or does not in time.
    pub fn wait_stderr(&mut self, text: &str) -> Result<()> {
        self.running.wait_stderr(text)
    }

    /// The spans it has written so far.
    ///
    /// # Errors
    /// If its output is not what it should be.
    pub fn spans(&self) -> Result<Vec<Span>> {
        spans::read(&self.spans)
    }

    /// Ends it; it drains before it goes.
    ///
    /// # Errors
    /// If it does not end in time, or not well.
    pub fn stop(&mut self) -> Result<Vec<Span>> {
        self.running.must_live()?;
        let status = self.running.stop(Signal::TERM, Duration::from_secs(60))?;
        ensure!(
            status.success(),
            "the agent ended with {status}: {}",
            self.running.said()
        );
        self.spans()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        self.running.signal(signal);
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> rustix::process::Pid {
        self.running.pid()
    }

    /// What it said at its end about its accounts.
    ///
    /// # Errors
    /// If they did not balance.
    pub fn balanced(&self) -> Result<Verdict> {
        let said = self.said();
        let complaint = said.lines().find(|line| line.contains("does not balance"));
        ensure!(complaint.is_none(), "{}", complaint.unwrap_or_default());
        Ok(Verdict::Passed)
    }

    /// All it wrote to standard error.
    #[must_use]
    pub fn said(&self) -> String {
        self.running.said()
    }
}
