//! Real servers on this machine, for as long as a test needs them.

use std::{
    fs,
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result};
use clap::Args;

use crate::{
    cache::Cache,
    daemon::Daemon,
    interrupt,
    scratch::ScratchDir,
    setup::{self, Part, jaeger, servers},
    sh,
    workspace::Workspace,
};

mod authority;
mod kubernetes;

pub(crate) use kubernetes::Kubernetes;

/// This machine's loopback, as programs in a guest with a network reach it.
const FROM_GUEST: &str = "10.0.2.2";
const LOOPBACK: &str = "127.0.0.1";

/// Every trace is sampled, until a test says otherwise.
const STRATEGIES: &str = r#"{"default_strategy":{"type":"probabilistic","param":1}}"#;

/// Run a Zipkin and a Jaeger, for suites by hand, until Ctrl-C.
#[derive(Args, Debug)]
pub(crate) struct Serve {
    /// A Kubernetes API, too.
    #[arg(long)]
    kubernetes: bool,
}

impl Serve {
    /// Prints what the suites want in their environment.
    ///
    /// # Errors
    /// If a server does not start.
    pub(crate) fn run(&self) -> Result<i32> {
        setup::ensure(&[Part::Demo, Part::Jaeger])?;
        if self.kubernetes {
            setup::ensure(&[Part::Kubernetes])?;
        }
        let workspace = Workspace::load()?;
        let logs = workspace.target.join("servers");
        let _guard = interrupt::Guard::new()?;
        let zipkin = Zipkin::start(0, Some(&logs))?;
        let mut jaeger = Jaeger::start(&workspace, &logs)?;
        let start = || Kubernetes::start(&logs.join("kubernetes"));
        let kubernetes = self.kubernetes.then(start).transpose()?;
        println!("export NODESPAN_ZIPKIN={}", zipkin.url());
        println!("export NODESPAN_JAEGER='{}'", jaeger.places());
        if let Some(kubernetes) = &kubernetes {
            println!("export NODESPAN_KUBERNETES='{}'", kubernetes.places());
            println!("export KUBECONFIG={}", kubernetes.kubeconfig().display());
        }
        while !interrupt::requested() && !jaeger.server.has_ended()? {
            thread::sleep(Duration::from_millis(50));
        }
        Ok(0)
    }
}

/// A Zipkin server with its spans in memory; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Zipkin {
    port: u16,
    // Dropped in this order: the server first.
    _server: Daemon,
    _scratch: Option<ScratchDir>,
}

impl Zipkin {
    /// Starts one and waits until it is healthy (about 5 s). Port 0 takes a
    /// free one. Its log stays in `logs`, if that is given.
    ///
    /// # Errors
    /// If the set-up is missing or the server does not start.
    pub(crate) fn start(port: u16, logs: Option<&Path>) -> Result<Self> {
        let jar = servers::find_zipkin(&Cache::open()?)?;
        let java = sh::which("java").context("java is missing")?;
        let port = if port == 0 { free_port()? } else { port };
        let (log, scratch) = match logs {
            Some(logs) => (fresh_log(logs, "zipkin.log")?, None),
            None => {
                let scratch = ScratchDir::new()?;
                (scratch.path().join("log"), Some(scratch))
            }
        };
        let mut setpriv = Command::new("setpriv");
        setpriv
            .env("STORAGE_TYPE", "mem")
            .env("QUERY_PORT", port.to_string());
        let arguments = ["-Xmx512m".into(), "-jar".into(), jar.into_os_string()];
        let mut server = Daemon::start(setpriv, &java, &arguments, &log)?;
        server.wait_until(|| Ok(is_ok(port, "/health")))?;
        Ok(Self {
            port,
            _server: server,
            _scratch: scratch,
        })
    }

    /// As programs on this machine reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://{LOOPBACK}:{}", self.port)
    }

    /// As programs in a guest with a network reach it.
    pub(crate) fn url_from_guest(&self) -> String {
        format!("http://{FROM_GUEST}:{}", self.port)
    }
}

/// A Jaeger 2 that takes spans in every way, with its spans in memory
/// (`tests/scenarios/jaeger.yaml`); it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Jaeger {
    ports: Ports,
    strategies: PathBuf,
    server: Daemon,
}

/// Where it listens, all on this machine's loopback.
#[derive(Clone, Copy, Debug)]
struct Ports {
    query: u16,
    sampling: u16,
    otlp: u16,
    zipkin: u16,
    udp: u16,
}

impl Jaeger {
    /// Starts one at free ports and waits until it is ready (about 1 s). Its
    /// log and the file of its sampling strategies, which it reads anew every
    /// second, stay in `dir`.
    ///
    /// # Errors
    /// If the set-up is missing or the server does not start.
    pub(crate) fn start(workspace: &Workspace, dir: &Path) -> Result<Self> {
        let program = jaeger::find(&Cache::open()?)?;
        let config = workspace.root.join("tests/scenarios/jaeger.yaml");
        let log = fresh_log(dir, "jaeger.log")?;
        let strategies = dir.join("strategies.json");
        fs::write(&strategies, STRATEGIES)?;
        let ports = Ports::free()?;
        let mut setpriv = Command::new("setpriv");
        setpriv.env("JAEGER_STRATEGIES", &strategies).envs([
            ("JAEGER_QUERY_PORT", ports.query.to_string()),
            ("JAEGER_SAMPLING_PORT", ports.sampling.to_string()),
            ("JAEGER_OTLP_PORT", ports.otlp.to_string()),
            ("JAEGER_ZIPKIN_PORT", ports.zipkin.to_string()),
            ("JAEGER_UDP_PORT", ports.udp.to_string()),
        ]);
        let arguments = ["--config".into(), config.into_os_string()];
        let mut server = Daemon::start(setpriv, &program, &arguments, &log)?;
        server.wait_until(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            // Receivers begin one after the other; this line comes last.
            Ok(said.contains("Everything is ready") && is_ok(ports.query, "/api/services"))
        })?;
        Ok(Self {
            ports,
            strategies,
            server,
        })
    }

    /// Where it is for programs on this machine, as `NODESPAN_JAEGER` says it:
    /// `query=HOST:PORT sampling=… otlp=… zipkin=… udp=… strategies=FILE`.
    pub(crate) fn places(&self) -> String {
        format!(
            "{} strategies={}",
            self.ports.at(LOOPBACK),
            self.strategies.display()
        )
    }

    /// The same for programs in a guest with a network, which cannot write the
    /// file of strategies.
    pub(crate) fn places_from_guest(&self) -> String {
        self.ports.at(FROM_GUEST)
    }
}

impl Ports {
    /// Ports that nobody listens on at this moment.
    fn free() -> Result<Self> {
        // All are held until all are found, so that no two are the same.
        let tcp = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port");
        let held = [tcp()?, tcp()?, tcp()?, tcp()?];
        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
        let port = |listener: &TcpListener| Ok::<_, std::io::Error>(listener.local_addr()?.port());
        let [query, sampling, otlp, zipkin] = &held;
        Ok(Self {
            query: port(query)?,
            sampling: port(sampling)?,
            otlp: port(otlp)?,
            zipkin: port(zipkin)?,
            udp: udp.local_addr()?.port(),
        })
    }

    fn at(self, host: &str) -> String {
        let Self {
            query,
            sampling,
            otlp,
            zipkin,
            udp,
        } = self;
        format!(
            "query={host}:{query} sampling={host}:{sampling} otlp={host}:{otlp} \
             zipkin={host}:{zipkin} udp={host}:{udp}"
        )
    }
}

/// A port that nobody listens on at this moment.
///
/// # Errors
/// If there is none.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr()?.port())
}

/// Where a log goes, without that of an earlier run.
fn fresh_log(dir: &Path, name: &str) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
    let log = dir.join(name);
    fs::write(&log, "")?;
    Ok(log)
}

fn is_ok(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        socket.write_all(request.as_bytes())?;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| answer == "HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_ports_are_the_same() {
        let Ports {
            query,
            sampling,
            otlp,
            zipkin,
            ..
        } = Ports::free().unwrap();
        let mut ports = [query, sampling, otlp, zipkin];
        ports.sort_unstable();
        assert!(ports.windows(2).all(|pair| pair[0] != pair[1]), "{ports:?}");
        assert!(!ports.contains(&0));
    }
}
