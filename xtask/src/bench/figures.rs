//! What is measured, as it passes from the guest to the report.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// What the guest is asked to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Spec {
    pub(super) mode: Mode,
    /// Seconds of the guest's clock for each load.
    pub(super) load_seconds: u32,
    pub(super) agent: PathBuf,
    pub(super) sink: PathBuf,
    pub(super) pingpong: PathBuf,
    pub(super) floor: PathBuf,
    pub(super) envoy: PathBuf,
    /// Turns of the conversation that is no HTTP.
    pub(super) turns: u64,
    /// Exchanges of the capture that is replayed.
    pub(super) exchanges: u64,
    /// Where results and logs go.
    pub(super) out: PathBuf,
}

/// What the guest's clock counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mode {
    /// A nanosecond is an instruction.
    Instructions,
    /// Real time, for latencies.
    Time,
}

/// All that one boot has measured.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Figures {
    pub(super) kernel: String,
    /// Without anything, first and last.
    pub(super) nothing: Vec<Load>,
    pub(super) floor: Option<Load>,
    pub(super) unwatched: Option<Load>,
    pub(super) traced: Option<Load>,
    pub(super) envoy: Option<Load>,
    /// Of the agent during the traced load.
    pub(super) agent: Option<AgentFigures>,
    /// Its kernel programs during another load like that.
    pub(super) programs: Vec<Program>,
    pub(super) foreign: Option<Foreign>,
    pub(super) bodies: Vec<Body>,
    pub(super) replay: Option<Replay>,
    /// What could not be measured, and why.
    pub(super) failures: BTreeMap<String, String>,
}

/// One load of nginx.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Load {
    /// Requests that nginx counted.
    pub(super) served: u64,
    /// Requests that wrk saw answered.
    pub(super) answered: u64,
    /// Those a second: in instruction mode, for 10^9 instructions.
    pub(super) rate: f64,
    /// What was left to do when the load ended, in nanoseconds of processor
    /// time: spans on their way.
    pub(super) left_over: u64,
    /// Processor time of each party from before the load until nothing was
    /// left, in nanoseconds.
    pub(super) parties: BTreeMap<String, u64>,
    pub(super) latency: Option<Latency>,
}

/// Percentiles in microseconds.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Latency {
    pub(super) p50: f64,
    pub(super) p75: f64,
    pub(super) p90: f64,
    pub(super) p99: f64,
}

impl Load {
    /// Nanoseconds (in instruction mode: instructions) for each request, with
    /// what was left to do.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn per_request(&self) -> f64 {
        1e9 / self.rate + self.left_over as f64 / self.answered.max(1) as f64
    }

    /// Processor time of one party for each request.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn of_party(&self, party: &str) -> f64 {
        let spent = self.parties.get(party).copied().unwrap_or_default();
        spent as f64 / self.served.max(1) as f64
    }
}

/// The agent after the traced load.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct AgentFigures {
    /// Requests that nginx counted.
    pub(super) served: u64,
    /// Spans that arrived at the sink.
    pub(super) arrived: u64,
    /// Their bytes.
    pub(super) bytes: u64,
    /// And batches.
    pub(super) posts: u64,
    /// Records and spans lost, refused or dropped, by the ledger.
    pub(super) lost: BTreeMap<String, u64>,
    pub(super) rss_kib: u64,
    pub(super) peak_kib: u64,
    pub(super) version: String,
    /// Processor time of its threads in nanoseconds.
    pub(super) threads: BTreeMap<String, u64>,
}

/// A kernel program, at both ends of all connections. The accounts themselves
/// are part of what it spent.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Program {
    pub(super) name: String,
    pub(super) function: String,
    /// Instructions that the verifier walked.
    pub(super) verified: u64,
    /// Requests of the load.
    pub(super) requests: u64,
    pub(super) runs: u64,
    /// Nanoseconds.
    pub(super) spent: u64,
}

/// A conversation that is no HTTP: nanoseconds a turn, of two sends and two
/// receives.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Foreign {
    /// Without the agent.
    pub(super) nothing: f64,
    /// Its owner is not watched.
    pub(super) unwatched: f64,
    /// Its owner is watched, the socket remembered.
    pub(super) watched: f64,
    /// Its owner is of no interest but has never spoken HTTP, so that the
    /// agent may not know.
    pub(super) undecided: f64,
}

/// How much of bodies of one size crossed the ring.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Body {
    pub(super) server: String,
    /// `down` or `up`.
    pub(super) way: String,
    pub(super) size: u64,
    pub(super) times: u64,
    /// Bytes of their heads, both ways.
    pub(super) heads: u64,
    /// Bytes that the agent says crossed the ring.
    pub(super) ring: u64,
    /// Bytes that the agent says calls moved.
    pub(super) moved: u64,
}

impl Body {
    /// Body bytes that crossed the ring, of all body bytes.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn share(&self) -> f64 {
        self.ring.saturating_sub(self.heads) as f64 / (self.size * self.times).max(1) as f64
    }
}

/// `nodespan replay --output none`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Replay {
    pub(super) exchanges: u64,
    /// Processor time in nanoseconds.
    pub(super) spent: u64,
    /// The same for a capture of one connection.
    pub(super) small_exchanges: u64,
    pub(super) small_spent: u64,
}

impl Replay {
    /// Nanoseconds for each exchange, without start and end.
    #[expect(clippy::cast_precision_loss, reason = "counts below 2^53")]
    pub(super) fn per_exchange(&self) -> f64 {
        self.spent.saturating_sub(self.small_spent) as f64
            / self.exchanges.saturating_sub(self.small_exchanges).max(1) as f64
    }
}
