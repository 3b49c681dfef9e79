//! Policies that change under load: every request is decided by the old or the
//! new state, none is lost and none is there twice.
//!
//! What is reached in a second depends on who else uses the machine, unless the
//! guest counts its processor's time in instructions (`cargo xtask vm --icount`).

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::Signal;

use super::collector::{Collector, twice};
use super::node::{Node, last_account, replace};
use super::scene::{FIRST, Site, dataplane, policy};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::Span;
use crate::targets::{Places, Target, nginx};
use crate::wait;

const SERVICE: &str = "policy-load";
/// Keep-alive connections. One thread asks on all of them at once and then
/// reads all answers: in an emulated machine each time that somebody falls
/// asleep and is woken costs more than a request.
const CONNECTIONS: u32 = 20;
/// Requests a second that are aimed at, and what must be reached.
const RATE: u32 = 1000;
const LEAST: u64 = 900;
/// Between two changes.
const EVERY: Duration = Duration::from_millis(100);
/// So long, changes are left to the agent to find, and so long it is told.
const FOUND: Duration = Duration::from_secs(20);
const TOLD: Duration = Duration::from_secs(40);
/// Before the first change.
const STILL: Duration = Duration::from_secs(3);
/// The tag of the requests while the policy changes, and of those during which
/// the agent ends.
const CHANGING: &str = "reload";
const ENDING: &str = "ending";

pub(super) fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    // In memory: the folder for results is the host's, and each access costs a
    // guest milliseconds.
    let scratch = Scratch::new()?;
    let mut server = nginx(&Places {
        out: scratch.0.clone(),
        ..site.places.clone()
    })?;
    server.wait()?;
    let (folder, spare) = (scratch.0.join("resources"), scratch.0.join("spare"));
    fs::create_dir(&folder)?;
    let backends = [Collector::start(FIRST + 11)?, Collector::start(FIRST + 12)?];
    let states = States {
        urls: [backends[0].url(), backends[1].url()],
        dataplane: dataplane(server.addr(), SERVICE, "kuma.io/protocol: http"),
    };
    let file = folder.join("all.yaml");
    replace(&file, &states.text(0, true), &spare)?;
    let resources = folder.display().to_string();
    let agent = site.agent("policy-load", &["--resources", &resources])?;

    let load = Load::start(server.addr(), CHANGING);
    thread::sleep(STILL);
    let still = load.rate();
    let mut written = change(&states, &file, &spare, FOUND, true, || {})?;
    let found = agent.count_said("is in force");
    let while_found = load.rate();
    written += change(&states, &file, &spare, TOLD, false, || {
        agent.signal(Signal::HUP);
    })?;
    let (sent, took) = load.stop()?;
    let changes = agent.count_said("is in force");
    let rate = sent * 1000 / u64::try_from(took.as_millis())?.max(1);
    report.note(&format!(
        "{sent} requests, {rate} a second ({still} before the first change, {while_found} until \
         the agent was told); {written} files, {changes} states in force, {found} of them found"
    ));
    report.check("reload/rate", || {
        ensure!(
            rate >= LEAST,
            "{rate} requests a second, not {LEAST} (a guest with --icount is as fast as it says)"
        );
        ensure!(found >= 3, "{found} states were found");
        ensure!(changes >= 150, "{changes} states were in force");
        Ok(Verdict::Passed)
    });
    report.check("reload/each-once", || {
        each_once(&server, &backends, sent)?;
        Ok(Verdict::Passed)
    });
    report.check("reload/ledger", || {
        agent.in_order()?;
        Ok(Verdict::Passed)
    });
    report.check("reload/end-under-load", || {
        ended(agent, &server, &backends)?;
        Ok(Verdict::Passed)
    });
    Ok(())
}

/// A folder of this machine's own, removed when dropped.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Result<Self> {
        let folder = std::env::temp_dir().join(format!("nodespan-policy-{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        Ok(Self(folder))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A guest ends anyway.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// The two states. They differ in everything that is decided: the backend, the
/// width of trace ids, and whether the other backend exists.
struct States {
    urls: [String; 2],
    dataplane: String,
}

impl States {
    fn text(&self, state: usize, both: bool) -> String {
        let mut text = "type: Mesh\nname: default\ntracing:\n  backends:\n".to_owned();
        for (n, url) in self.urls.iter().enumerate() {
            if both || n == state {
                text += &format!(
                    "  - {{name: b{n}, type: zipkin, conf: {{url: '{url}', traceId128bit: {}}}}}\n",
                    n == 0
                );
            }
        }
        let policy = policy("all", "kuma.io/service: '*'", &format!("b{state}"));
        format!("{text}---\n{policy}---\n{}", self.dataplane)
    }
}

/// Replaces the file again and again for this time; how often.
fn change(
    states: &States,
    file: &Path,
    spare: &Path,
    time: Duration,
    both: bool,
    after: impl Fn(),
) -> Result<usize> {
    let start = Instant::now();
    let mut written = 0_usize;
    while start.elapsed() < time {
        written += 1;
        // Thue's sequence: no rhythm of the agent's own meets only one state.
        let state = usize::from(!written.count_ones().is_multiple_of(2));
        replace(file, &states.text(state, both), spare)?;
        after();
        let next = EVERY * u32::try_from(written)?;
        thread::sleep(next.saturating_sub(start.elapsed()));
    }
    Ok(written)
}

/// Requests to a server, each with a path of its own.
struct Load {
    thread: JoinHandle<Result<u64>>,
    answered: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    start: Instant,
}

impl Load {
    fn start(server: SocketAddr, tag: &'static str) -> Self {
        let (stop, start) = (Arc::new(AtomicBool::new(false)), Instant::now());
        let answered = Arc::new(AtomicU64::new(0));
        let (stopped, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = thread::spawn(move || {
            let clients = (0..CONNECTIONS).map(|_| Client::connect(server));
            let mut clients: Vec<Client> = clients.collect::<Result<_>>()?;
            let mut turn = 0_u32;
            while !stopped.load(Relaxed) {
                let due = Duration::from_secs(1) * turn * CONNECTIONS / RATE;
                thread::sleep(due.saturating_sub(start.elapsed()));
                for (n, client) in clients.iter_mut().enumerate() {
                    client.request("GET", &format!("/small/{tag}/{n}-{turn}"), "")?;
                }
                for client in &mut clients {
                    let answer = client.response("GET")?;
                    ensure!(answer.status == 200, "status {}", answer.status);
                }
                turn += 1;
                count.fetch_add(u64::from(CONNECTIONS), Relaxed);
            }
            Ok(u64::from(turn * CONNECTIONS))
        });
        Self {
            thread,
            answered,
            stop,
            start,
        }
    }

    /// Requests a second so far.
    fn rate(&self) -> u64 {
        let answered = u128::from(self.answered.load(Relaxed));
        let rate = answered * 1000 / self.start.elapsed().as_millis().max(1);
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// How many requests were sent and answered, and in what time.
    fn stop(self) -> Result<(u64, Duration)> {
        self.stop.store(true, Relaxed);
        let Ok(sent) = self.thread.join() else {
            bail!("the client panicked")
        };
        Ok((sent.context("the client")?, self.start.elapsed()))
    }
}

/// Every request is one span at one backend, and as that one's state has it.
fn each_once(server: &Target, backends: &[Collector; 2], sent: u64) -> Result<()> {
    let sent = usize::try_from(sent)?;
    let lines = server.lines()?;
    let served: BTreeSet<&str> = lines
        .iter()
        .filter(|line| line.case() == CHANGING)
        .map(|line| line.path.as_str())
        .collect();
    ensure!(
        served.len() == sent,
        "{sent} requests, {} in the access log",
        served.len()
    );
    let mut counts = [0; 2];
    let all_there = wait::until_true("all spans", Duration::from_secs(60), || {
        thread::sleep(Duration::from_millis(500)); // All of it is searched again.
        for (count, backend) in counts.iter_mut().zip(backends) {
            *count = backend.count();
        }
        Ok(counts.iter().sum::<usize>() >= sent)
    });
    all_there.with_context(|| format!("{sent} requests, {counts:?} spans"))?;
    // Whatever comes too often would come now.
    thread::sleep(Duration::from_secs(2));
    let spans = [backends[0].spans()?, backends[1].spans()?];
    let counts = [spans[0].len(), spans[1].len()];
    ensure!(
        counts.iter().sum::<usize>() == sent,
        "{sent} requests, {counts:?} spans"
    );
    ensure!(
        counts.iter().all(|count| count * 10 > sent),
        "one state was hardly in force: {counts:?} spans"
    );
    let again = twice(spans.iter().flatten());
    ensure!(again.is_empty(), "{} ids are there twice", again.len());
    let traced: BTreeSet<&str> = spans.iter().flatten().map(Span::path).collect();
    ensure!(traced == served, "not every request has a span");
    for (spans, digits) in spans.iter().zip([32, 16]) {
        let mixed = spans.iter().find(|span| span.trace.len() != digits);
        ensure!(mixed.is_none(), "half of either state: {mixed:?}");
        let stranger = spans.iter().find(|span| span.service != SERVICE);
        ensure!(stranger.is_none(), "another's span: {stranger:?}");
    }
    Ok(())
}

/// Told to end while requests come, the agent delivers what it has and its
/// accounts are even.
fn ended(agent: Node, server: &Target, backends: &[Collector; 2]) -> Result<()> {
    let load = Load::start(server.addr(), ENDING);
    thread::sleep(Duration::from_secs(3));
    let said = agent.terminate();
    load.stop()?;
    let said = said?;
    let last = last_account(&said)?;
    let spans = [backends[0].spans()?, backends[1].spans()?];
    let arrived = spans[0].len() + spans[1].len();
    let during = spans.iter().flatten().filter(|span| span.case() == ENDING);
    ensure!(during.count() > 100, "no load at the end");
    ensure!(
        last.contains(&format!(" exchanges = {arrived} spans + ")),
        "{arrived} spans arrived: {last}"
    );
    Ok(())
}
