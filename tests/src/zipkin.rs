//! A real Zipkin server: posting spans, and reading traces back.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};

use crate::backends::api::Api;
use crate::backends::fields::Fields;
use crate::backends::links::{Link, Links};
use crate::raw::Client;
use crate::spans::{Kind, Span};
use crate::wait;

/// Where a Zipkin server is.
#[derive(Clone, Debug)]
pub struct Zipkin {
    addr: SocketAddr,
    authority: String,
}

impl Zipkin {
    /// From `http://HOST:PORT`, with or without a path.
    ///
    /// # Errors
    /// If that is not what `url` is.
    pub fn new(url: &str) -> Result<Self> {
        let rest = url
            .strip_prefix("http://")
            .with_context(|| format!("not http: {url}"))?;
        let authority = rest.split('/').next().unwrap_or_default().to_owned();
        let mut addresses = authority
            .to_socket_addrs()
            .with_context(|| url.to_owned())?;
        let addr = addresses
            .next()
            .with_context(|| format!("no address: {url}"))?;
        Ok(Self { addr, authority })
    }

    /// Its address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `HOST:PORT`.
    #[must_use]
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Where an exporter posts spans.
    #[must_use]
    pub fn spans_url(&self) -> String {
        format!("http://{}/api/v2/spans", self.authority)
    }

    /// Posts spans as a tracer inside an application would.
    ///
    /// # Errors
    /// If Zipkin does not take them.
    pub fn post(&self, spans: &[Value]) -> Result<()> {
        let body = serde_json::to_string(spans)?;
        let (status, answer) = self.call(&format!(
            "POST /api/v2/spans HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.authority,
            body.len()
        ))?;
        ensure!(status == 202, "Zipkin answered {status}: {answer}");
        Ok(())
    }

    /// The spans of a trace, none if Zipkin does not know it.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn trace(&self, id: &str) -> Result<Vec<Span>> {
        let (status, answer) = self.get(&format!("/api/v2/trace/{id}"))?;
        if status == 404 {
            return Ok(Vec::new());
        }
        ensure!(status == 200, "Zipkin answered {status}: {answer}");
        read(&serde_json::from_str(&answer)?)
    }

    /// All that it knows of the spans of a trace, nothing if it does not know
    /// the trace.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn facts(&self, trace: &str) -> Result<Vec<Fields>> {
        let spans = Api::new(&self.authority)?.get(&format!("/api/v2/trace/{trace}"))?;
        let spans = spans.as_ref().and_then(Value::as_array);
        spans
            .into_iter()
            .flatten()
            .map(Fields::from_zipkin)
            .collect()
    }

    /// Which services called which until `now`, since `lookback` ago.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn links(&self, now: Duration, lookback: Duration) -> Result<Links> {
        let (end, back) = (now.as_millis(), lookback.as_millis());
        let path = format!("/api/v2/dependencies?endTs={end}&lookback={back}");
        let answer = Api::new(&self.authority)?.get(&path)?;
        let answer = answer.context("no dependencies")?;
        let links = answer.as_array().into_iter().flatten();
        links.map(Link::from_json).collect()
    }

    /// All traces with a tag, of the last hour.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn traces_with(&self, tag: &str, value: &str) -> Result<Vec<Vec<Span>>> {
        let path = "/api/v2/traces?limit=1000&lookback=3600000&annotationQuery=";
        let (status, answer) = self.get(&format!("{path}{tag}%3D{value}"))?;
        ensure!(status == 200, "Zipkin answered {status}: {answer}");
        let traces: Vec<Value> = serde_json::from_str(&answer)?;
        traces.iter().map(read).collect()
    }

    /// All traces of the last hour, as far as there are not more than 10,000.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn all_traces(&self) -> Result<Vec<Vec<Span>>> {
        let all = self.json("/api/v2/traces?limit=10000&lookback=3600000")?;
        let all = all.as_array().context("traces are a list")?;
        all.iter().map(read).collect()
    }

    /// The answer to a question of the API.
    ///
    /// # Errors
    /// If there is none.
    pub fn json(&self, path: &str) -> Result<Value> {
        let (status, answer) = self.get(path)?;
        ensure!(status == 200, "Zipkin answered {status}: {answer}");
        serde_json::from_str(&answer).context("Zipkin's answer")
    }

    /// Waits until a trace has `count` spans; what it has after that time.
    ///
    /// # Errors
    /// If an answer is not understood.
    pub fn trace_of(&self, id: &str, count: usize) -> Result<Vec<Span>> {
        let mut last = Vec::new();
        let whole = wait::until_true("the trace", Duration::from_secs(60), || {
            last = self.trace(id)?;
            Ok(last.len() >= count)
        });
        // Too few spans are for the caller to report, a failed request is not.
        if last.is_empty() {
            whole?;
        }
        Ok(last)
    }

    fn get(&self, path: &str) -> Result<(u16, String)> {
        let host = &self.authority;
        self.call(&format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
        ))
    }

    fn call(&self, request: &str) -> Result<(u16, String)> {
        let mut client = Client::connect(self.addr).context("Zipkin")?;
        client.keep_all();
        client.send(request)?;
        let response = client.response("GET")?;
        Ok((
            response.status,
            String::from_utf8_lossy(&response.body).into_owned(),
        ))
    }
}

fn read(trace: &Value) -> Result<Vec<Span>> {
    trace
        .as_array()
        .context("a trace is a list")?
        .iter()
        .map(Span::from_json)
        .collect()
}

/// A span that an instrumented caller would report for its own work.
#[must_use]
pub fn callers_span(trace: &str, id: &str, kind: Option<Kind>, start: u64) -> Value {
    let mut span = json!({
        "traceId": trace, "id": id, "name": "outer", "timestamp": start, "duration": 5_000_000,
        "localEndpoint": { "serviceName": "instrumented-caller" },
    });
    if kind == Some(Kind::Client) {
        span["kind"] = "CLIENT".into();
    }
    span
}
