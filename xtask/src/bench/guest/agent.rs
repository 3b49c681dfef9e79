//! The agent under measurement.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{
    http,
    place::{self, Unit, wait_until},
    sink,
};
use crate::{bench::figures::AgentFigures, daemon::Daemon};

const ADMIN: u16 = 9903;

/// Loading and verifying the programs takes a few seconds of emulated time,
/// and virtiofs may be slow in real time.
const START: Duration = Duration::from_mins(3);

/// A running agent.
#[derive(Debug)]
pub(super) struct Agent {
    pub(super) unit: Unit,
    daemon: Daemon,
}

/// Bytes that calls of watched sockets moved, and that crossed the ring.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Moved {
    pub(super) moved: u64,
    pub(super) ring: u64,
}

impl Agent {
    /// Starts it for these units; it exports to the sink if `exports`.
    ///
    /// # Errors
    /// If it does not become ready.
    pub(super) fn start(
        program: &Path,
        out: &Path,
        name: &'static str,
        units: &[&str],
        exports: bool,
    ) -> Result<Self> {
        let unit = Unit::new(name, out)?;
        let file = out.join(format!("{name}.toml"));
        let export = if exports {
            format!(
                "zipkinEndpoint = \"http://127.0.0.1:{}/api/v2/spans\"",
                sink::PORT
            )
        } else {
            "output = \"none\"".to_owned()
        };
        fs::write(
            &file,
            format!("[export]\n{export}\n\n[admin]\nlisten = \"127.0.0.1:{ADMIN}\"\n"),
        )?;
        let mut arguments = vec!["run".into(), "--config".into(), file.into_os_string()];
        for unit in units {
            arguments.extend(["--unit".into(), (*unit).into()]);
        }
        let daemon = unit.start(program, &arguments)?;
        let mut agent = Self { unit, daemon };
        let start = Instant::now();
        while http::get(ADMIN, "/readyz").is_err() {
            if agent.daemon.has_ended()? || start.elapsed() > START {
                bail!("the agent did not start: {}", agent.unit.said());
            }
            thread::sleep(Duration::from_millis(100));
        }
        Ok(agent)
    }

    /// `/status`.
    ///
    /// # Errors
    /// If it does not answer.
    pub(super) fn status(&self) -> Result<Value> {
        let text = http::get(ADMIN, "/status")?;
        serde_json::from_str(&text).with_context(|| format!("the status is {text}"))
    }

    /// What it says of bytes, once it has counted for a second more.
    ///
    /// # Errors
    /// If it says nothing.
    pub(super) fn moved(&self) -> Result<Moved> {
        thread::sleep(Duration::from_millis(2200));
        let bytes = &self.status()?["bytes"];
        let number = |name: &str| {
            bytes[name]
                .as_u64()
                .with_context(|| format!("no bytes.{name} in the status"))
        };
        Ok(Moved {
            moved: number("moved")?,
            ring: number("ring")?,
        })
    }

    /// Memory, version, programs, and all that the ledger calls lost.
    ///
    /// # Errors
    /// If it does not say.
    pub(super) fn figures(&self) -> Result<AgentFigures> {
        // The accounts are brought up to date once a second.
        thread::sleep(Duration::from_millis(2200));
        let status = self.status()?;
        let process = self.process()?;
        Ok(AgentFigures {
            lost: losses(&status["ledger"]),
            rss_kib: place::memory(process, "VmRSS")?,
            peak_kib: place::memory(process, "VmHWM")?,
            version: status["version"].as_str().unwrap_or_default().to_owned(),
            ..AgentFigures::default()
        })
    }

    /// Its process.
    ///
    /// # Errors
    /// If it has ended.
    pub(super) fn process(&self) -> Result<u32> {
        let processes = self.unit.processes()?;
        processes.first().copied().context("the agent is gone")
    }

    /// Ends it; it drains before it goes.
    ///
    /// # Errors
    /// If it does not end.
    pub(super) fn stop(mut self) -> Result<()> {
        if self.daemon.has_ended()? {
            bail!(
                "the agent ended before it was told to: {}",
                self.unit.said()
            );
        }
        self.unit.stop(&mut self.daemon)?;
        // Its programs go when the last reference has: a moment later.
        thread::sleep(Duration::from_millis(500));
        wait_until("the agent's port", || Ok(http::get(ADMIN, "/").is_err()))
    }
}

/// What is not zero of everything that counts losses.
fn losses(ledger: &Value) -> BTreeMap<String, u64> {
    let mut found = BTreeMap::new();
    let mut add = |place: &str, by_reason: &Value| {
        for (reason, count) in by_reason.as_object().into_iter().flatten() {
            if let Some(count) = count.as_u64().filter(|count| *count > 0) {
                found.insert(format!("{place}: {reason}"), count);
            }
        }
    };
    add("records lost", &ledger["records"]["lost"]);
    add("records missed", &ledger["records"]["missed"]);
    add("exchanges dropped", &ledger["exchanges"]["dropped"]);
    for backend in ledger["backends"].as_array().into_iter().flatten() {
        add("spans dropped", &backend["dropped"]);
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_found_wherever_they_are() {
        let ledger = serde_json::json!({
            "records": { "lost": { "ring full": 3 }, "missed": { "recursion": 0 } },
            "exchanges": { "dropped": { "overload": 1 }, "observed": 9 },
            "backends": [{ "name": "zipkin", "dropped": { "queue full": 2 } }],
        });
        let found = losses(&ledger);
        assert_eq!(found.len(), 3);
        assert_eq!(found["records lost: ring full"], 3);
        assert_eq!(found["spans dropped: queue full"], 2);
        assert!(losses(&Value::Null).is_empty());
    }
}
