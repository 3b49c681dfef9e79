//! Requests, and the spans that must come of them: those and no others.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};

use super::scene::Scene;
use crate::agent::Agent;
use crate::raw::Client;
use crate::spans::{Kind, Span};
use crate::wait;

const LIMIT: Duration = Duration::from_secs(30);

/// A span, as far as it says who made it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Expected {
    pub(super) path: String,
    pub(super) kind: Kind,
    pub(super) service: String,
    pub(super) namespace: String,
    /// `POD/CONTAINER`.
    pub(super) pod: String,
    /// Of a call: the service that was called.
    pub(super) called: String,
}

impl Expected {
    fn of(span: &Span) -> Self {
        let tag = |name| span.tag(name);
        Self {
            path: span.path().to_owned(),
            kind: span.kind,
            service: span.service.clone(),
            namespace: tag("k8s.namespace.name").to_owned(),
            pod: format!("{}/{}", tag("k8s.pod.name"), tag("k8s.container.name")),
            called: match span.kind {
                Kind::Client => span.remote_service.clone(),
                _ => String::new(),
            },
        }
    }
}

/// All requests so far.
#[derive(Debug)]
pub(super) struct Asked {
    namespace: String,
    count: u64,
    expected: BTreeSet<Expected>,
    /// Paths of which it is not said whether there is a span.
    open: BTreeSet<String>,
}

/// An answer: who gave it, the first one first.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) path: String,
    pub(super) who: Vec<String>,
}

/// Asks once, on a connection of its own.
pub(super) fn ask(address: SocketAddr, case: &str, n: u64) -> Result<Answer> {
    let (answer, status) = ask_anybody(address, case, n)?;
    ensure!(status == 200, "{}: status {status}", answer.path);
    Ok(answer)
}

/// The same of a server that does not say who it is; its status.
pub(super) fn ask_anybody(address: SocketAddr, case: &str, n: u64) -> Result<(Answer, u16)> {
    let path = format!("/get/{case}/{n}");
    let [high, low] = fresh();
    let b3 = format!("b3: {high:016x}{low:016x}-{low:016x}-1\r\nConnection: close\r\n");
    let answer = Client::connect(address)?.exchange("GET", &path, &b3)?;
    let body = String::from_utf8(answer.body)?;
    let who = body.split_whitespace().map(str::to_owned).collect();
    Ok((Answer { path, who }, answer.status))
}

/// A trace that no other request has, here or in another guest.
fn fresh() -> [u64; 2] {
    static STARTED: OnceLock<u64> = OnceLock::new();
    static COUNT: AtomicU64 = AtomicU64::new(1);
    let now = || SystemTime::now().duration_since(UNIX_EPOCH);
    let micros = || now().map_or(0, |since| since.as_micros());
    let started = STARTED.get_or_init(|| u64::try_from(micros()).unwrap_or(u64::MAX));
    [*started, COUNT.fetch_add(1, Ordering::Relaxed)]
}

impl Asked {
    /// Nothing was asked; all pods are of this scene.
    pub(super) fn new(scene: &Scene) -> Self {
        Self {
            namespace: scene.name.clone(),
            count: 0,
            expected: BTreeSet::new(),
            open: BTreeSet::new(),
        }
    }

    /// Asks; what comes of it is for the caller to say.
    pub(super) fn ask(&mut self, address: SocketAddr, case: &str) -> Result<Answer> {
        self.count += 1;
        ask(address, case, self.count)
    }

    /// The server's half of an answered request.
    pub(super) fn served(&mut self, path: &str, service: &str, pod: &str) {
        self.expect(path, Kind::Server, service, pod, "");
    }

    /// The client's half of one.
    pub(super) fn called(&mut self, path: &str, service: &str, pod: &str, called: &str) {
        self.expect(path, Kind::Client, service, pod, called);
    }

    fn expect(&mut self, path: &str, kind: Kind, service: &str, pod: &str, called: &str) {
        self.expected.insert(Expected {
            path: path.to_owned(),
            kind,
            service: service.to_owned(),
            namespace: self.namespace.clone(),
            pod: pod.to_owned(),
            called: called.to_owned(),
        });
    }

    /// Nothing is said of this request: it may have a span.
    pub(super) fn leave_open(&mut self, path: &str) {
        self.open.insert(path.to_owned());
    }

    /// Waits until a case, with those that are called `CASE-…`, has exactly its
    /// spans, which are returned.
    pub(super) fn check(&self, agent: &Agent, case: &str) -> Result<Vec<Span>> {
        let is_of = |path: &str| {
            let of = path.split('/').nth(2).and_then(|of| of.strip_prefix(case));
            of.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        };
        let expected = self.expected.iter().filter(|one| is_of(&one.path));
        let expected: Vec<&Expected> = expected.collect();
        let mut spans = Vec::new();
        let mut why = String::new();
        let waited = wait::until_true("the spans", LIMIT, || {
            spans = agent.spans()?;
            spans.retain(|span| is_of(span.path()) && !self.open.contains(span.path()));
            why = differ(&spans, &expected);
            Ok(why.is_empty())
        });
        waited.with_context(|| format!("{case}: {why}"))?;
        Ok(spans)
    }

    /// All spans there are: what was expected, and nothing else but what was
    /// left open, once.
    pub(super) fn check_all(&self, mut spans: Vec<Span>) -> Result<()> {
        let mut met = BTreeSet::new();
        for span in &spans {
            if self.open.contains(span.path()) && !met.insert((span.path(), span.kind)) {
                bail!("{} has two spans", span.path());
            }
        }
        spans.retain(|span| !self.open.contains(span.path()));
        let why = differ(&spans, &self.expected.iter().collect::<Vec<_>>());
        ensure!(why.is_empty(), "{why}");
        Ok(())
    }
}

/// What is missing, and what is too much; nothing if neither.
fn differ(spans: &[Span], expected: &[&Expected]) -> String {
    let mut seen: Vec<Expected> = spans.iter().map(Expected::of).collect();
    seen.sort();
    let mut missing = Vec::new();
    for one in expected {
        match seen.binary_search(one) {
            Ok(at) => drop(seen.remove(at)),
            Err(_) => missing.push(one),
        }
    }
    if missing.is_empty() && seen.is_empty() {
        return String::new();
    }
    let first = |all: &mut dyn Iterator<Item = String>| {
        let some: Vec<String> = all.take(4).collect();
        some.join("; ")
    };
    format!(
        "of {} spans {} are missing ({}), {} are not among them ({})",
        expected.len(),
        missing.len(),
        first(&mut missing.iter().map(|one| format!("{one:?}"))),
        seen.len(),
        first(&mut seen.iter().map(|one| format!("{one:?}"))),
    )
}
