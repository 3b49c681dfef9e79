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
/// Nodes do not come all at once.
const SPREAD: Duration = Duration::from_secs(2);
/// What is still true is told again every so many seconds of the calendar, by
/// which all agents call the Event alike,
const AGAIN: u64 = 3000;
/// and at most so many seconds later.
const LATE: u64 = 300;

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The Event is there now.
    Created,
    /// Another agent has created it.
    Exists,
    /// The API did not take it.
    Failed,
    /// Too many wait.
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
        tokio::spawn(send(client, Arc::clone(mirror), node, waiting));
        Self::with(queue, mirror, random() % LATE, seconds())
    }

    fn with(queue: mpsc::Sender<Telling>, mirror: &Arc<Mirror>, late: u64, now: u64) -> Self {
        Self {
            mirror: Arc::clone(mirror),
            told: HashSet::new(),
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
        let now: HashSet<Notice> = notices.into_iter().take(MOST).collect();
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
}

async fn send(
    client: Client,
    mirror: Arc<Mirror>,
    node: Option<Arc<str>>,
    mut waiting: mpsc::Receiver<Telling>,
) {
    while let Some(telling) = waiting.recv().await {
        let part = u32::try_from(random() % 1024).unwrap_or_default();
        tokio::time::sleep(SPREAD * part / 1024).await;
        let outcome = create(&client, &telling, node.as_deref()).await;
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

async fn create(client: &Client, telling: &Telling, node: Option<&str>) -> Outcome {
    let now = OffsetDateTime::now_utc();
    let (body, notice) = (event(telling, node, now), &telling.notice);
    let request = Request::new(PATH).create(&Default::default(), body.to_string().into_bytes());
    let request = match request {
        Ok(request) => request,
        Err(error) => {
            tracing::error!("an Event cannot be asked for: {error}");
            return Outcome::Failed;
        }
    };
    match client.request::<Value>(request).await {
        Ok(_) => Outcome::Created,
        Err(kube_client::Error::Api(status)) if status.code == 409 => Outcome::Exists,
        Err(error) => {
            let (failure, said) = Failure::of_client(&error);
            let (kind, name) = (notice.kind.kind(), &notice.name);
            let failure = failure.as_str();
            tracing::warn!("no Event about {kind} \"{name}\" ({failure}): {said}");
            Outcome::Failed
        }
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
mod tests {
    use super::*;
    use crate::kubernetes::{Kind, Options};

    fn notice() -> Notice {
        Notice {
            kind: Kind::TrafficTrace,
            name: "eu".into(),
            uid: "1-2-3".into(),
            version: "77".into(),
            generation: 2,
            reason: "UnknownBackend",
            message: "Mesh \"default\" has no tracing backend \"jager\"".to_owned(),
        }
    }

    fn first(notice: Notice) -> Telling {
        Telling {
            notice,
            round: None,
        }
    }

    #[test]
    fn what_is_still_true_is_told_again_before_the_api_forgets_it() {
        let (queue, mut waiting) = mpsc::channel(WAITING);
        let mirror = Mirror::new(Options::default());
        let (start, late) = (AGAIN * 7 + 100, 200);
        let mut notices = Notices::with(queue, &mirror, late, start);
        let other = Notice {
            name: "us".into(),
            ..notice()
        };
        notices.tell(vec![notice(), other.clone()]);
        let mut told = || std::iter::from_fn(|| waiting.try_recv().ok()).collect::<Vec<_>>();
        let at_first = told();
        assert_eq!(at_first.len(), 2);
        assert!(at_first.iter().all(|telling| telling.round.is_none()));
        // What is told is told, and what is no longer true is not told again.
        notices.tell(vec![notice()]);
        let mut again = Vec::new();
        for now in start..start + 3 * AGAIN {
            notices.again_at(now);
            again.extend(told().into_iter().map(|telling| (now, telling)));
        }
        let times: Vec<u64> = again.iter().map(|(now, _)| *now).collect();
        let due = [8, 9, 10].map(|round| round * AGAIN + late);
        assert_eq!(times, due[..times.len()]);
        assert!(times.len() >= 2);
        assert!(times[0] - start < 3600 && times[1] - times[0] < 3600);
        // Each time it is another Event, of one name for all agents.
        let names = again.iter().map(|(_, telling)| {
            assert_eq!(telling.notice, notice());
            name(telling)
        });
        let mut names: Vec<_> = names.chain([name(&first(notice()))]).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn all_agents_call_an_event_the_same_and_another_generation_has_another() {
        let one = name(&first(notice()));
        assert_eq!(one, "eu.".to_owned() + &one[3..]);
        assert_eq!(one.len(), 19);
        let touched = Notice {
            version: "78".into(),
            ..notice()
        };
        assert_eq!(name(&first(touched)), one);
        for other in [
            Notice {
                generation: 3,
                ..notice()
            },
            Notice {
                uid: "4".into(),
                ..notice()
            },
            Notice {
                message: "other".to_owned(),
                ..notice()
            },
            Notice {
                reason: "NoBackend",
                ..notice()
            },
        ] {
            assert_ne!(name(&first(other)), one);
        }
        let long = Notice {
            name: format!("{}.a", "a".repeat(199)).into(),
            ..notice()
        };
        let long = name(&first(long));
        assert!(long.len() <= 253 && !long.contains(".."), "{long}");
    }

    #[test]
    fn an_event_says_what_it_is_about() {
        let now = OffsetDateTime::from_unix_timestamp(1_767_225_600).unwrap();
        let long = Notice {
            message: "é".repeat(2000),
            ..notice()
        };
        let event = event(&first(long), Some("node-1"), now);
        assert_eq!(event["lastTimestamp"], "2026-01-01T00:00:00Z");
        assert_eq!(event["involvedObject"]["apiVersion"], "kuma.io/v1alpha1");
        assert_eq!(event["involvedObject"]["uid"], "1-2-3");
        assert_eq!(event["type"], "Warning");
        let message = event["message"].as_str().unwrap();
        assert!(message.len() <= MAX_MESSAGE && message.ends_with("..."));
    }
}
