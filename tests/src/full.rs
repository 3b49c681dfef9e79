//! What happens when there is no room: `full/` of the guest suite. A ring and
//! a socket map that are too small on purpose, and what the ledger says.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::agent::{Agent, READY};
use crate::compare::Seen;
use crate::ledger::{adds_up, at, status};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::run::all_lines;
use crate::spans::Kind;
use crate::targets::{self, PORTS, Places, Target};
use crate::wait;

const PORT: u16 = PORTS + 100;

/// A ring that a few hundred requests fill while nobody reads it.
const RING: &str = "65536";
const BURST: usize = 400;

/// A map for fewer sockets than are open at once.
const SOCKETS: &str = "8";
const CONNECTIONS: usize = 12;
const REQUESTS: usize = 3;

/// Times that a map is tried to be filled.
const ROUNDS: usize = 10;

/// Requests behind each shortage.
const AFTER: usize = 10;

/// Both.
///
/// # Errors
/// If the server or an agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !report.wants("full/") {
        return Ok(());
    }
    let target = targets::origin("full", PORT)?;
    ring(report, nodespan, places, &target)?;
    sockets(report, nodespan, places, &target)
}

/// The agent is stopped while more comes than the ring holds.
fn ring(report: &mut Report, nodespan: &Path, places: &Places, target: &Target) -> Result<()> {
    let arguments = ["--ring-bytes", RING];
    let mut agent = Agent::start(nodespan, "full-ring", arguments, &places.out)?;
    agent.wait_ready(target.addr())?;
    let mut client = Client::connect(target.addr())?;
    agent.signal(Signal::STOP);
    let burst = many(&mut client, "full-burst", BURST);
    agent.signal(Signal::CONT);
    burst?;
    let lost = settle(nodespan, "/records/lost/ring_full");
    many(&mut client, "full-same", AFTER)?;
    many(&mut Client::connect(target.addr())?, "full-other", AFTER)?;
    let seen = Seen::new(agent.stop()?, all_lines(std::slice::from_ref(target))?);

    report.check("full/ring-counted", || {
        // Records are lost or read, says `settle`, so this is all of them.
        ensure!(lost? > 0, "nothing is counted as lost");
        Ok(Verdict::Passed)
    });
    report.check("full/ring-spans-are-true", || {
        let some = truthful(&seen, "full-burst")?;
        ensure!(
            some > 0 && some < 2 * BURST,
            "{some} spans of {BURST} requests while the ring was full"
        );
        Ok(Verdict::Passed)
    });
    report.check("full/ring-recovers", || {
        seen.servers_equal_log("full-other")?;
        seen.clients_equal_log("full-other")?;
        seen.joined("full-other")?;
        // The connection that had lost records, at the latest behind its next
        // message.
        let spans = truthful(&seen, "full-same")?;
        ensure!(
            spans >= 2 * (AFTER - 1),
            "{spans} spans of {AFTER} requests on the same connection"
        );
        Ok(Verdict::Passed)
    });
    Ok(())
}

/// More sockets are open than the map has room for.
fn sockets(report: &mut Report, nodespan: &Path, places: &Places, target: &Target) -> Result<()> {
    let arguments = ["--sockets", SOCKETS];
    let mut agent = Agent::start(nodespan, "full-sockets", arguments, &places.out)?;
    agent.wait_ready(target.addr())?;
    let before = status(nodespan)?;
    let twice = before["probes"]["twice"] == true;
    ensure!(
        at(&before, "/ledger/records/missed/map_full")? == 0,
        "the map is full already"
    );
    {
        let mut open = Vec::new();
        for _ in 0..CONNECTIONS {
            open.push(Client::connect(target.addr())?);
        }
        for (n, client) in open.iter_mut().enumerate() {
            for request in 0..REQUESTS {
                let path = format!("/small/full-map/{}", n * REQUESTS + request);
                client.exchange("GET", &path, "")?;
            }
        }
        // All are closed: whoever asks for the status has room.
    }
    let missed = settle(nodespan, "/records/missed/map_full");
    overfill(nodespan, target)?;
    let refused = settle(nodespan, "/events/skip_refused");
    many(&mut Client::connect(target.addr())?, "full-again", AFTER)?;
    let seen = Seen::new(agent.stop()?, all_lines(std::slice::from_ref(target))?);

    report.check("full/map-counted", || {
        let missed = missed?;
        let spans = truthful(&seen, "full-map")?;
        let all = 2 * CONNECTIONS * REQUESTS;
        ensure!(spans > 0 && spans < all, "{spans} of {all} spans");
        // Every exchange that is missing is a send and a receive.
        let missing = 2 * (all - spans) as u64;
        let most = if twice { 2 * missing } else { missing };
        ensure!(
            (missing..=most).contains(&missed),
            "{missed} calls are counted, not {missing}"
        );
        Ok(Verdict::Passed)
    });
    report.check("full/skips-counted", || {
        let refused = refused?;
        ensure!(refused > 0, "no word on bodies is counted as refused");
        Ok(Verdict::Passed)
    });
    report.check("full/map-recovers", || {
        seen.servers_equal_log("full-again")?;
        seen.clients_equal_log("full-again")?;
        seen.joined("full-again")?;
        let other = seen.strangers(|span| span.case().starts_with("full-") || span.case() == READY);
        ensure!(other.is_empty(), "other spans: {}", other.join(", "));
        Ok(Verdict::Passed)
    });
    Ok(())
}

/// Bodies in both directions, on more ends than the map of what is skipped has
/// room for, until one has found none: an agent that has got a body's last
/// bytes before it speaks has nothing to say of it.
fn overfill(nodespan: &Path, target: &Target) -> Result<()> {
    let words = "w".repeat(1 << 20);
    let (first, last) = words.split_at(words.len() / 2);
    let length = format!("Content-Length: {}\r\n", words.len());
    let mut open = Vec::new();
    for _ in 0..4 {
        open.push(Client::connect(target.addr())?);
    }
    for _ in 0..ROUNDS {
        for client in &mut open {
            client.request("POST", "/echo/full-skips/1", &length)?;
            client.send(first)?;
        }
        // For the agent to speak of those that are under way.
        std::thread::sleep(Duration::from_millis(300));
        for client in &mut open {
            client.send(last)?;
            client.response("POST")?;
            client.exchange("GET", "/big/full-skips/2", "")?;
        }
        if at(&status(nodespan)?, "/ledger/events/skip_refused")? > 0 {
            break;
        }
    }
    Ok(())
}

fn many(client: &mut Client, tag: &str, times: usize) -> Result<()> {
    for n in 0..times {
        let status = client
            .exchange("GET", &format!("/small/{tag}/{n}"), "")?
            .status;
        ensure!(status == 200, "status {status}");
    }
    Ok(())
}

/// A count, once all accounts add up and it is the same twice. The kernel's
/// counts come into the ledger once a second, and asking makes records, too.
fn settle(nodespan: &Path, place: &str) -> Result<u64> {
    let mut why = anyhow::anyhow!("it changes");
    let mut before = None;
    let settled = wait::until("the ledger", Duration::from_secs(90), || {
        std::thread::sleep(Duration::from_millis(1400));
        let ledger: Value = status(nodespan)?["ledger"].take();
        if let Err(error) = adds_up(&ledger) {
            why = error;
            return Ok(None);
        }
        let now = at(&ledger, place)?;
        Ok((before.replace(now) == Some(now)).then_some(now))
    });
    settled.with_context(|| format!("{why:#}"))
}

/// Every span of the case is one of a request, and none is told twice; how
/// many there are.
fn truthful(seen: &Seen, tag: &str) -> Result<usize> {
    let paths: BTreeSet<&str> = seen
        .lines(tag)
        .iter()
        .map(|line| line.path.as_str())
        .collect();
    let mut told = BTreeSet::new();
    for kind in [Kind::Client, Kind::Server] {
        for span in seen.spans(tag, kind) {
            let line = span.line();
            ensure!(
                line.method == "GET" && paths.contains(line.path.as_str()),
                "nobody asked for {line}"
            );
            ensure!(
                line.status == Some(200) || line.status.is_none() && !span.tag("error").is_empty(),
                "{line} has neither its status nor an error"
            );
            ensure!(told.insert((kind, line.path)), "a {kind:?} span twice");
        }
    }
    Ok(told.len())
}
