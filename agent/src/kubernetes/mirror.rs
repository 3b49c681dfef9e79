//! The state that watches write and the agent reads, and how they fare.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use tokio::sync::watch;

use super::cluster::{Cluster, Event, Generation, Kept, Missing, Notice, Options};
use super::failure::Failure;
use super::kind::Kind;
use super::notices::{Outcome, Sent};
use crate::admin::{Family, Sample};
use crate::policy::Resources;

/// A cluster that watches keep up to date.
///
/// A lock is held while one object is taken in, or a generation made; never
/// across an await.
#[derive(Debug)]
pub struct Mirror {
    state: Mutex<State>,
    changed: watch::Sender<u64>,
    generations: AtomicU64,
    pub(super) sent: Sent,
}

#[derive(Debug)]
struct State {
    cluster: Cluster,
    kinds: [Report; Kind::ALL.len()],
}

/// How the watch of a kind fares.
#[derive(Clone, Debug, Default)]
struct Report {
    phase: Phase,
    /// Why it does not work now, since when, and what was said.
    failing: Option<(Failure, Instant, String)>,
    events: u64,
    lists: u64,
    errors: [u64; Failure::ALL.len()],
    /// Seconds since 1970; 0 if there never was any.
    last_event: u64,
    /// Versions of invalid objects that have been told about.
    told: Vec<(String, String)>,
    /// It has been said that there are too many.
    told_of_many: bool,
}

impl Report {
    fn count(&mut self, failure: Failure) {
        if let Some(errors) = self.errors.get_mut(failure.index()) {
            *errors += 1;
        }
    }

    /// Why it does not work; that there is no such kind is nothing wrong.
    fn failing(&self) -> Option<&(Failure, Instant, String)> {
        let failing = self.failing.as_ref();
        failing.filter(|(why, ..)| (self.phase, *why) != (Phase::Absent, Failure::Absent))
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Starting,
    Listing,
    Watching,
    Absent,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Listing => "listing",
            Self::Watching => "watching",
            Self::Absent => "absent",
        }
    }
}

impl Mirror {
    /// Of which nothing is known yet.
    #[must_use]
    pub fn new(options: Options) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                cluster: Cluster::new(options),
                kinds: Default::default(),
            }),
            changed: watch::Sender::new(0),
            generations: AtomicU64::new(0),
            sent: Sent::default(),
        })
    }

    /// Tells that something has changed, so that there may be another
    /// generation.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// What is known now. Where that has pods that are gone already, there is
    /// another generation to take, although the API says nothing more.
    pub fn generation(&self) -> Generation {
        self.generations.fetch_add(1, Ordering::Relaxed);
        let mut state = self.lock();
        let before = state.cluster.leaving();
        let generation = state.cluster.generation();
        let is_outdated = state.cluster.leaving() < before;
        drop(state);
        if is_outdated {
            self.changed.send_modify(|version| *version += 1);
        }
        generation
    }

    /// What this node is called, if the cluster has no such node.
    #[must_use]
    pub fn unknown_node(&self) -> Option<Arc<str>> {
        self.lock().cluster.unknown_node()
    }

    /// The meshes and policies that are in force, each as JSON.
    #[must_use]
    pub fn said(&self) -> Vec<Arc<str>> {
        self.lock().cluster.said()
    }

    /// What a person should hear about policies; `all` are those in force.
    #[must_use]
    pub fn notices(&self, all: &Resources) -> Vec<Notice> {
        self.lock().cluster.notices(all)
    }

    /// Takes in what a watch has brought.
    pub(super) fn take<K: Kept>(&self, event: Event<K>) {
        let mut state = self.lock();
        let report = state.report(K::KIND);
        // That a list is begun the agent says, not the API.
        if !matches!(event, Event::Init) {
            report.last_event = now();
        }
        match &event {
            Event::Init => report.phase = Phase::Listing,
            Event::InitDone => {
                report.lists += 1;
                report.phase = Phase::Watching;
            }
            Event::InitApply(_) => {}
            Event::Apply(_) | Event::Delete(_) => report.events += 1,
        }
        // What a list has is told when it is whole.
        let tells = !matches!(event, Event::Init | Event::InitApply(_));
        let is_whole = matches!(event, Event::InitDone);
        state.cluster.apply(event);
        state.tell_of_many(K::KIND, is_whole);
        if K::KIND.is_optional() {
            state.tell_refusals(K::KIND);
        }
        drop(state);
        if tells {
            self.changed.send_modify(|version| *version += 1);
        }
    }

    /// Whether a kind should be listed anew although nothing is wrong with its
    /// watch; `is_due` if that has not been done for a while.
    pub(super) fn should_list(&self, kind: Kind, is_due: bool) -> bool {
        self.lock().cluster.should_list(kind, is_due)
    }

    /// Whether a kind should be listed anew before it is watched: the list that
    /// has just come had no room for what has room now.
    pub(super) fn should_list_at_once(&self, kind: Kind) -> bool {
        self.lock().cluster.should_list_at_once(kind)
    }

    /// The API has taken a watch, or said that it is still there.
    pub(super) fn heard(&self, kind: Kind) {
        let mut state = self.lock();
        let report = state.report(kind);
        report.last_event = now();
        if let Some((_, since, _)) = report.failing.take() {
            let seconds = since.elapsed().as_secs();
            let kind = kind.plural();
            tracing::info!("{kind} are watched again, after {seconds} s");
        }
    }

    /// The API has said nothing for this time, and is asked again.
    pub(super) fn silent(&self, kind: Kind, time: Duration) {
        self.lock().report(kind).count(Failure::Silent);
        let kind = kind.plural();
        tracing::info!("the watch of {kind} was silent for {time:?} and is begun again");
    }

    /// A list or a watch has failed.
    pub(super) fn failed<K: Kept>(&self, failure: Failure, said: &str) {
        let kind = K::KIND;
        let mut state = self.lock();
        let is_synced = state.cluster.is_synced(kind);
        let report = state.report(kind);
        report.count(failure);
        let before = report.failing.take();
        let since = before
            .as_ref()
            .map_or_else(Instant::now, |(_, since, _)| *since);
        let is_news = before.as_ref().is_none_or(|(other, ..)| *other != failure);
        report.failing = Some((failure, since, said.to_owned()));
        if is_news {
            complain(kind, failure, said, is_synced);
        }
        match failure {
            // Twice: one server of several may not know yet.
            Failure::Absent if is_synced && is_news => {}
            Failure::Absent => {
                report.phase = Phase::Absent;
                if is_synced {
                    state.cluster.withdraw::<K>();
                } else {
                    state.cluster.refuse(kind, Missing::Absent);
                }
            }
            Failure::Forbidden if !is_synced => state.cluster.refuse(kind, Missing::Forbidden),
            _ => {}
        }
        drop(state);
        self.changed.send_modify(|version| *version += 1);
    }

    /// As `kubernetes` of the status.
    #[must_use]
    pub fn status(&self) -> Value {
        let state = self.lock();
        let kinds = Kind::ALL
            .into_iter()
            .zip(&state.kinds)
            .map(|(kind, report)| {
                let mut shown = json!({
                    "state": report.phase.as_str(),
                    "objects": state.cluster.count(kind),
                });
                let left_out = state.cluster.left_out(kind);
                if left_out > 0 {
                    shown["left_out"] = left_out.into();
                }
                if let Some((failure, since, said)) = &report.failing
                    && (report.phase, *failure) != (Phase::Absent, Failure::Absent)
                {
                    shown["failing"] = json!({
                        "why": failure.as_str(),
                        "seconds": since.elapsed().as_secs(),
                        "said": said,
                    });
                }
                (kind.plural().to_owned(), shown)
            });
        let kinds: serde_json::Map<_, _> = kinds.collect();
        let refused = state.cluster.refusals().take(MOST_SHOWN).map(|refusal| {
            json!({
                "kind": refusal.kind.kind(),
                "name": refusal.name,
                "why": refusal.reason,
                "stays": refusal.has_valid,
            })
        });
        let refused: Vec<_> = refused.collect();
        json!({ "synced": state.cluster.is_settled(), "kinds": kinds, "refused": refused })
    }

    /// As metrics.
    #[must_use]
    pub fn families(&self) -> Vec<Family> {
        let state = self.lock();
        let each = |number: &dyn Fn(Kind, &Report) -> u64| -> Vec<Sample> {
            let all = Kind::ALL.into_iter().zip(&state.kinds);
            all.map(|(kind, report)| Sample {
                labels: vec![("kind", kind.plural())],
                value: number(kind, report),
            })
            .collect()
        };
        let errors = Kind::ALL
            .into_iter()
            .zip(&state.kinds)
            .flat_map(|(kind, report)| {
                let all = Failure::ALL.into_iter().zip(report.errors);
                all.filter(|(_, n)| *n > 0)
                    .map(move |(failure, value)| Sample {
                        labels: vec![("kind", kind.plural()), ("reason", failure.as_str())],
                        value,
                    })
            });
        let sent = Outcome::ALL.map(|outcome| Sample {
            labels: vec![("outcome", outcome.as_str())],
            value: self.sent.get(outcome),
        });
        let one = |value| {
            vec![Sample {
                labels: Vec::new(),
                value,
            }]
        };
        let refused = |kind: Kind, _: &Report| {
            let all = state.cluster.refusals();
            all.filter(|refusal| refusal.kind == kind).count() as u64
        };
        vec![
            Family::gauge(
                "kubernetes_synced",
                "Whether a complete list of the kind has come.",
                each(&|kind, _| u64::from(state.cluster.is_synced(kind))),
            ),
            Family::gauge(
                "kubernetes_failing",
                "Whether the watch of the kind does not work now; what was known stays.",
                each(&|_, report| u64::from(report.failing().is_some())),
            ),
            Family::gauge(
                "kubernetes_objects",
                "Objects of the kind that are known.",
                each(&|kind, _| state.cluster.count(kind) as u64),
            ),
            Family::gauge(
                "kubernetes_left_out",
                "Objects of the kind that are not kept, for there are too many.",
                each(&|kind, _| state.cluster.left_out(kind) as u64),
            ),
            Family::gauge(
                "kubernetes_refused",
                "Objects of the kind that are invalid, and not in force.",
                each(&refused),
            ),
            Family::gauge(
                "kubernetes_last_event_timestamp_seconds",
                "When the API last said something of the kind, in seconds since 1970; 0 if never.",
                each(&|_, report| report.last_event),
            ),
            Family::counter(
                "kubernetes_events_total",
                "Changes of objects of the kind.",
                each(&|_, report| report.events),
            ),
            Family::counter(
                "kubernetes_lists_total",
                "Complete lists of the kind.",
                each(&|_, report| report.lists),
            ),
            Family::counter(
                "kubernetes_errors_total",
                "Lists and watches of the kind that failed.",
                errors.collect(),
            ),
            Family::counter(
                "kubernetes_generations_total",
                "How often the agent has asked for what is known now.",
                one(self.generations.load(Ordering::Relaxed)),
            ),
            Family::counter(
                "kubernetes_notices_total",
                "Events about policies that lead nowhere.",
                sent.into(),
            ),
        ]
    }

    /// Changes what is known.
    #[cfg(test)]
    pub(crate) fn change(&self, change: impl FnOnce(&mut Cluster)) {
        change(&mut self.lock().cluster);
        self.changed.send_modify(|version| *version += 1);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Invalid objects that the status shows.
const MOST_SHOWN: usize = 20;

impl State {
    #[expect(clippy::indexing_slicing, reason = "there is one for each kind")]
    fn report(&mut self, kind: Kind) -> &mut Report {
        &mut self.kinds[kind.index()]
    }

    /// Logs once that there are more objects of a kind than are kept, and that
    /// there are no more.
    fn tell_of_many(&mut self, kind: Kind, is_whole: bool) {
        let (left_out, most) = (self.cluster.left_out(kind), self.cluster.most());
        let is_over = !self.cluster.should_list_at_once(kind);
        let report = self.report(kind);
        // Before a list is whole nobody knows what of the old is gone.
        let is_over = is_over && report.phase == Phase::Watching;
        let (plural, told) = (kind.plural(), &mut report.told_of_many);
        if left_out > 0 && is_over && !*told {
            *told = true;
            tracing::error!(
                "the cluster has more than {most} {plural}, and no more are kept, but for what \
                 the pods of this node need: the others have no names in spans, and no policies; \
                 `nodespan status` counts them, `[kubernetes] maxObjects` allows more"
            );
        } else if left_out == 0 && is_whole && *told {
            *told = false;
            tracing::info!("all {plural} of the cluster are known again");
        }
    }

    /// Logs each invalid object once.
    fn tell_refusals(&mut self, kind: Kind) {
        let refused = self.cluster.refusals();
        let refused = refused.filter(|refusal| refusal.kind == kind);
        let told = self.kinds.get(kind.index()).map(|report| &*report.told);
        let told = told.unwrap_or_default();
        let mut now = Vec::new();
        for refusal in refused {
            let known = (refusal.name.to_owned(), refusal.version.to_owned());
            if !told.contains(&known) {
                let stays = match refusal.has_valid {
                    true => "what it said before stays in force",
                    false => "it is not in force",
                };
                let (kind, name, reason) = (kind.kind(), refusal.name, refusal.reason);
                tracing::error!("{kind} \"{name}\" of the API is invalid, {stays}: {reason}");
            }
            now.push(known);
        }
        self.report(kind).told = now;
    }
}

fn complain(kind: Kind, failure: Failure, said: &str, is_synced: bool) {
    let plural = kind.plural();
    let known = match is_synced {
        true => "what was known stays",
        false => "nothing is known of them",
    };
    match failure {
        Failure::Absent if kind.is_optional() => tracing::info!(
            "the API has no {plural} of kuma.io; it is asked again now and then \
             (`nodespan install crds` has them)"
        ),
        Failure::Forbidden => {
            let nothing = match kind.is_optional() && !is_synced {
                true => ", so nothing is traced but what policies of files select",
                false => "",
            };
            tracing::error!(
                "the API does not let {plural} be listed and watched, {known}{nothing}: {said}; \
                 the ClusterRole of `nodespan install agent` allows it"
            );
        }
        Failure::Expired => {
            tracing::info!("{plural} are listed anew: {said}");
        }
        _ => tracing::error!("{plural} cannot be watched, {known}: {said}"),
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
