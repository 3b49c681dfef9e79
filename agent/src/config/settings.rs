//! What the agent runs by, validated.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::admin::api::Token;
use crate::http::context::Format;
use crate::link::{IdentityKey, TraceWidth};
use crate::policy::Selection;

/// Everything in `nodespan.toml`. The default traces every request, prints its
/// span to the console and needs no file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings {
    /// `[agent]`
    pub agent: Agent,
    /// `[capture]`
    pub capture: Capture,
    /// `[export]` and `[tracing]`
    pub export: Export,
    /// `[admin]`
    pub admin: Admin,
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
    /// are not named come behind, in this order, which is the default.
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
    /// there is no backend, otherwise none; see [`Self::output`].
    pub printed: Option<Output>,
    /// `zipkinEndpoint`, or `[tracing.zipkin] httpEndpoint`: URL that takes
    /// Zipkin v2 JSON, `http://HOST:PORT/api/v2/spans`. Default: none.
    pub zipkin: Option<String>,
    /// `sharedSpans`, or `[tracing.zipkin] sameSpan`: both halves of a call
    /// have one span id. Default false.
    pub shared_spans: bool,
    /// `traceId128`, or `[tracing.zipkin] id128Bit`: width of new trace ids.
    /// Default true, 128 bits.
    pub trace_width: TraceWidth,
    /// `[tracing.zipkin] debug`: every span says `debug`. Default false.
    pub debug: bool,
    /// `batchSpans`: a batch leaves when it holds this many, 1 to 100,000.
    /// Default 1,000.
    pub batch_spans: u64,
    /// `batchBytes`: or this many bytes, 1,000 to 50,000,000. Default 512,000,
    /// what zipkin-reporter sends at most.
    pub batch_bytes: u64,
    /// `batchDelay`: or when its first span has waited this long, 1 ms to
    /// 1 min. Default 500 ms.
    pub batch_delay: Duration,
    /// `queueSpans`: spans that wait for the backend at most, 1 to 10,000,000;
    /// beyond it they are dropped and counted. Default 20,000.
    pub queue_spans: u64,
    /// `queueBytes`: the same in bytes, 10,000 to 4 GiB. Default 16 MiB.
    pub queue_bytes: u64,
    /// `connectTimeout`: 10 ms to 5 min. Default 5 s.
    pub connect_timeout: Duration,
    /// `answerTimeout`: for sending a batch and reading the answer, 10 ms to
    /// 5 min. Default 10 s.
    pub answer_timeout: Duration,
    /// `giveUpAfter`: a batch that the backend has not taken this long after
    /// the first attempt is dropped, 0 ms to 24 h. Default 2 min.
    pub give_up_after: Duration,
}

impl Default for Export {
    fn default() -> Self {
        Self {
            printed: None,
            zipkin: None,
            shared_spans: false,
            trace_width: TraceWidth::Bits128,
            debug: false,
            batch_spans: 1000,
            batch_bytes: 512_000,
            batch_delay: Duration::from_millis(500),
            queue_spans: 20_000,
            queue_bytes: 16 << 20,
            connect_timeout: Duration::from_secs(5),
            answer_timeout: Duration::from_secs(10),
            give_up_after: Duration::from_mins(2),
        }
    }
}

impl Export {
    /// What is printed: what was asked for, else the console if spans would
    /// go nowhere.
    #[must_use]
    pub fn output(&self) -> Output {
        self.printed.unwrap_or(match self.zipkin {
            None => Output::Console,
            Some(_) => Output::None,
        })
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
