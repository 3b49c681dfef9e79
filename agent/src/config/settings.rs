//! What the agent runs by, validated.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use crate::admin::api::Token;
use crate::export::Limits;
use crate::export::NameLimit;
use crate::export::delivery::DeliveryConfig;
use crate::http::context::Format;
use crate::kubernetes::MOST_OBJECTS;
use crate::link::{IdentityKey, TraceWidth};
use crate::policy::Selection;
use crate::sample::SamplerConfig;

/// Everything in `nodespan.toml`. The default traces every request, prints its
/// span to the console and needs no file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `[agent]`
    pub agent: Agent,
    /// `[capture]`
    pub capture: Capture,
    /// `[tracing]`
    pub tracing: Option<Tracing>,
    /// `[export]`
    pub export: Export,
    /// `[admin]`
    pub admin: Admin,
    /// `[kubernetes]`
    pub kubernetes: Kubernetes,
}

impl Settings {
    /// What is printed: what was asked for, else the console if spans would
    /// go nowhere.
    #[must_use]
    pub fn output(&self) -> Output {
        let nowhere = self.tracing.is_none() && self.export.zipkin.is_none();
        self.export.printed.unwrap_or(match nowhere {
            true => Output::Console,
            false => Output::None,
        })
    }

    /// Whether both halves of a call have one span id, where `[tracing]` or
    /// `[export]` decides.
    #[must_use]
    pub fn shared_spans(&self) -> bool {
        match &self.tracing {
            Some(tracing) => tracing.shared_spans,
            None => self.export.shared_spans,
        }
    }

    /// The Zipkin endpoint that `[tracing]` or `[export]` names.
    #[must_use]
    pub fn zipkin_endpoint(&self) -> Option<&str> {
        match &self.tracing {
            Some(Tracing {
                backend: TracingBackend::Zipkin { endpoint },
                ..
            }) => Some(endpoint),
            Some(_) => None,
            None => self.export.zipkin.as_deref(),
        }
    }

    /// Width of new trace ids, where `[tracing]` or `[export]` decides.
    #[must_use]
    pub fn trace_width(&self) -> TraceWidth {
        match &self.tracing {
            Some(tracing) => tracing.trace_width,
            None => self.export.trace_width,
        }
    }
}

/// Who the agent is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// `service`, or `[tracing] serviceName`: the service of every span.
    /// Default: each workload's own name.
    pub service: Option<Arc<str>>,
    /// `node`: the value of the tag `node_id`. Default: the host's name.
    pub node: Option<Arc<str>>,
    /// `identityKeyFile`: a file of 16 bytes to 64 KiB, the same on all nodes
    /// whose spans shall join; its path is relative to the configuration's
    /// folder. Default: the published key.
    pub identity_key: IdentityKey,
}

/// What is traced, and how requests are read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capture {
    /// `ports` (server ports from 1 to 65535), `include`, `exclude` (names of
    /// services, units, containers or commands with `*`), `excludePaths`
    /// (paths with `*`), `headerless` (`"new-trace"` or `"ignore"`). Default:
    /// everything.
    pub selection: Selection,
    /// `contextOrder`: which formats of trace context are asked first, of
    /// `"b3"`, `"b3-multi"`, `"traceparent"`, `"uber-trace-id"`. Those that
    /// are not named come behind, in this order, which is the default; or else
    /// `[tracing.jaeger] propagation`.
    pub context_order: Vec<Format>,
    /// `redactQuery`: replace the values of the query in `http.url`. Default
    /// true.
    pub redact_query: bool,
}

impl Default for Capture {
    fn default() -> Self {
        Self {
            selection: Selection::default(),
            context_order: Vec::new(),
            redact_query: true,
        }
    }
}

/// Where spans go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Export {
    /// `output`: `"console"`, `"jsonl"` or `"none"`. Default: the console if
    /// there is no backend, otherwise none; see [`Settings::output`].
    pub printed: Option<Output>,
    /// `zipkinEndpoint`: URL of a Zipkin, whose path tells the version,
    /// `http://HOST:PORT/api/v2/spans`. Default: none. Not beside `[tracing]`.
    pub zipkin: Option<String>,
    /// `zipkinFormat`: what a Zipkin endpoint of `[export]` or `[tracing]` is
    /// sent, `"json"`, `"thrift"` (to `/api/v1/spans` alone, as Traefik sent
    /// it) or `"proto"` (to `/api/v2/spans` alone). Default JSON.
    pub zipkin_format: ZipkinFormat,
    /// `sharedSpans`: both halves of a call have one span id. Default false.
    /// Not beside `[tracing]`.
    pub shared_spans: bool,
    /// `traceId128`: width of new trace ids. Default true, 128 bits. Not
    /// beside `[tracing]`.
    pub trace_width: TraceWidth,
    /// How every backend is fed, with defaults in brackets. `batchSpans`: a
    /// batch leaves when it holds this many, 1 to 100,000 (1,000);
    /// `batchBytes`: or this many bytes, 1,000 to 50,000,000 (512,000, what
    /// zipkin-reporter sends at most); `batchDelay`: or when its first span has
    /// waited this long, 1 ms to 1 min (500 ms).
    ///
    /// `queueSpans`: spans that wait for the backend at most, 1 to 10,000,000
    /// (20,000); `queueBytes`: the same in bytes, 10,000 to 4 GiB (16 MiB);
    /// `overflow`: which are dropped beyond it, `"newest"` or `"oldest"`
    /// (newest).
    ///
    /// `connectTimeout`: 10 ms to 5 min (5 s); `answerTimeout`: for sending a
    /// batch and reading the answer, 10 ms to 5 min (10 s); `giveUpAfter`: a
    /// batch that the backend has not taken this long after the first attempt
    /// is dropped, 0 ms to 24 h (2 min); `shutdownGrace`: time for delivering
    /// what waits once the agent is told to stop, or the backend is taken out
    /// of the configuration, 0 ms to 10 min (5 s).
    ///
    /// `gzip`: `"auto"`, `"on"` or `"off"` (auto); `caFile`: a PEM file of the
    /// only authorities to trust (the system's); `proxy`: `http://HOST:PORT`
    /// (none); `basicAuthFile`, `proxyAuthFile`: files with `name:password`;
    /// `bearerTokenFile`: a file with a token (none). Paths are relative to
    /// the configuration's folder.
    pub delivery: DeliveryConfig,
    /// `datagramBytes`: what goes to a Jaeger agent at once, at most, 1,000 to
    /// 65,507 (65,000); the most that UDP over IPv4 carries is the upper bound.
    pub limits: Limits,
}

impl Default for Export {
    fn default() -> Self {
        Self {
            printed: None,
            zipkin: None,
            zipkin_format: ZipkinFormat::default(),
            shared_spans: false,
            trace_width: TraceWidth::Bits128,
            delivery: DeliveryConfig::default(),
            limits: Limits::default(),
        }
    }
}

/// Traefik's `[tracing]`: everything goes to one backend. `serviceName` is in
/// [`Agent::service`], and `propagation` in [`Capture::context_order`].
#[derive(Clone, Debug, PartialEq)]
pub struct Tracing {
    /// `backend`, and where it is. Default: Jaeger.
    pub backend: TracingBackend,
    /// `[tracing.jaeger] samplingType` (`const`, `probabilistic`,
    /// `rateLimiting` or `remote`), `samplingParam`, `samplingServerURL`;
    /// `[tracing.zipkin] sampleRate`; `sampleRate` for OTLP. Default: all.
    pub sampler: SamplerConfig,
    /// `spanNameLimit`: bytes of a span's name. Default: no limit.
    pub name_limit: Option<NameLimit>,
    /// `[tracing.jaeger] traceContextHeaderName`, in lower case, if it is
    /// another than `uber-trace-id`: the header that is read in place of that
    /// one.
    pub context_header: Option<Box<str>>,
    /// `[tracing.zipkin] id128Bit` (default true), `[tracing.jaeger]
    /// gen128Bit` (default false): width of new trace ids. 128 bits for OTLP.
    pub trace_width: TraceWidth,
    /// `[tracing.zipkin] sameSpan`: both halves of a call have one span id.
    /// Default false.
    pub shared_spans: bool,
    /// `[tracing.zipkin] debug`: every span says `debug`. Default false.
    pub debug: bool,
}

/// Where `[tracing]` sends spans.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TracingBackend {
    /// `"zipkin"`
    Zipkin {
        /// `httpEndpoint`: `http` or `https` URL whose path tells the format,
        /// `/api/v1/spans` or `/api/v2/spans`. Default
        /// `http://localhost:9411/api/v1/spans`.
        endpoint: String,
    },
    /// `"jaeger"`
    Jaeger {
        /// `localAgentHostPort`: where an agent, or what speaks for one, takes
        /// compact thrift over UDP. Default `127.0.0.1:6831`.
        agent: String,
    },
    /// `"otlp"`
    Otlp {
        /// `endpoint`: `http` or `https` URL that takes OTLP in Protocol
        /// Buffers. Default `http://127.0.0.1:4318/v1/traces`.
        endpoint: String,
    },
}

/// How spans are written for a Zipkin endpoint; the path tells the version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ZipkinFormat {
    /// JSON of either version.
    #[default]
    Json,
    /// Binary thrift, of version 1.
    Thrift,
    /// Protocol Buffers, of version 2.
    Proto,
}

impl ZipkinFormat {
    /// Whether an endpoint takes it (`ZipkinHttpCollector.java`: the path
    /// decides which formats are read).
    #[must_use]
    pub fn fits(self, endpoint: &str) -> bool {
        let path = endpoint.split(['?', '#']).next().unwrap_or_default();
        let first = path.trim_end_matches('/').ends_with("/api/v1/spans");
        match self {
            Self::Json => true,
            Self::Thrift => first,
            Self::Proto => !first,
        }
    }
}

/// What is printed of each span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Output {
    /// A line for people.
    Console,
    /// A Zipkin v2 JSON object in a line.
    Jsonl,
    /// Nothing.
    None,
}

/// The admin port: metrics and status; and the resource API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admin {
    /// `listen`: `"ADDRESS:PORT"`, or `"off"`. Default `"127.0.0.1:9903"`.
    pub listen: Listen,
    /// `api`: where Kuma's API for resources is answered, `"ADDRESS:PORT"`, or
    /// true for `127.0.0.1:5681`. Default false: nowhere.
    pub api: Option<SocketAddr>,
    /// `apiTokenFile`: a file with the bearer token of that API, at least 16
    /// characters; its path is relative to the configuration's folder. Needed
    /// if others than this host reach `api`. Default: none.
    pub api_token: Option<Token>,
    /// `stateFolder`: where resources are kept that were given over that API;
    /// its path is relative to the configuration's folder. Default
    /// `/var/lib/nodespan/resources`.
    pub state_folder: PathBuf,
}

impl Default for Admin {
    fn default() -> Self {
        Self {
            listen: Listen::default(),
            api: None,
            api_token: None,
            state_folder: PathBuf::from("/var/lib/nodespan/resources"),
        }
    }
}

/// The Kubernetes API that says who pods are, and what is traced.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kubernetes {
    /// `enabled`: it is asked. Default false, or true with `--kubernetes`.
    pub enabled: bool,
    /// `kubeconfig`: a file that names the API and the credentials for it, by
    /// its current context; its path is relative to the configuration's
    /// folder. Default: those of the pod that the agent runs in.
    pub kubeconfig: Option<PathBuf>,
    /// `assumeHttp`: what pods serve and call is HTTP where nothing says what
    /// it is. Default false: it is not, and is not traced.
    pub assume_http: bool,
    /// `zone`: the value of the tag `kuma.io/zone`. Default: no such tag.
    pub zone: Option<Arc<str>>,
    /// `maxObjects`: objects of each kind that are kept. Default 100,000.
    pub max_objects: usize,
}

impl Default for Kubernetes {
    fn default() -> Self {
        Self {
            enabled: false,
            kubeconfig: None,
            assume_http: false,
            zone: None,
            max_objects: MOST_OBJECTS,
        }
    }
}

/// Whether and where the admin port listens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Listen {
    /// At 127.0.0.1:9903, or not at all if that is taken.
    #[default]
    Default,
    /// Here, because somebody said so.
    At(SocketAddr),
    /// Nowhere.
    Off,
}
