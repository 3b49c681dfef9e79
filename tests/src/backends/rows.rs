//! Each way out of the agent into each server.

use anyhow::Result;

use super::Servers;
use super::fields::Fields;
use super::shapes;

/// One way.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Name of its checks.
    pub name: &'static str,
    /// Where spans are read back.
    pub store: Store,
    /// Where they are sent: `HOST:PORT`.
    pub to: fn(&Servers) -> Result<String>,
    /// Path and content type of every POST; none if they go by UDP.
    pub post: Option<(&'static str, &'static str)>,
    /// Whether the halves of a call can share an id on this way.
    pub shared: bool,
    /// Configuration that sends spans to a `HOST:PORT`.
    pub config: fn(&str, Ids) -> String,
    /// What the agent prints of a span (Zipkin v2 JSON) becomes what the
    /// server gives back.
    pub shape: fn(&mut Fields),
}

/// Who keeps the spans.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    /// Zipkin.
    Zipkin,
    /// Jaeger.
    Jaeger,
}

impl Store {
    /// All that it knows of the spans of a trace, nothing if it does not know
    /// the trace.
    ///
    /// # Errors
    /// If the answer is not understood.
    pub fn trace(self, servers: &Servers, id: &str) -> Result<Vec<Fields>> {
        match self {
            Self::Zipkin => servers.zipkin.facts(id),
            Self::Jaeger => servers.jaeger.facts(id),
        }
    }
}

/// What is configured besides the backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ids {
    /// Each half of a call has an id of its own; new traces have 128 bits.
    Own,
    /// Both halves share one; new traces have 64 bits.
    Shared,
    /// As the first, and every address is the same service, whose name is not
    /// in lower case and not in ASCII.
    OneService,
}

impl Ids {
    /// Its name in those of checks.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Own => "own-ids",
            Self::Shared => "shared-ids",
            Self::OneService => "one-service",
        }
    }

    /// Whether the halves of a call share an id.
    #[must_use]
    pub fn shared(self) -> bool {
        self == Self::Shared
    }

    const fn service(self) -> &'static str {
        match self {
            Self::Own | Self::Shared => "",
            Self::OneService => "serviceName = \"Vorder-\u{dc}berbau\"\n",
        }
    }
}

/// All ways.
pub const ROWS: &[Row] = &[
    Row {
        name: "zipkin/v1-json",
        store: Store::Zipkin,
        to: |to| Ok(to.zipkin.authority().to_owned()),
        post: Some(("/api/v1/spans", "application/json")),
        shared: true,
        config: |at, ids| zipkin(at, "/api/v1/spans", ids),
        shape: shapes::by_zipkin,
    },
    Row {
        name: "zipkin/v2-json",
        store: Store::Zipkin,
        to: |to| Ok(to.zipkin.authority().to_owned()),
        post: Some(("/api/v2/spans", "application/json")),
        shared: true,
        config: |at, ids| zipkin(at, "/api/v2/spans", ids),
        shape: shapes::by_zipkin,
    },
    Row {
        name: "jaeger/v1-json",
        store: Store::Jaeger,
        to: |to| to.jaeger.at("zipkin").map(str::to_owned),
        post: Some(("/api/v1/spans", "application/json")),
        shared: true,
        config: |at, ids| zipkin(at, "/api/v1/spans", ids),
        shape: shapes::by_jaeger_of_zipkin1_json,
    },
    Row {
        name: "jaeger/v2-json",
        store: Store::Jaeger,
        to: |to| to.jaeger.at("zipkin").map(str::to_owned),
        post: Some(("/api/v2/spans", "application/json")),
        shared: true,
        config: |at, ids| zipkin(at, "/api/v2/spans", ids),
        shape: shapes::by_jaeger_of_zipkin2,
    },
    Row {
        name: "jaeger/udp",
        store: Store::Jaeger,
        to: |to| to.jaeger.at("udp").map(str::to_owned),
        post: None,
        shared: false,
        config: udp,
        shape: shapes::by_jaeger_of_compact,
    },
    Row {
        name: "jaeger/otlp",
        store: Store::Jaeger,
        to: |to| to.jaeger.at("otlp").map(str::to_owned),
        post: Some(("/v1/traces", "application/x-protobuf")),
        shared: false,
        config: otlp,
        shape: shapes::by_jaeger_of_otlp,
    },
];

fn zipkin(server: &str, path: &str, ids: Ids) -> String {
    format!(
        "[tracing]\nbackend = \"zipkin\"\n{}[tracing.zipkin]\nhttpEndpoint = \"http://{server}{path}\"\n\
         sameSpan = {}\nid128Bit = {}\n",
        ids.service(),
        ids.shared(),
        !ids.shared()
    )
}

fn udp(agent: &str, ids: Ids) -> String {
    format!(
        "[tracing]\nbackend = \"jaeger\"\n{}[tracing.jaeger]\nlocalAgentHostPort = \"{agent}\"\n\
         gen128Bit = {}\npropagation = \"b3\"\nsamplingType = \"const\"\nsamplingParam = 1\n",
        ids.service(),
        !ids.shared()
    )
}

fn otlp(server: &str, ids: Ids) -> String {
    format!(
        "[tracing]\nbackend = \"otlp\"\n{}[tracing.otlp]\nendpoint = \"http://{server}/v1/traces\"\n",
        ids.service()
    )
}
