//! Events in the cluster about policies that lead nowhere, where a person
//! looks: `kubectl describe traffictrace NAME`.
//!
//! Every node's agent sees the same policies. So an Event has a name that
//! follows from what it is about, and who comes first creates it. The API
//! forgets Events after an hour (`--event-ttl`), so what is still true is told
//! again before.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hashbrown::HashSet;
use kube_client::Client;
use kube_client::core::Request;
use serde_json::{Value, json};
use siphasher::sip128::{Hasher128 as _, SipHasher13};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::sync::mpsc;

use super::cluster::Notice;
use super::failure::Failure;
use super::mirror::Mirror;

/// Cluster-wide objects have their Events there.
const PATH: &str = "/api/v1/namespaces/default/events";
/// Notices that wait at most: one more is told when it comes up again.
const WAITING: usize = 64;
/// Notices of one generation at most.
const MOST: usize = 50;
/// An Event's message is never longer (`maxNoteLength`,
/// `pkg/apis/core/validation/events.go`).
const MAX_MESSAGE: usize = 1024;
/// What is still true is told again every so many seconds of the calendar, by
/// which all agents call the Event alike,
const AGAIN: u64 = 3000;
/// and at most so many seconds later.
const LATE: u64 = 300;

/// How fast notices are told.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Nodes do not come all at once.
    spread: Duration,
    /// After a failure, before it is tried again; each the last time's double.
    pause: Duration,
}

/// How often a notice is tried again.
const TRIES_AGAIN: u32 = 3;

impl Default for Pace {
    fn default() -> Self {
        Self {
            spread: Duration::from_secs(2),
            pause: Duration::from_secs(1),
        }
    }
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Event is there now.
    Created,
    /// Another agent has created it.
    Exists,
    /// The API did not take it.
    Failed,
    /// Too many wait, or lead nowhere at all.
    Dropped,
}

impl Outcome {
    /// All of them, in the order of their numbers.
    pub(super) const ALL: [Self; 4] = [Self::Created, Self::Exists, Self::Failed, Self::Dropped];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Exists => "exists",
            Self::Failed => "failed",
            Self::Dropped => "dropped",
        }
    }
}

/// How many notices became what.
#[derive(Debug, Default)]
pub(super) struct Sent([AtomicU64; Outcome::ALL.len()]);

impl Sent {
    pub(super) fn get(&self, outcome: Outcome) -> u64 {
        let count = self.0.get(outcome as usize);
        count.map_or(0, |count| count.load(Ordering::Relaxed))
    }

    fn add(&self, outcome: Outcome) {
        if let Some(count) = self.0.get(outcome as usize) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Tells each notice once.
#[derive(Debug)]
pub struct Notices {
    mirror: Arc<Mirror>,
    /// Those of the last generation that have been told.
    told: HashSet<Notice>,
    /// Those beyond [`MOST`].
    cut: HashSet<Notice>,
    queue: mpsc::Sender<Telling>,
    /// When something was told again last, in [`AGAIN`].
    round: u64,
    /// Seconds after its beginning.
    late: u64,
}

/// What waits to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Telling {
    notice: Notice,
    /// When it is told again; none at first.
    round: Option<u64>,
}

impl Notices {
    /// Events are created as the agent of this node, by a task that ends with
    /// this. Must run within a tokio runtime.
    #[must_use]
    pub fn start(client: Client, mirror: &Arc<Mirror>, node: Option<Arc<str>>) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING);
        let pace = Pace::default();
        tokio::spawn(send(client, Arc::clone(mirror), node, waiting, pace));
        Self::with(queue, mirror, random() % LATE, seconds())
    }

    fn with(queue: mpsc::Sender<Telling>, mirror: &Arc<Mirror>, late: u64, now: u64) -> Self {
        Self {
            mirror: Arc::clone(mirror),
            told: HashSet::new(),
            cut: HashSet::new(),
            queue,
            round: now / AGAIN,
            late,
        }
    }

    /// Tells again, now and then, what is still true. Call it all the time.
    pub fn again(&mut self) {
        self.again_at(seconds());
    }

    fn again_at(&mut self, now: u64) {
        let round = now / AGAIN;
        if round == self.round || now % AGAIN < self.late {
            return;
        }
        self.round = round;
        for notice in &self.told {
            let telling = Telling {
                notice: notice.clone(),
                round: Some(round),
            };
            if self.queue.try_send(telling).is_err() {
                self.mirror.sent.add(Outcome::Dropped);
            }
        }
    }

    /// Tells what is new of these.
    pub fn tell(&mut self, notices: Vec<Notice>) {
        let (mut now, mut cut) = (HashSet::new(), HashSet::new());
        for notice in notices {
            match now.len() < MOST || now.contains(&notice) {
                true => now.insert(notice),
                false => cut.insert(notice),
            };
        }
        self.leave(cut);
        self.told.retain(|told| now.contains(told));
        for notice in now {
            if self.told.contains(&notice) {
                continue;
            }
            let (kind, name) = (notice.kind.kind(), &notice.name);
            // An invalid one has been told about in the log.
            if notice.reason != "Invalid" {
                tracing::warn!("{kind} \"{name}\": {}", notice.message);
            }
            let telling = Telling {
                notice: notice.clone(),
                round: None,
            };
            match self.queue.try_send(telling) {
                Ok(()) => {
                    self.told.insert(notice);
                }
                Err(_) => self.mirror.sent.add(Outcome::Dropped),
            }
        }
    }

    /// Counts those that are not told, each once.
    fn leave(&mut self, cut: HashSet<Notice>) {
        let new = cut.difference(&self.cut).count();
        for _ in 0..new {
            self.mirror.sent.add(Outcome::Dropped);
        }
        if new > 0 {
            let all = cut.len();
            tracing::warn!(
                "{all} notices about policies are not told: no more than {MOST} are at a time"
            );
        }
        self.cut = cut;
    }
}

async fn send(
    client: Client,
    mirror: Arc<Mirror>,
    node: Option<Arc<str>>,
    mut waiting: mpsc::Receiver<Telling>,
    pace: Pace,
) {
    while let Some(telling) = waiting.recv().await {
        let part = u32::try_from(random() % 1024).unwrap_or_default();
        tokio::time::sleep(pace.spread * part / 1024).await;
        let mut again = 0;
        let outcome = loop {
            let (failure, said) = match create(&client, &telling, node.as_deref()).await {
                Ok(outcome) => break outcome,
                Err(failed) => failed,
            };
            // The role does not change within seconds.
            if again == TRIES_AGAIN || failure == Failure::Forbidden {
                let notice = &telling.notice;
                let (kind, name) = (notice.kind.kind(), &notice.name);
                let failure = failure.as_str();
                tracing::warn!("no Event about {kind} \"{name}\" ({failure}): {said}");
                break Outcome::Failed;
            }
            tokio::time::sleep(pace.pause * 2_u32.pow(again)).await;
            again += 1;
        };
        mirror.sent.add(outcome);
    }
}

/// A fresh state of it hashes nothing to something that nobody foresees.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// Seconds since 1970.
fn seconds() -> u64 {
    let now = OffsetDateTime::now_utc().unix_timestamp();
    now.try_into().unwrap_or_default()
}

/// Creates the Event of a notice, or says why there is none.
async fn create(
    client: &Client,
    telling: &Telling,
    node: Option<&str>,
) -> Result<Outcome, (Failure, String)> {
    let body = event(telling, node, OffsetDateTime::now_utc());
    let request = Request::new(PATH).create(&Default::default(), body.to_string().into_bytes());
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            tracing::error!("an Event cannot be asked for: {error}");
            return Ok(Outcome::Failed);
        }
    };
    match client.request::<Value>(request).await {
        Ok(_) => Ok(Outcome::Created),
        Err(kube_client::Error::Api(status)) if status.code == 409 => Ok(Outcome::Exists),
        Err(error) => Err(Failure::of_client(&error)),
    }
}

/// The Event of a notice (`core/v1`).
fn event(telling: &Telling, node: Option<&str>, now: OffsetDateTime) -> Value {
    let notice = &telling.notice;
    let time = now
        .replace_nanosecond(0)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default();
    let mut message = notice.message.clone();
    if message.len() > MAX_MESSAGE {
        message.truncate(message.floor_char_boundary(MAX_MESSAGE - 3));
        message.push_str("...");
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": name(telling), "namespace": "default" },
        "involvedObject": {
            "apiVersion": format!("{}/{}", notice.kind.group(), notice.kind.version()),
            "kind": notice.kind.kind(),
            "name": &*notice.name,
            "uid": &*notice.uid,
            "resourceVersion": &*notice.version,
        },
        "type": "Warning",
        "reason": notice.reason,
        "message": message,
        "source": { "component": "nodespan", "host": node.unwrap_or_default() },
        "reportingComponent": "kuma.io/nodespan",
        "reportingInstance": node.unwrap_or("nodespan"),
        "action": "Trace",
        "eventTime": null,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

/// `NAME.HASH`, the same for the same notice about the same generation of an
/// object, until it is told again.
fn name(Telling { notice, round }: &Telling) -> String {
    let mut hasher = SipHasher13::new();
    if let Some(round) = round {
        hasher.write_u64(*round);
    }
    // A generation counts what people change; without one the version does.
    let generation = match notice.generation {
        0 => notice.version.to_string(),
        generation => generation.to_string(),
    };
    for part in [&*notice.uid, &*generation, notice.reason, &*notice.message] {
        hasher.write_usize(part.len());
        hasher.write(part.as_bytes());
    }
    let hash = hasher.finish128().h1;
    let name = &*notice.name;
    let short = name.get(..name.floor_char_boundary(200)).unwrap_or(name);
    let short = short.trim_end_matches(['.', '-']);
    format!("{short}.{hash:016x}")
}

#[cfg(test)]
mod tests;
