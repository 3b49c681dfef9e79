//! A capture taken while the agent looked on, and what `nodespan replay` makes
//! of it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;

use crate::children::{Running, output, program};
use crate::compare::same;
use crate::spans::{self, Span};

/// A running tcpdump.
#[derive(Debug)]
pub struct Capture {
    running: Running,
    file: PathBuf,
    kept: PathBuf,
}

impl Capture {
    /// Begins to capture one port on loopback.
    ///
    /// # Errors
    /// If tcpdump cannot be started.
    pub fn start(port: u16, out: &Path) -> Result<Self> {
        // In memory: the folder for results may be far away.
        let shm = Path::new("/dev/shm");
        let dir = if shm.is_dir() { shm } else { out };
        let file = dir.join(format!("nodespan-{}.pcap", std::process::id()));
        let mut tcpdump = Command::new(program(&["tcpdump"])?);
        tcpdump.args([
            "-i", "lo", "-s", "0", "-U", "-n", "-B", "32768", "-Z", "root", "-w",
        ]);
        tcpdump.arg(&file).args(["tcp", "port", &port.to_string()]);
        let mut running = Running::start("tcpdump", &mut tcpdump, out)?;
        running.wait_stderr("listening on")?;
        Ok(Self {
            running,
            file,
            kept: out.join("loopback.pcap"),
        })
    }

    /// Ends it; the capture's file.
    ///
    /// # Errors
    /// If tcpdump does not end well or has lost packets.
    pub fn stop(mut self) -> Result<PathBuf> {
        // Packets are still on their way to it for a moment: libpcap hands
        // them over in blocks.
        std::thread::sleep(Duration::from_secs(1));
        let status = self.running.stop(Signal::INT, Duration::from_secs(20))?;
        let said = self.running.said();
        ensure!(status.success(), "tcpdump ended with {status}: {said}");
        ensure!(
            said.contains("\n0 packets dropped by kernel"),
            "tcpdump lost packets: {said}"
        );
        std::fs::copy(&self.file, &self.kept)?;
        std::fs::remove_file(&self.file)?;
        Ok(self.kept)
    }
}

/// Runs `nodespan replay` of a capture, both ends observed.
///
/// # Errors
/// If it fails.
pub fn replay(nodespan: &Path, capture: &Path, out: &Path) -> Result<Vec<Span>> {
    let mut replay = Command::new(nodespan);
    replay
        .arg("replay")
        .arg(capture)
        .args(["--observe", "both", "--output", "jsonl"]);
    let done = output(&mut replay, Duration::from_secs(120))?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(
        done.status.success(),
        "replay ended with {}: {said}",
        done.status
    );
    let file = out.join("replay.jsonl");
    std::fs::write(&file, done.stdout)?;
    spans::read(&file).with_context(|| format!("what replay said: {said}"))
}

/// Live and replayed spans are the same in everything that both can know.
///
/// # Errors
/// With what is missing and what is too much.
pub fn same_spans(live: &[&Span], replayed: &[&Span]) -> Result<()> {
    ensure!(!live.is_empty(), "no live spans to compare with");
    same(
        "replayed spans",
        replayed.iter().map(|span| essence(span)),
        live.iter().map(|span| essence(span)),
    )
}

/// What must be equal. Service names differ: in a capture a workload is an
/// address.
fn essence(span: &Span) -> String {
    let Span {
        trace,
        id,
        parent,
        kind,
        shared,
        debug,
        ..
    } = span;
    let parent = parent.as_deref().unwrap_or("root");
    format!(
        "{} {} {:?} {trace}/{id} below {parent} {}{}sizes {}/{} {}",
        span.tag("http.method"),
        span.tag("http.url"),
        kind,
        if *shared { "shared " } else { "" },
        if *debug { "debug " } else { "" },
        span.tag("request_size"),
        span.tag("response_size"),
        span.tag("http.status_code"),
    )
}
