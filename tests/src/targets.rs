//! The servers that cases are run against.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::children::{Running, command, program};
use crate::lines::{self, Line};
use crate::origin::{BIG, Origin};

/// A running server.
#[derive(Debug)]
pub struct Target {
    /// Short name; the tags of its cases begin with it.
    pub name: &'static str,
    /// Where it listens.
    pub port: u16,
    /// Verbs it cannot serve.
    pub lacks: &'static [&'static str],
    log: Log,
    process: Option<Running>,
}

#[derive(Debug)]
enum Log {
    File(PathBuf),
    Memory(Origin),
}

impl Target {
    /// Its IPv4 address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// Its IPv6 address.
    #[must_use]
    pub fn addr6(&self) -> SocketAddr {
        (Ipv6Addr::LOCALHOST, self.port).into()
    }

    /// What it says it has answered.
    ///
    /// # Errors
    /// If its log cannot be read.
    pub fn lines(&self) -> Result<Vec<Line>> {
        match &self.log {
            Log::File(path) => lines::read(path),
            Log::Memory(origin) => Ok(origin.lines()),
        }
    }

    /// Waits until it accepts connections.
    ///
    /// # Errors
    /// If it ends instead or takes too long.
    pub fn wait(&mut self) -> Result<()> {
        let addr = self.addr();
        self.process
            .as_mut()
            .map_or(Ok(()), |process| process.wait_listening(addr))
    }

    /// Fails if its process has ended.
    ///
    /// # Errors
    /// With the last it said.
    pub fn must_live(&mut self) -> Result<()> {
        self.process.as_mut().map_or(Ok(()), Running::must_live)
    }
}

/// Where things are.
#[derive(Clone, Debug)]
pub struct Places {
    /// The folder `tests/scenarios`.
    pub scenarios: PathBuf,
    /// Compiled scenario programs.
    pub programs: PathBuf,
    /// Output of this run.
    pub out: PathBuf,
    /// The Envoy binary, if there is one.
    pub envoy: Option<PathBuf>,
}

/// First port of the suite's servers on loopback.
pub const PORTS: u16 = 18080;

/// Port of the origin that proxies forward to.
pub const ORIGIN: u16 = PORTS;

/// The suite's own server, in this process.
///
/// # Errors
/// If its port is taken.
pub fn origin(name: &'static str, port: u16) -> Result<Target> {
    let loopback: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
    let origin = Origin::start(&loopback, port)?;
    Ok(Target {
        name,
        port,
        lacks: &[],
        log: Log::Memory(origin),
        process: None,
    })
}

/// nginx: static files with sendfile, fixed answers, and a proxy to the origin.
///
/// # Errors
/// If it cannot be started.
pub fn nginx(places: &Places) -> Result<Target> {
    let (port, dir) = (PORTS + 1, places.out.join("nginx"));
    if dir.exists() {
        fs::remove_dir_all(&dir)?; // Of an earlier run.
    }
    for sub in ["www", "temp", "logs"] {
        fs::create_dir_all(dir.join(sub))?;
    }
    fs::write(dir.join("www/small.txt"), "hello\n")?;
    fs::write(dir.join("www/kb.bin"), vec![b'x'; 1 << 10])?;
    fs::write(dir.join("www/kb64.bin"), vec![b'x'; 1 << 16])?;
    fs::write(dir.join("www/big.bin"), vec![b'x'; usize::try_from(BIG)?])?;
    let conf = fs::read_to_string(places.scenarios.join("nginx.conf"))?
        .replace("@DIR@", &dir.display().to_string())
        .replace("@PORT@", &port.to_string())
        .replace("@ORIGIN@", &ORIGIN.to_string());
    fs::write(dir.join("nginx.conf"), conf)?;
    let mut start = Command::new(program(&["nginx"])?);
    start
        .arg("-p")
        .arg(&dir)
        .arg("-e")
        .arg(dir.join("logs/error.log"))
        .arg("-c");
    start.arg(dir.join("nginx.conf"));
    Ok(Target {
        name: "nginx",
        port,
        lacks: &["reset"],
        log: Log::File(dir.join("logs/access.log")),
        process: Some(Running::start("nginx", &mut start, &places.out)?),
    })
}

/// Python's `http.server`.
///
/// # Errors
/// If it cannot be started.
pub fn python(places: &Places) -> Result<Target> {
    let script = places.scenarios.join("server.py");
    let mut start = Command::new(python_program()?);
    start.arg(script);
    own_log("python", PORTS + 2, start, places)
}

/// Node's `http`.
///
/// # Errors
/// If it cannot be started.
pub fn node(places: &Places) -> Result<Target> {
    let mut start = Command::new(program(&["node", "nodejs"])?);
    start.arg(places.scenarios.join("server.js"));
    own_log("node", PORTS + 3, start, places)
}

/// Go's `net/http`.
///
/// # Errors
/// If it cannot be started.
pub fn go(places: &Places) -> Result<Target> {
    let start = command([
        places.programs.join("goserver").as_os_str(),
        "serve".as_ref(),
    ]);
    own_log("go", PORTS + 4, start, places)
}

/// The `io_uring` server.
///
/// # Errors
/// If it cannot be started.
pub fn uring(places: &Places) -> Result<Target> {
    own_log(
        "uring",
        PORTS + 5,
        command([places.programs.join("uring")]),
        places,
    )
}

/// Envoy as a proxy in front of the origin.
///
/// # Errors
/// If it cannot be started.
pub fn envoy(places: &Places) -> Result<Target> {
    let (port, dir) = (PORTS + 6, places.out.join("envoy"));
    fs::create_dir_all(&dir)?;
    let log = dir.join("access.log");
    let listeners = ["127.0.0.1", "::1"].map(|ip| EnvoyListener {
        address: (ip.to_owned(), port),
        upstream: ("127.0.0.1".to_owned(), ORIGIN),
        log: log.clone(),
        zipkin: None,
    });
    fs::write(&log, "")?;
    Ok(Target {
        name: "envoy",
        port,
        lacks: &["reset", "drop"],
        log: Log::File(log),
        process: Some(start_envoy("envoy", places, &listeners)?),
    })
}

/// One listener of an Envoy.
#[derive(Clone, Debug)]
pub struct EnvoyListener {
    /// Where it listens.
    pub address: (String, u16),
    /// Where it forwards to, with `via-` before the case's tag.
    pub upstream: (String, u16),
    /// Its access log.
    pub log: PathBuf,
    /// Its own tracer: Zipkin's address, and `shared_span_context`.
    pub zipkin: Option<(String, u16, bool)>,
}

/// Starts an Envoy.
///
/// # Errors
/// If there is none, or it cannot be started.
pub fn start_envoy(name: &str, places: &Places, listeners: &[EnvoyListener]) -> Result<Running> {
    let envoy = places
        .envoy
        .as_ref()
        .context("no Envoy: set NODESPAN_ENVOY")?;
    let mut clusters = Vec::new();
    let mut config = Vec::new();
    for (n, listener) in listeners.iter().enumerate() {
        clusters.push(cluster(
            &format!("up{n}"),
            &listener.upstream.0,
            listener.upstream.1,
        ));
        if let Some((host, port, _)) = &listener.zipkin {
            clusters.push(cluster(&format!("zipkin{n}"), host, *port));
        }
        config.push(envoy_listener(n, listener));
    }
    let config = json!({ "static_resources": { "listeners": config, "clusters": clusters } });
    let file = places.out.join(format!("{name}.json"));
    fs::write(&file, serde_json::to_string_pretty(&config)?)?;
    let mut start = Command::new(envoy);
    start
        .arg("-c")
        .arg(file)
        .args(["--concurrency", "1", "--log-level", "error"]);
    start.args(["--use-dynamic-base-id", "--file-flush-interval-msec", "100"]);
    start.args(["--service-cluster", name, "--service-node", name]);
    Running::start(name, &mut start, &places.out)
}

fn envoy_listener(n: usize, listener: &EnvoyListener) -> serde_json::Value {
    let routes: Vec<_> = VERBS
        .iter()
        .map(|verb| {
            json!({
                "match": { "prefix": format!("/{verb}/") },
                "route": {
                    "cluster": format!("up{n}"),
                    "prefix_rewrite": format!("/{verb}/via-"),
                    "timeout": "60s",
                },
            })
        })
        .collect();
    let mut manager = json!({
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "suite",
        "upgrade_configs": [{ "upgrade_type": "echo" }],
        "http_protocol_options": { "accept_http_10": true, "allow_absolute_url": true },
        "route_config": { "virtual_hosts": [{ "name": "all", "domains": ["*"], "routes": routes }] },
        "http_filters": [{
            "name": "envoy.filters.http.router",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router",
            },
        }],
        "access_log": [{
            "name": "envoy.access_loggers.file",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
                "path": listener.log.display().to_string(),
                "log_format": { "text_format_source": { "inline_string":
                    "%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %RESPONSE_CODE%\n" } },
            },
        }],
    });
    if let Some((_, _, shared)) = listener.zipkin {
        manager["tracing"] = json!({ "provider": {
            "name": "envoy.tracers.zipkin",
            "typed_config": {
                "@type": "type.googleapis.com/envoy.config.trace.v3.ZipkinConfig",
                "collector_cluster": format!("zipkin{n}"),
                "collector_endpoint": "/api/v2/spans",
                "collector_endpoint_version": "HTTP_JSON",
                "shared_span_context": shared,
                "trace_id_128bit": true,
            },
        } });
    }
    json!({
        "address": socket_address(&listener.address.0, listener.address.1),
        "filter_chains": [{ "filters": [{
            "name": "envoy.filters.network.http_connection_manager",
            "typed_config": manager,
        }] }],
    })
}

fn cluster(name: &str, host: &str, port: u16) -> serde_json::Value {
    json!({
        "name": name,
        "connect_timeout": "10s",
        "load_assignment": { "cluster_name": name, "endpoints": [{ "lb_endpoints": [{
            "endpoint": { "address": socket_address(host, port) },
        }] }] },
    })
}

fn socket_address(host: &str, port: u16) -> serde_json::Value {
    json!({ "socket_address": { "address": host, "port_value": port } })
}

/// What the servers can be asked for, as the first part of a path.
pub const VERBS: &[&str] = &[
    "small", "big", "chunked", "empty", "error", "echo", "close", "upgrade", "cut", "reset",
    "drop", "chain",
];

/// Debian's Python where there is one: version managers put slow scripts
/// before theirs.
///
/// # Errors
/// If there is none.
pub fn python_program() -> Result<PathBuf> {
    let debian = Path::new("/usr/bin/python3");
    if debian.is_file() {
        Ok(debian.to_owned())
    } else {
        program(&["python3"])
    }
}

fn own_log(name: &'static str, port: u16, mut start: Command, places: &Places) -> Result<Target> {
    let log = places.out.join(format!("{name}.log"));
    fs::write(&log, "")?;
    start.arg(port.to_string()).arg(&log);
    let process = Running::start(name, &mut start, &places.out)?;
    Ok(Target {
        name,
        port,
        lacks: &[],
        log: Log::File(log),
        process: Some(process),
    })
}
