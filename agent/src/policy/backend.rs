//! Tracing backends of a mesh.

use std::sync::Arc;

/// `Mesh.tracing.backends[]`: where spans go, and which share.
#[derive(Clone, Debug, PartialEq)]
pub struct TracingBackend {
    /// The mesh that has it. Backends of two meshes are two, whatever they say.
    pub mesh: Arc<str>,
    /// Its name, unique in the mesh.
    pub name: Arc<str>,
    /// `sampling`: percent of the traces that begin here, 0 to 100. Absent is
    /// 100 (Envoy's default of `overall_sampling`).
    pub sampling: f64,
    /// What it is.
    pub kind: BackendKind,
}

/// `type` and `conf` of a backend.
#[derive(Clone, Debug, PartialEq)]
pub enum BackendKind {
    /// `zipkin`
    Zipkin {
        /// `url`: absolute, with a port, without credentials (which Kuma does
        /// not send either).
        url: Arc<str>,
        /// `traceId128bit`: new trace ids have 128 bits. Default false.
        trace_id_128: bool,
        /// `apiVersion`.
        api_version: ZipkinApi,
        /// `sharedSpanContext`: both halves of a call have one span id.
        /// Default true (Envoy's).
        shared_span_context: bool,
    },
    /// `opentelemetry`: nodespan's own, Kuma has it in `MeshTrace` alone.
    OpenTelemetry {
        /// `endpoint`: URL that takes OTLP over HTTP, without credentials.
        endpoint: Arc<str>,
    },
    /// `jaeger`: nodespan's own, for the agent protocol; what Traefik calls
    /// `localAgentHostPort`.
    Jaeger {
        /// `agentAddress`: `HOST:PORT` that takes compact thrift by UDP.
        agent: Arc<str>,
    },
    /// `datadog`: accepted, but nodespan does not send to it.
    Datadog {
        /// `address`
        address: Arc<str>,
        /// `port`
        port: u16,
        /// `splitService`. Default false.
        split_service: bool,
    },
}

/// Which of Zipkin's formats is sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ZipkinApi {
    /// `httpJson`: version 2; also `httpJsonV1`, which Envoy has not sent for
    /// years and Kuma sends as version 2.
    #[default]
    Json,
    /// `httpProto`: `zipkin.proto3.ListOfSpans`.
    Proto,
}

impl TracingBackend {
    /// `type`
    #[must_use]
    pub const fn type_name(&self) -> &'static str {
        match self.kind {
            BackendKind::Zipkin { .. } => "zipkin",
            BackendKind::OpenTelemetry { .. } => "opentelemetry",
            BackendKind::Jaeger { .. } => "jaeger",
            BackendKind::Datadog { .. } => "datadog",
        }
    }

    /// Where it listens: a URL, or `ADDRESS:PORT` of an agent.
    #[must_use]
    pub fn address(&self) -> String {
        match &self.kind {
            BackendKind::Zipkin { url, .. } => url.to_string(),
            BackendKind::OpenTelemetry { endpoint } => endpoint.to_string(),
            BackendKind::Jaeger { agent } => agent.to_string(),
            BackendKind::Datadog { address, port, .. } => format!("{address}:{port}"),
        }
    }

    /// Whether nodespan can send to it.
    #[must_use]
    pub const fn is_exported(&self) -> bool {
        !matches!(self.kind, BackendKind::Datadog { .. })
    }
}
