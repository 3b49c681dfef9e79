//! Connections that change hands: `handed/` of the guest suite. The owner of a
//! request is whoever moves its first byte, whoever accepted the connection.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use crate::agent::Agent;
use crate::compare::Seen;
use crate::placed::{CGROUPS, Cgroup, Placed};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::Kind;
use crate::targets::{PORTS, Places, python_program};

/// Port of the first mode of `scenarios/handed.py`.
const FIRST: u16 = PORTS + 130;
const PARENT: &str = "nodespan-parent";
const WORKER: &str = "nodespan-worker";
const SCRIPT: &str = "handed.py";
const INETD: &str = "inetd-child.py";
/// Requests on each connection.
const REQUESTS: usize = 3;
/// Connections to each mode.
const CONNECTIONS: usize = 2;

/// The modes in the order of their ports, and whose the requests of a
/// connection are.
const MODES: [(&str, [&str; REQUESTS]); 6] = [
    ("fork", [WORKER; REQUESTS]),
    ("prefork", [WORKER; REQUESTS]),
    ("passed", [WORKER; REQUESTS]),
    ("midway", [PARENT, WORKER, WORKER]),
    ("threads", [SCRIPT; REQUESTS]),
    ("inetd", [INETD; REQUESTS]),
];

/// All modes, with one agent.
///
/// # Errors
/// If the servers or the agent cannot be started.
pub fn run(report: &mut Report, nodespan: &Path, places: &Places) -> Result<()> {
    if !report.wants("handed/") {
        return Ok(());
    }
    let slice = |unit: &str| Cgroup::make(CGROUPS, &format!("system.slice/{unit}.service"));
    let (parent, worker) = (slice(PARENT)?, slice(WORKER)?);
    let session = Cgroup::make(CGROUPS, "user.slice/nodespan-handed")?;
    let inetd = places.out.join(INETD);
    let script = places.scenarios.join(SCRIPT);
    std::fs::copy(&script, &inetd)?;
    let (python, port) = (python_program()?, FIRST.to_string());
    let (worker_procs, session_procs) = (worker.procs(), session.procs());
    let words: [&OsStr; 6] = [
        python.as_os_str(),
        script.as_os_str(),
        port.as_ref(),
        worker_procs.as_os_str(),
        session_procs.as_os_str(),
        inetd.as_os_str(),
    ];
    let mut server = Placed::start("handed", parent, words, &places.out)?;
    let addr = |n: u16| SocketAddr::from((Ipv4Addr::LOCALHOST, FIRST + n));
    for n in (0..).take(MODES.len()) {
        server.wait_listening(addr(n))?;
    }
    let mut agent = Agent::start(nodespan, "handed", [""; 0], &places.out)?;
    agent.wait_ready(addr(0))?;
    for ((mode, _), n) in MODES.iter().zip(0..) {
        for connection in 0..CONNECTIONS {
            let mut client = Client::connect(addr(n))?;
            for request in 0..REQUESTS {
                let path = format!("/small/handed-{mode}/{connection}-{request}");
                let answer = client
                    .exchange("GET", &path, "")
                    .with_context(|| path.clone())?;
                ensure!(answer.status == 200, "{path}: status {}", answer.status);
            }
        }
    }
    let seen = Seen::new(agent.stop()?, []);
    for (mode, owners) in MODES {
        report.check(&format!("handed/{mode}"), || judge(&seen, mode, owners));
    }
    // The cgroups go when their processes have gone.
    drop(server);
    drop((worker, session));
    Ok(())
}

fn judge(seen: &Seen, mode: &str, owners: [&str; REQUESTS]) -> Result<Verdict> {
    let tag = format!("handed-{mode}");
    let spans = seen.spans(&tag, Kind::Server);
    ensure!(
        spans.len() == CONNECTIONS * REQUESTS,
        "{} server spans, not {}",
        spans.len(),
        CONNECTIONS * REQUESTS
    );
    for (request, owner) in owners.iter().enumerate() {
        let end = format!("-{request}");
        let mut of_request = spans.iter().filter(|span| span.path().ends_with(&end));
        let other = of_request.find(|span| span.service != *owner);
        ensure!(
            other.is_none(),
            "request {request} is of {:?}, not {owner}",
            other.map(|span| &span.service)
        );
    }
    seen.joined(&tag)?;
    Ok(Verdict::Passed)
}
