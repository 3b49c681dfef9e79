//! Q and C are the same at both ends, whatever is between them: shown by each
//! server span being the child of its client's, over several routes, on
//! connections older and younger than the agent, kept alive and pipelined.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::children::Running;
use crate::compare::Seen;
use crate::lines;
use crate::network::{DNAT6, Network, PODS};
use crate::raw::{Client, head};
use crate::report::{Report, Verdict};
use crate::run::whole;
use crate::spans::Span;
use crate::targets::Places;
use crate::wait;

/// Port of the servers in the second and the third pod.
const PORT: u16 = 8081;

/// What lies between the first pod and the server.
const ROUTES: [(&str, &str); 7] = [
    ("veth", "10.77.2.2:8081"),
    ("veth6", "[fd77:2::2]:8081"),
    ("dnat", "10.96.0.12:80"),
    ("dnat-snat", "10.96.0.13:80"),
    ("snat", "10.77.2.3:8081"),
    ("dnat6", DNAT6),
    ("loopback", "127.0.0.1:8081"),
];

/// Requests of each client on its older connection, after the one before the
/// agent, and on its younger one.
const REQUESTS: usize = 5;

/// Servers in two pods, and a client in the first pod for each route.
pub struct Talks {
    dir: PathBuf,
    servers: Vec<Running>,
    clients: Vec<Running>,
}

impl Talks {
    /// Starts the servers, and the clients up to their first response.
    ///
    /// # Errors
    /// If one does not start.
    pub fn start(places: &Places) -> Result<Self> {
        let dir = places.out.join("identity");
        if dir.exists() {
            fs::remove_dir_all(&dir)?; // Of an earlier run.
        }
        fs::create_dir_all(&dir)?;
        let mut talks = Self {
            dir: dir.clone(),
            servers: Vec::new(),
            clients: Vec::new(),
        };
        for pod in PODS {
            let log = dir.join(format!("{pod}.log"));
            fs::write(&log, "")?;
            let mut start = Network::inside(pod)?;
            start
                .arg(places.programs.join("goserver"))
                .args(["serve", &PORT.to_string()]);
            talks
                .servers
                .push(Running::start(pod, start.arg(log), &dir)?);
        }
        for (server, n) in talks.servers.iter_mut().zip(1..) {
            server.wait_listening((Network::pod(n, false), PORT).into())?;
        }
        let suite = std::env::current_exe()?;
        for (route, address) in ROUTES {
            let mut start = Network::inside(PODS[0])?;
            start.arg(&suite).args(["talk", address, route]).arg(&dir);
            talks.clients.push(Running::start(route, &mut start, &dir)?);
        }
        wait::until_true("the first responses", Duration::from_secs(60), || {
            for client in &mut talks.clients {
                client.must_live()?;
            }
            Ok(ROUTES
                .iter()
                .all(|(route, _)| dir.join(format!("{route}.open")).exists()))
        })?;
        Ok(talks)
    }

    /// Lets the clients go on, to their end.
    ///
    /// # Errors
    /// If one fails.
    pub fn talk(&mut self) -> Result<()> {
        fs::write(self.dir.join("go"), "")?;
        for client in &mut self.clients {
            client.must_succeed(Duration::from_secs(60))?;
        }
        Ok(())
    }

    /// Reports on every route.
    ///
    /// # Errors
    /// If a server's log cannot be read.
    pub fn judge(&mut self, report: &mut Report, spans: &[Span]) -> Result<()> {
        let mut all = Vec::new();
        for (server, pod) in self.servers.iter_mut().zip(PODS) {
            server.must_live()?;
            all.extend(lines::read(&self.dir.join(format!("{pod}.log")))?);
        }
        let seen = Seen::new(spans.iter().cloned(), all);
        for (route, _) in ROUTES {
            for age in ["older", "younger"] {
                report.check(&format!("identity/{route}-{age}"), || {
                    let tag = format!("{route}-{age}");
                    let logged = seen.lines(&tag).len();
                    ensure!(logged == REQUESTS, "{logged} lines in the access log");
                    whole(&seen, &tag)?;
                    Ok(Verdict::Passed)
                });
            }
        }
        Ok(())
    }
}

/// The client's side, in a process of its own inside a pod.
///
/// # Errors
/// If the server does not answer as it should.
pub fn client(address: &str, route: &str, dir: &Path) -> Result<()> {
    let address: SocketAddr = address.parse().context(address.to_owned())?;
    let mut older = Client::connect(address)?;
    older.exchange("GET", &format!("/small/{route}-before/1"), "")?;
    fs::write(dir.join(format!("{route}.open")), "")?;
    wait::until_true("the word to go on", Duration::from_secs(180), || {
        Ok(dir.join("go").exists())
    })?;
    requests(&mut older, &format!("{route}-older"))?;
    requests(&mut Client::connect(address)?, &format!("{route}-younger"))
}

fn requests(client: &mut Client, tag: &str) -> Result<()> {
    let path = |n: usize| format!("/small/{tag}/{n}");
    for n in 0..2 {
        let status = client.exchange("GET", &path(n), "")?.status;
        ensure!(status == 200, "status {status}");
    }
    let three: String = (2..REQUESTS).map(|n| head("GET", &path(n), "")).collect();
    client.send(three)?;
    for _ in 2..REQUESTS {
        let status = client.response("GET")?.status;
        ensure!(status == 200, "status {status}");
    }
    Ok(())
}
