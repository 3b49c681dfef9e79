//! The long run: every server, every client, one agent.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};

use crate::agent::{Agent, READY};
use crate::cases::{CASES, Case};
use crate::clients;
use crate::compare::Seen;
use crate::ledger;
use crate::replay::{self, Capture};
use crate::report::{Report, Verdict};
use crate::run::{Cases, all_lines};
use crate::special::{self, Older};
use crate::targets::{self, Places, Target};

/// Ports of the servers that do not speak HTTP.
const OTHER: [u16; 2] = [targets::PORTS + 8, targets::PORTS + 9];

/// What the names of this run's checks begin with.
const GROUPS: [&str; 11] = [
    "origin/",
    "captured/",
    "nginx/",
    "envoy/",
    "node/",
    "python/",
    "go/",
    "uring/",
    "traffic/",
    "body-share/",
    "replay/",
];

/// Runs it and reports. Without `nodespan`, only the traffic is judged.
///
/// # Errors
/// If the servers or the agent cannot be started or do not survive.
pub fn run(report: &mut Report, places: &Places, nodespan: Option<&PathBuf>) -> Result<()> {
    if !GROUPS.iter().any(|group| report.wants(group)) {
        return Ok(());
    }
    let mut targets = start(report, places)?;
    other_protocols()?;
    let kept = targets.iter().filter(|target| target.name != "captured");
    let older: Vec<Older> = kept.map(Older::open).collect::<Result<_>>()?;
    report.note("servers are up");

    let none: [&str; 0] = [];
    let mut agent = nodespan
        .map(|nodespan| Agent::start(nodespan, "traffic", none, &places.out))
        .transpose()?;
    if let Some(agent) = &mut agent {
        agent.wait_ready(targets[0].addr())?;
        report.note("the agent sees requests");
    }

    if let (Some(nodespan), Some(nginx)) = (nodespan, find(&targets, "nginx")) {
        ledger::body_share(report, nodespan, nginx, &targets[0]);
    }
    let mut cases = Cases::default();
    for one in older {
        one.drive(&mut cases, report);
    }
    let capture = drive_captured(&mut cases, report, &targets, places);
    drive(&mut cases, report, &targets, places);
    cases.wait_logged(&targets);
    report.note("traffic is over");
    if let Some(nodespan) = nodespan {
        report.check("traffic/ledger", || ledger::balances(nodespan));
    }

    let spans = agent.as_mut().map(Agent::stop).transpose()?;
    for target in &mut targets {
        target.must_live()?;
    }
    let seen = Seen::new(spans.iter().flatten().cloned(), all_lines(&targets)?);
    cases.judge(report, &seen, spans.is_some());
    if let (Some(agent), Some(spans)) = (&agent, &spans) {
        report.check("traffic/ledger-at-end", || agent.balanced());
        report.check("traffic/busy-at-start", || {
            agent.saw_start(spans).map(|()| Verdict::Passed)
        });
    }
    if let Some(nodespan) = nodespan {
        report.check("traffic/no-strangers", || no_strangers(&seen));
        report.check("replay/live", || replayed(&seen, nodespan, capture, places));
    }
    Ok(())
}

/// The cases that are captured while the agent looks on, and the capture.
fn drive_captured(
    cases: &mut Cases,
    report: &Report,
    targets: &[Target],
    places: &Places,
) -> Result<PathBuf> {
    let target = find(targets, "captured").context("not wanted")?;
    let capture = Capture::start(target.port, &places.out)?;
    cases.drive_table(report, target, CASES);
    special::split(cases, report, target, false);
    special::cookies(cases, report, target, 16);
    special::decisions(cases, report, target);
    special::methods(cases, report, target);
    cases.wait_logged(targets);
    let file = capture.stop();
    report.note("captured is done");
    file
}

/// How much of a body there was before a reset is another matter at each end
/// and on the wire, so those cases cannot be compared.
fn replayed(
    seen: &Seen,
    nodespan: &Path,
    capture: Result<PathBuf>,
    places: &Places,
) -> Result<Verdict> {
    let wanted = |case: &str| case.starts_with("captured-") && !case.ends_with("-resets");
    let again = Seen::new(replay::replay(nodespan, &capture?, &places.out)?, []);
    replay::same_spans(&seen.spans_where(wanted), &again.spans_where(wanted))?;
    Ok(Verdict::Passed)
}

fn find<'a>(targets: &'a [Target], name: &str) -> Option<&'a Target> {
    targets.iter().find(|target| target.name == name)
}

/// The servers, the suite's own first. A server that this machine cannot have
/// is reported.
fn start(report: &mut Report, places: &Places) -> Result<Vec<Target>> {
    type Start = fn(&Places) -> Result<Target>;
    let mut targets = vec![targets::origin("origin", targets::ORIGIN)?];
    if report.wants("captured/") || report.wants("replay/") {
        targets.push(targets::origin("captured", targets::PORTS + 10)?);
    }
    let servers: [(&str, Start); 6] = [
        ("nginx", targets::nginx),
        ("envoy", targets::envoy),
        ("node", targets::node),
        ("python", targets::python),
        ("go", targets::go),
        ("uring", targets::uring),
    ];
    for (name, start) in servers {
        let body_share = name == "nginx" && report.wants("body-share/");
        if body_share || report.wants(&format!("{name}/")) {
            match start(places).with_context(|| format!("starting {name}")) {
                Ok(target) => targets.push(target),
                Err(error) => report.result(&format!("{name}/start"), Err(error)),
            }
        }
    }
    // All start at once; then each is waited for.
    let mut up = Vec::new();
    for mut target in targets {
        let name = format!("{}/start", target.name);
        match target.wait() {
            Ok(()) => up.push(target),
            Err(error) if format!("{error:#}").contains("io_uring_setup") => {
                report.result(&name, Ok(Verdict::Skipped(format!("{error:#}"))));
            }
            Err(error) => report.result(&name, Err(error)),
        }
    }
    Ok(up)
}

fn drive(cases: &mut Cases, report: &Report, targets: &[Target], places: &Places) {
    for target in targets.iter().filter(|target| target.name != "captured") {
        let few = |case: &&Case| matches!(case.name, "keep-alive" | "short");
        let table: Vec<Case> = match target.name {
            "uring" => CASES.iter().filter(few).copied().collect(),
            _ => CASES.to_vec(),
        };
        cases.drive_table(report, target, &table);
        match target.name {
            "origin" => {
                special::split(cases, report, target, true);
                special::pieces(cases, report, target);
                special::reset_behind(cases, report, target, false);
                special::reset_behind(cases, report, target, true);
                special::cookies(cases, report, target, 40);
                special::decisions(cases, report, target);
                special::methods(cases, report, target);
            }
            "nginx" => {
                special::split(cases, report, target, false);
                special::decisions(cases, report, target);
            }
            _ => {}
        }
        if !matches!(target.name, "node" | "uring") {
            special::cookies(cases, report, target, 16); // Node answers 431 from 16 KiB on.
        }
        if !matches!(target.name, "uring") {
            clients::curl(cases, report, target, &places.out);
        }
        if matches!(target.name, "nginx" | "node" | "go") {
            clients::libraries(cases, report, target, places);
        }
        if matches!(target.name, "nginx" | "go") {
            clients::wrk(cases, report, target);
        }
        if !matches!(target.name, "origin" | "uring") {
            clients::thousand(cases, report, target);
        }
        if matches!(target.name, "nginx" | "envoy") {
            special::forwarded(cases, report, target.name);
        }
        report.note(&format!("{} is done", target.name));
    }
    cases.drive(
        report,
        "traffic/not-http",
        "not-http",
        None,
        talk_other,
        |seen| {
            let spans = seen.strangers(|span| {
                !span
                    .remote_port
                    .is_some_and(|port| OTHER.iter().any(|other| u64::from(*other) == port))
            });
            ensure!(
                spans.is_empty(),
                "spans of what is not HTTP: {}",
                spans.join(", ")
            );
            Ok(())
        },
    );
}

/// Every span belongs to a case, or to the requests that found the agent ready.
fn no_strangers(seen: &Seen) -> Result<Verdict> {
    let strangers = seen.strangers(|span| {
        let case = span.case();
        case == READY
            || !seen.lines(case).is_empty()
            || span.tag("user_agent").starts_with("suite-") && span.case().is_empty()
    });
    let some: Vec<_> = strangers.iter().take(5).cloned().collect();
    ensure!(
        strangers.is_empty(),
        "{} spans of no case: {}",
        strangers.len(),
        some.join(", ")
    );
    Ok(Verdict::Passed)
}

/// Two servers that answer whatever comes with something that is not HTTP.
fn other_protocols() -> Result<()> {
    for (port, answer) in OTHER
        .into_iter()
        .zip([b"+PONG\r\n".as_slice(), &[0xff, 0x47, 0x00]])
    {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port))?;
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut bytes = [0; 8192];
                while stream.read(&mut bytes).is_ok_and(|got| got > 0) {
                    if stream.write_all(answer).is_err() {
                        break;
                    }
                }
            }
        });
    }
    Ok(())
}

fn talk_other() -> Result<()> {
    let talks: [(&[u8], usize); 4] = [
        (b"*1\r\n$4\r\nPING\r\n", 0),
        (b"*2\r\n$3\r\nGET\r\n$5\r\n/ HTT\r\n", 0),
        (b"HELO suite.test\r\n", 0),
        (b"\x00\x01GET / HTTP/1.1\r\n\r\n\xfe\xff", 1),
    ];
    for (bytes, server) in talks {
        let mut stream =
            TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, OTHER[server])))?;
        for _ in 0..3 {
            stream.write_all(bytes)?;
            let got = stream.read(&mut [0; 64])?;
            ensure!(got > 0, "no answer");
        }
        // Bytes of every value, in an order that repeats late.
        let mut state = 1_u32;
        let noise: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .take(4096)
        .collect();
        stream.write_all(&noise)?;
    }
    Ok(())
}
