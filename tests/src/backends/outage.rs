//! A backend that is down for a minute, in real time: a real Zipkin is killed
//! while 2,000 spans a second go to it, and started again 60 seconds later.
//!
//! Two agents read a pipe each with one exchange after the other, both ends
//! observed. The queue of the first can hold everything, that of the second is
//! the default. What their ledgers say was sent is what Zipkin holds then, but
//! for what died with the first server.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use nodespan::capture::pcap::write::{Conversation, Precision, Writer};
use nodespan::units::Side;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::Value;

use crate::children::{Running, program};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::wait;
use crate::zipkin::Zipkin;

/// Exchanges, of two spans each.
const RATE: u64 = 1000;
/// How long nobody listens, at least.
const DOWN: Duration = Duration::from_secs(60);
/// How long Zipkin is there before.
const BEFORE: Duration = Duration::from_secs(3);
/// Until the agents have noticed that it is there again: their longest wait
/// is 30 s.
const NOTICED: Duration = Duration::from_secs(60);
/// For Zipkin to store what it has taken.
const STORED: Duration = Duration::from_secs(60);
/// From one look at the clock to the next.
const STEP: Duration = Duration::from_millis(10);
/// Traces that are asked for at once; their ids are the URL.
const ASKED: usize = 150;

const KEEPS: &str = "backends/outage/keeps";
const DROPS: &str = "backends/outage/drops";

/// What became of it, for each agent.
#[derive(Debug)]
pub struct Outage {
    agents: Vec<Account>,
    /// Exchanges when the server was killed, and when it was there again.
    killed: u64,
    back: u64,
    /// How long nobody listened.
    down: Duration,
}

/// What an agent said at its end, and what Zipkin holds of it.
#[derive(Debug)]
struct Account {
    fed: u64,
    line: String,
    log_lines: usize,
    /// Spans in Zipkin by exchange, of those that were fed before and after
    /// the kill.
    held: BTreeMap<u64, u64>,
}

impl Outage {
    /// The checks that are wanted.
    #[must_use]
    pub fn wanted(report: &Report) -> Vec<&'static str> {
        let all = [KEEPS, DROPS].into_iter();
        all.filter(|name| report.wants(name)).collect()
    }

    /// Kills and starts a Zipkin of its own.
    ///
    /// # Errors
    /// If something does not start, or Zipkin is not noticed again.
    pub fn run(nodespan: &Path, jar: Option<&Path>, out: &Path) -> Result<Self> {
        let jar = jar.context("NODESPAN_ZIPKIN_JAR is not set")?;
        let port = free_port()?;
        let mut server = start(jar, port, "outage-zipkin-1", out)?;
        let zipkin = Zipkin::new(&format!("http://127.0.0.1:{port}"))?;
        let mut feed = Feed::start(nodespan, port, out)?;
        feed.go_on_for(BEFORE)?;
        wait::until_true("Zipkin to have got something", STORED, || {
            feed.go_on_for(STEP)?;
            Ok(taken(&zipkin)? > 0)
        })?;
        server.stop(Signal::KILL, Duration::from_secs(10))?;
        let (killed, since) = (feed.fed, Instant::now());
        feed.go_on_for(DOWN)?;
        // Nobody answers yet when it is started, so this is at least what it
        // should be.
        let mut server = launch(jar, port, "outage-zipkin-2", out)?;
        let addr = zipkin.addr();
        while std::net::TcpStream::connect_timeout(&addr, STEP).is_err() {
            server.must_live()?;
            feed.go_on_for(STEP)?;
        }
        let (back, down) = (feed.fed, since.elapsed());
        // By themselves: they are fed all the time.
        let noticed = Instant::now();
        while taken(&zipkin).unwrap_or_default() == 0 {
            ensure!(noticed.elapsed() < NOTICED, "the agents do not come back");
            feed.go_on_for(Duration::from_millis(200))?;
        }
        feed.go_on_for(Duration::from_secs(2))?;
        let agents = feed.end(&zipkin, killed)?;
        Ok(Self {
            agents,
            killed,
            back,
            down,
        })
    }

    /// Judges what became of it.
    pub fn report(report: &mut Report, outage: Result<Self>) {
        let outage = match outage {
            Ok(outage) => outage,
            Err(error) => return report.result("backends/outage/start", Err(error)),
        };
        let Self {
            killed,
            back,
            down,
            agents,
        } = &outage;
        let fed = agents.first().map_or(0, |agent| agent.fed);
        report.note(&format!(
            "Zipkin was down for {:.1} s, while {} spans were made; {} in all",
            down.as_secs_f32(),
            2 * (back - killed),
            2 * fed
        ));
        for (agent, name) in agents.iter().zip([KEEPS, DROPS]) {
            report.note(&agent.line);
            report.check(name, || outage.judge(agent, name == KEEPS));
        }
    }

    fn judge(&self, agent: &Account, keeps: bool) -> Result<Verdict> {
        let during = 2 * (self.back - self.killed);
        ensure!(self.down >= DOWN, "it was down for {:?}", self.down);
        let expected = 2 * RATE * DOWN.as_secs();
        ensure!(during >= expected, "{during} spans, not {expected}");
        let made = 2 * agent.fed;
        let number = |after: &str| number(&agent.line, after);
        ensure!(number("= ")? == made, "not {made} spans: {}", agent.line);
        let (sent, dropped) = (number("zipkin: ")?, number(" queued, ")?);
        ensure!(
            sent + dropped == made && agent.line.contains(", 0 queued,"),
            "{made} spans: {}",
            agent.line
        );
        let full = number("queue_full ").unwrap_or_default();
        ensure!(dropped == full, "not dropped for room: {}", agent.line);
        ensure!(keeps == (dropped == 0), "{}", agent.line);
        // The server that was killed took with it what it had.
        let (mut held, mut gone) = (0, 0);
        for (exchange, spans) in &agent.held {
            held += spans;
            ensure!(*spans <= 2, "exchange {exchange} has {spans} spans");
            if *exchange <= self.killed {
                gone += 2 - spans;
            }
        }
        ensure!(
            held + gone == sent,
            "{sent} spans were sent, Zipkin holds {held}, {gone} went with the one before"
        );
        ensure!(gone <= 2 * self.killed, "{gone} spans are gone");
        // A dead backend is no reason to fill a disk.
        ensure!(
            agent.log_lines < 100,
            "{} lines in its log",
            agent.log_lines
        );
        Ok(Verdict::Passed)
    }
}

/// The number that follows this in the ledger's line.
fn number(line: &str, after: &str) -> Result<u64> {
    let (_, rest) = line.split_once(after).with_context(|| line.to_owned())?;
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits
        .parse()
        .with_context(|| format!("no number after {after:?}: {line}"))
}

/// Spans that Zipkin says it has taken.
fn taken(zipkin: &Zipkin) -> Result<u64> {
    let metrics = zipkin.json("/metrics")?;
    // It writes whole numbers as `3.0`.
    let taken = metrics["counter.zipkin_collector.spans.http"].as_f64();
    Ok(taken.unwrap_or_default() as u64)
}

/// Starts a Zipkin and waits until it listens.
fn start(jar: &Path, port: u16, name: &str, out: &Path) -> Result<Running> {
    let mut server = launch(jar, port, name, out)?;
    server.wait_listening((Ipv4Addr::LOCALHOST, port).into())?;
    Ok(server)
}

fn launch(jar: &Path, port: u16, name: &str, out: &Path) -> Result<Running> {
    // Goes with the suite, however that ends.
    let mut java = Command::new(program(&["setpriv"])?);
    java.args(["--pdeathsig", "KILL"]).arg(program(&["java"])?);
    java.args(["-Xmx1500m", "-jar"]).arg(jar);
    java.env("STORAGE_TYPE", "mem")
        .env("MEM_MAX_SPANS", "2000000")
        .env("QUERY_PORT", port.to_string());
    Running::start(name, &mut java, out)
}

fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// Both agents and what they are fed.
struct Feed {
    agents: Vec<Fed>,
    started: Instant,
    fed: u64,
}

/// An agent that reads a pipe.
struct Fed {
    running: Running,
    pipe: Writer<File>,
    talk: Conversation,
    /// First digits of its trace ids.
    prefix: u32,
}

impl Feed {
    fn start(nodespan: &Path, port: u16, out: &Path) -> Result<Self> {
        let large = "queueSpans = 1000000\nqueueBytes = 1000000000\n";
        let agents = [("keeps", large), ("drops", "")].into_iter().zip(1..);
        let agents = agents.map(|((name, queue), number)| {
            let delivery = format!("{queue}giveUpAfter = \"5m\"\nshutdownGrace = \"2m\"\n");
            let name = format!("outage-{name}");
            Fed::start(nodespan, &name, number, &config(port, &delivery), out)
        });
        Ok(Self {
            agents: agents.collect::<Result<_>>()?,
            started: Instant::now(),
            fed: 0,
        })
    }

    /// Feeds at the rate, by the clock.
    fn go_on_for(&mut self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            let due = u64::try_from(self.started.elapsed().as_micros())? * RATE / 1_000_000;
            while self.fed < due {
                self.fed += 1;
                for agent in &mut self.agents {
                    agent.feed(self.fed)?;
                }
            }
            if Instant::now() >= end {
                return Ok(());
            }
            thread::sleep(STEP);
        }
    }

    fn end(self, zipkin: &Zipkin, killed: u64) -> Result<Vec<Account>> {
        let fed = self.fed;
        // All pipes first, so that the agents end together.
        let mut ended = Vec::new();
        for agent in self.agents {
            drop(agent.pipe.into_inner()?);
            ended.push((agent.running, agent.prefix));
        }
        let mut accounts = Vec::new();
        // Who lost spans says so, too, when it ends.
        for ((mut running, prefix), code) in ended.into_iter().zip([0, 1]) {
            running.must_end_with(code, Duration::from_secs(150))?;
            let said = running.said();
            let line = said
                .lines()
                .rev()
                .filter(|line| line.contains(" exchanges = "))
                .find_map(|line| line.split_once("DEBUG"));
            let (_, line) = line.context("no account at the end of the log")?;
            let line = line.trim();
            let sent = number(line, "zipkin: ")?;
            let mut held = BTreeMap::new();
            let stored = wait::until_true("all to be stored", STORED, || {
                held = holds(zipkin, prefix, fed)?;
                let after: u64 = held.range(killed + 1..).map(|(_, spans)| spans).sum();
                Ok(after + 2 * killed >= sent)
            });
            // What is missing is said by who judges.
            drop(stored);
            accounts.push(Account {
                fed,
                line: line.to_owned(),
                log_lines: said.lines().count(),
                held,
            });
        }
        Ok(accounts)
    }
}

impl Fed {
    fn start(nodespan: &Path, name: &str, number: u8, config: &str, out: &Path) -> Result<Self> {
        let file = |kind| -> PathBuf { out.join(format!("{name}.{kind}")) };
        let (pipe, toml) = (file("pipe"), file("toml"));
        fs::write(&toml, config)?;
        let _ = fs::remove_file(&pipe);
        mknodat(CWD, &pipe, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        // For reading, too: so it waits for nobody.
        let writer = OpenOptions::new().read(true).write(true).open(&pipe)?;
        let mut replay = Command::new(nodespan);
        replay.args([
            "-v",
            "replay",
            "--observe",
            "both",
            "--output",
            "none",
            "--config",
        ]);
        replay.arg(toml).arg(pipe);
        let running = Running::start(name, &mut replay, out)?;
        let mut pipe = Writer::new(writer, Precision::Nanos)?;
        let client = SocketAddr::from(([10, 9, number, 1], 40_000));
        let server = SocketAddr::from(([10, 9, number, 2], 80));
        let mut talk = Conversation::new(client, server, 1, 2);
        talk.open(&mut pipe, &mut now()?)?;
        Ok(Self {
            running,
            pipe,
            talk,
            prefix: 0xa000_0000 | u32::from(number),
        })
    }

    fn feed(&mut self, exchange: u64) -> Result<()> {
        self.running.must_live()?;
        let trace = trace(self.prefix, exchange);
        let request = format!(
            "GET /n/{exchange} HTTP/1.1\r\nHost: shop\r\nb3: {trace}-00000000000000aa-1\r\n\r\n"
        );
        let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        let (pipe, clock) = (&mut self.pipe, &mut now()?);
        self.talk
            .send(Side::Client, request.as_bytes(), pipe, clock)?;
        self.talk.send(Side::Server, response, pipe, clock)?;
        Ok(())
    }
}

fn config(port: u16, delivery: &str) -> String {
    format!(
        "[tracing]\nbackend = \"zipkin\"\n[tracing.zipkin]\n\
         httpEndpoint = \"http://127.0.0.1:{port}/api/v2/spans\"\n[export]\n{delivery}"
    )
}

/// Of 64 bits, so that many fit into a question.
fn trace(prefix: u32, exchange: u64) -> String {
    format!("{prefix:08x}{exchange:08x}")
}

/// How many spans Zipkin holds of each exchange.
fn holds(zipkin: &Zipkin, prefix: u32, fed: u64) -> Result<BTreeMap<u64, u64>> {
    let mut held: BTreeMap<u64, u64> = (1..=fed).map(|exchange| (exchange, 0)).collect();
    let mut client = Client::connect(zipkin.addr())?;
    client.keep_all();
    let all: Vec<u64> = held.keys().copied().collect();
    for some in all.chunks(ASKED) {
        let ids: Vec<String> = some
            .iter()
            .map(|exchange| trace(prefix, *exchange))
            .collect();
        let path = format!("/api/v2/traceMany?traceIds={}", ids.join(","));
        let answer = client.exchange("GET", &path, "")?;
        ensure!(answer.status == 200, "Zipkin answered {}", answer.status);
        let traces: Vec<Vec<Value>> = serde_json::from_slice(&answer.body)?;
        for span in traces.into_iter().flatten() {
            let trace = span["traceId"].as_str().unwrap_or_default();
            let exchange = u64::from_str_radix(trace.get(8..).unwrap_or_default(), 16)?;
            *held.entry(exchange).or_default() += 1;
        }
    }
    Ok(held)
}

/// Nanoseconds.
fn now() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    u64::try_from(now.as_nanos()).context("the far future")
}
