//! A running agent that asks a real Jaeger how much to sample, while the answer
//! changes.
//!
//! The agent reads a pipe with one exchange after the other, in real time. None
//! of them has a trace context, so the sampler decides about each: by
//! `samplingParam` until the first answer, then by the answers. The agent asks
//! every minute, so this takes a little longer.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use nodespan::capture::pcap::write::{Conversation, Precision, Writer};
use nodespan::units::Side;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::json;

use super::jaeger::Jaeger;
use super::sampling::Strategies;
use crate::children::Running;
use crate::report::Verdict;
use crate::spans;
use crate::wait;

/// Name of the check, and of its files.
pub const NAME: &str = "jaeger-remote-sampling-agent";

/// What the agent says (`-v`) when an answer is new.
const ANSWER: &str = "sampling of";

/// From one exchange to the next.
const STEP: Duration = Duration::from_millis(100);

/// For the first answer, which is asked for at once.
const FIRST: Duration = Duration::from_secs(60);

/// For the second, which is asked for a minute later.
const SECOND: Duration = Duration::from_secs(90);

/// Exchanges while nothing changes.
const STEADY: usize = 20;

/// For spans that were sent to be stored.
const STORED: Duration = Duration::from_secs(60);

/// Jaeger says 0 of the service, then 1: after the first answer nothing is
/// printed or stored, after the second everything.
///
/// # Errors
/// With what was, or was not.
pub fn follows_the_file(nodespan: &Path, jaeger: &Jaeger, out: &Path) -> Result<Verdict> {
    let [a, b, c, _] = std::process::id().to_be_bytes();
    let server = Ipv4Addr::new(10, a ^ b, c, std::process::id() as u8);
    let service = server.to_string();
    let strategies = Strategies::of(jaeger)?;
    let share = |param: f64| {
        let strategy = json!({"type": "probabilistic", "param": param});
        strategies.write(&service, strategy)?;
        wait::until_true("Jaeger to have read its file", FIRST, || {
            Ok(jaeger.rate(&service)? == Some(param))
        })
    };
    share(0.0)?;

    let mut agent = Fed::start(nodespan, jaeger, server, out)?;
    agent.feed()?;
    // It asks and hears while the pipe is silent, too.
    let none = agent.fed;
    wait::until_true("the first answer", FIRST, || agent.hears(ANSWER))?;
    agent.feed_for(STEADY)?;
    share(1.0)?;
    let changed = agent.fed;
    let all = agent.feed_until(SECOND, ANSWER)?;
    agent.feed_for(STEADY)?;
    let (fed, printed) = agent.end()?;

    // What is fed when an answer comes may be decided before or after it.
    let early: BTreeSet<usize> = printed.range(..=none).copied().collect();
    let between: Vec<usize> = printed.range(none + 1..=changed).copied().collect();
    let late: BTreeSet<usize> = printed.range(changed + 1..).copied().collect();
    ensure!(
        early == (1..=early.len()).collect() && !early.is_empty(),
        "of {none} before the first answer {early:?}, not as samplingParam says"
    );
    ensure!(
        between.is_empty(),
        "Jaeger said 0 after exchange {none}, and 1 after {changed}; still {between:?}"
    );
    let first = late.first().copied().unwrap_or(fed);
    ensure!(
        late == (first..=fed).collect() && first <= all + 1 && fed == all + STEADY,
        "Jaeger's 1 was heard after exchange {all} of {fed}; only {late:?}"
    );
    // The same by UDP.
    let mut stored = BTreeSet::new();
    wait::until_true("all in Jaeger", STORED, || {
        stored = jaeger.urls(&service)?.iter().filter_map(number).collect();
        Ok(stored.len() >= printed.len())
    })?;
    ensure!(stored == printed, "Jaeger has {stored:?}, not {printed:?}");
    Ok(Verdict::Passed)
}

/// An agent that reads a pipe.
struct Fed {
    running: Running,
    spans: PathBuf,
    pipe: Writer<File>,
    talk: Conversation,
    /// Exchanges so far; each has its number in its path, from 1 on.
    fed: usize,
    /// How much it has said that was looked at.
    heard: usize,
}

impl Fed {
    fn start(nodespan: &Path, jaeger: &Jaeger, server: Ipv4Addr, out: &Path) -> Result<Self> {
        let file = |kind| out.join(format!("{NAME}.{kind}"));
        let (pipe, config) = (file("pipe"), file("toml"));
        fs::write(
            &config,
            format!(
                "[tracing]\nbackend = \"jaeger\"\n[tracing.jaeger]\nlocalAgentHostPort = \"{}\"\n\
                 samplingType = \"remote\"\nsamplingParam = 1\nsamplingServerURL = \"{}/sampling\"\n",
                jaeger.at("udp")?,
                jaeger.url("sampling")?
            ),
        )?;
        let _ = fs::remove_file(&pipe);
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // For reading, too: so it waits for nobody.
        let writer = OpenOptions::new().read(true).write(true).open(&pipe)?;
        let mut replay = std::process::Command::new(nodespan);
        replay.args(["-v", "replay", "--output", "jsonl", "--config"]);
        replay.arg(config).arg(pipe);
        let running = Running::start(NAME, &mut replay, out)?;
        let mut pipe = Writer::new(writer, Precision::Nanos)?;
        let client = (Ipv4Addr::new(10, 0, 0, 1), 40_000).into();
        let mut talk = Conversation::new(client, (server, 80).into(), 1, 2);
        talk.open(&mut pipe, &mut now()?)?;
        Ok(Self {
            running,
            spans: file("out"),
            pipe,
            talk,
            fed: 0,
            heard: 0,
        })
    }

    fn feed(&mut self) -> Result<()> {
        self.running.must_live()?;
        self.fed += 1;
        let request = format!("GET /n/{} HTTP/1.1\r\nHost: shop\r\n\r\n", self.fed);
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (pipe, clock) = (&mut self.pipe, &mut now()?);
        self.talk
            .send(Side::Client, request.as_bytes(), pipe, clock)?;
        self.talk.send(Side::Server, response, pipe, clock)?;
        std::thread::sleep(STEP);
        Ok(())
    }

    fn feed_for(&mut self, exchanges: usize) -> Result<()> {
        (0..exchanges).try_for_each(|_| self.feed())
    }

    /// Feeds it until it says something new; how many it had been fed by then.
    fn feed_until(&mut self, limit: Duration, says: &str) -> Result<usize> {
        let started = Instant::now();
        loop {
            self.feed()?;
            if self.hears(says)? {
                return Ok(self.fed);
            }
            let (late, said) = (started.elapsed() > limit, self.running.said());
            ensure!(!late, "no {says:?} in {} s: {said}", limit.as_secs());
        }
    }

    /// Whether it has said this since it was last heard to.
    fn hears(&mut self, says: &str) -> Result<bool> {
        self.running.must_live()?;
        let said = self.running.said();
        let new = said.get(self.heard..).unwrap_or_default();
        let found = new.contains(says);
        if found {
            self.heard = said.len();
        }
        Ok(found)
    }

    /// How many it was fed, and the numbers of those it printed.
    fn end(mut self) -> Result<(usize, BTreeSet<usize>)> {
        drop(self.pipe.into_inner()?);
        self.running.must_succeed(Duration::from_secs(20))?;
        let spans = spans::read(&self.spans)?;
        let printed: BTreeSet<usize> = spans
            .iter()
            .filter_map(|span| number(span.path()))
            .collect();
        ensure!(printed.len() == spans.len(), "spans of something else");
        Ok((self.fed, printed))
    }
}

/// The number of an exchange, by the end of its URL.
fn number(url: impl AsRef<str>) -> Option<usize> {
    url.as_ref().rsplit('/').next()?.parse().ok()
}

/// Nanoseconds.
fn now() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    u64::try_from(now.as_nanos()).context("the far future")
}
