//! What the checks have in common: where things are, a server, its Dataplane,
//! and requests with trace ids of their own.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};

use super::node::Node;
use crate::children::{Running, command};
use crate::raw::Client;
use crate::spans::Span;
use crate::targets::{PORTS, Places};
use crate::zipkin::Zipkin;

/// First port of these checks' servers.
pub(super) const FIRST: u16 = PORTS + 100;

/// Where things are.
#[derive(Clone, Copy, Debug)]
pub(super) struct Site<'a> {
    pub(super) places: &'a Places,
    pub(super) nodespan: &'a Path,
    pub(super) zipkins: &'a [Zipkin; 2],
}

impl Site<'_> {
    /// An empty folder for a check's files.
    pub(super) fn folder(&self, name: &str) -> Result<PathBuf> {
        let folder = self.places.out.join(name);
        if folder.exists() {
            fs::remove_dir_all(&folder)?; // Of an earlier run.
        }
        fs::create_dir_all(&folder)?;
        Ok(folder)
    }

    /// An agent with these arguments.
    pub(super) fn agent(&self, name: &str, words: &[&str]) -> Result<Node> {
        Node::start(self.nodespan, name, words, None, &self.places.out)
    }

    /// The Go server at a port of loopback.
    pub(super) fn server(&self, name: &str, port: u16) -> Result<Server> {
        let mut start = command([self.places.programs.join("goserver")]);
        start.args(["serve", &port.to_string()]);
        start.arg(self.places.out.join(format!("{name}.log")));
        let mut process = Running::start(name, &mut start, &self.places.out)?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.wait_listening(addr)?;
        Ok(Server {
            addr,
            _process: process,
        })
    }
}

/// A server of a check.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) addr: SocketAddr,
    _process: Running,
}

impl Server {
    /// Asks for `path` once for each of `count` new traces; their ids.
    pub(super) fn ask(&self, count: usize) -> Result<Vec<String>> {
        ask(self.addr, "/small/policy", count)
    }
}

/// Asks a server once for each of `count` new traces; their ids.
pub(super) fn ask(addr: SocketAddr, path: &str, count: usize) -> Result<Vec<String>> {
    let mut client = Client::connect(addr)?;
    let mut traces = Vec::new();
    for n in 0..count {
        let (trace, span) = ids();
        let headers =
            format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {span}\r\nX-B3-Sampled: 1\r\n");
        let answer = client.exchange("GET", &format!("{path}/{n}"), &headers)?;
        ensure!(answer.status == 200, "status {}", answer.status);
        traces.push(trace);
    }
    Ok(traces)
}

/// A trace id of 128 bits and a span id of 64 that nobody else has: Zipkin
/// keeps the traces of all guests of a run.
fn ids() -> (String, String) {
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let now = now.unwrap_or_default().as_micros();
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    (
        format!("{now:016x}{:08x}{count:08x}", std::process::id()),
        format!("{:08x}{count:08x}", now & 0xffff_ffff | 1),
    )
}

/// Each of the traces has spans of exactly these services.
pub(super) fn arrived(zipkin: &Zipkin, traces: &[String], services: &[&str]) -> Result<()> {
    let mut wanted = services.to_vec();
    wanted.sort_unstable();
    for trace in traces {
        let found = zipkin.trace_of(trace, wanted.len())?;
        let found = services_of(&found);
        ensure!(
            found == wanted,
            "trace {trace} at {} has spans of {found:?}, not {wanted:?}",
            zipkin.addr()
        );
    }
    Ok(())
}

/// None of the traces is known there.
pub(super) fn nothing(zipkin: &Zipkin, traces: &[String]) -> Result<()> {
    for trace in traces {
        let found = zipkin.trace(trace)?;
        ensure!(
            found.is_empty(),
            "trace {trace} at {} has spans of {:?}",
            zipkin.addr(),
            services_of(&found)
        );
    }
    Ok(())
}

pub(super) fn services_of(spans: &[Span]) -> Vec<&str> {
    let mut services: Vec<&str> = spans.iter().map(|span| span.service.as_str()).collect();
    services.sort_unstable();
    services
}

/// How long it takes until a new request is reported there; the request's
/// spans are of `service`.
pub(super) fn until_traced(zipkin: &Zipkin, server: &Server, service: &str) -> Result<Duration> {
    let start = std::time::Instant::now();
    let mut asked: Vec<String> = Vec::new();
    let found = crate::wait::until("a request to be traced", super::node::SOON, || {
        asked.extend(server.ask(1)?);
        for trace in &asked {
            if !zipkin.trace(trace)?.is_empty() {
                return Ok(Some(trace.clone()));
            }
        }
        Ok(None)
    })?;
    let took = start.elapsed();
    arrived(zipkin, &[found], &[service]).context("the first that is traced")?;
    Ok(took)
}

/// A Mesh with zipkin backends of these names and URLs.
pub(super) fn mesh(backends: &[(&str, &str)]) -> String {
    let mut text = "type: Mesh\nname: default\ntracing:\n  backends:\n".to_owned();
    for (name, url) in backends {
        text +=
            &format!("  - {{name: {name}, type: zipkin, sampling: 100, conf: {{url: '{url}'}}}}\n");
    }
    text
}

/// A policy for the services that a selector names.
pub(crate) fn policy(name: &str, selector: &str, backend: &str) -> String {
    format!(
        "type: TrafficTrace\nmesh: default\nname: {name}\nselectors:\n- match: {{{selector}}}\n\
         conf: {{backend: {backend}}}\n"
    )
}

/// A Dataplane with one inbound.
pub(crate) fn dataplane(address: SocketAddr, service: &str, tags: &str) -> String {
    format!(
        "type: Dataplane\nmesh: default\nname: {service}-1\nnetworking:\n  address: {}\n  inbound:\n\
         \x20 - port: {}\n    tags: {{kuma.io/service: {service}, {tags}}}\n",
        address.ip(),
        address.port()
    )
}
