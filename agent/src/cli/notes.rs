//! What became of each workload, noted once.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use rustc_hash::FxBuildHasher;

use super::workloads::Workloads;
use crate::assemble::Began;
use crate::decide::{Decider, Plan, Standing};
use crate::identify::{Identify, Known, Origin, WorkloadKey};
use crate::ledger::{self, Reason as _};
use crate::units::{MonoNanos, OwnerId};

/// Workloads whose outcomes are remembered at most.
const MAX: usize = 65_536;

/// The outcomes that are in [`Workloads`] already.
#[derive(Debug)]
pub(super) struct Notes {
    workloads: Arc<Workloads>,
    noted: HashMap<WorkloadKey, Noted, FxBuildHasher>,
}

#[derive(Debug)]
struct Noted {
    /// A bit for each outcome.
    outcomes: u32,
    owner: OwnerId,
    standing: Standing,
    /// Of a pod: namespace and name.
    pod: Option<String>,
}

impl Notes {
    pub(super) fn new(workloads: Arc<Workloads>) -> Self {
        Self {
            workloads,
            noted: HashMap::default(),
        }
    }

    /// Notes an outcome of a workload that was not noted yet.
    #[inline]
    pub(super) fn note(
        &mut self,
        decider: &mut Decider,
        known: &Known,
        began: &Began,
        refused: Option<ledger::NotSelected>,
    ) {
        let bit = 1 << refused.map_or(0, |reason| 1 + reason.index());
        match self.noted.get_mut(&known.key) {
            Some(noted) if noted.outcomes & bit != 0 => {}
            _ => self.note_new(decider, known, began, (bit, refused)),
        }
    }

    #[cold]
    fn note_new(
        &mut self,
        decider: &mut Decider,
        known: &Known,
        began: &Began,
        (bit, refused): (u32, Option<ledger::NotSelected>),
    ) {
        if self.noted.len() >= MAX {
            self.noted.clear();
        }
        let standing = decider.standing(known, began.start);
        self.workloads
            .note(decider.plan(), known, &standing, refused);
        let noted = self.noted.entry(known.key).or_insert_with(|| Noted {
            outcomes: 0,
            owner: began.owner,
            standing,
            pod: Workloads::pod(&known.origin),
        });
        noted.outcomes |= bit;
    }

    /// Another plan is in force. Under other rules all is noted anew; if the
    /// workloads alone are others, as in a cluster every second, only what
    /// stands otherwise, and pods that are gone are forgotten.
    pub(super) fn update(
        &mut self,
        before: &Plan,
        decider: &mut Decider,
        identify: &impl Identify,
    ) {
        if !before.has_rules_of(decider.plan()) {
            self.noted.clear();
            self.workloads.clear();
            return;
        }
        let Self { workloads, noted } = self;
        let directory = decider.plan().directory.clone();
        let mut changed = HashSet::new();
        noted.retain(|_, noted| {
            let known = identify.recall(noted.owner);
            let is_gone = match known.map(|known| &known.origin) {
                Some(Origin::Pod { pod, .. }) => {
                    let all = directory.as_ref();
                    all.is_some_and(|all| all.pod(&pod.uid).is_none())
                }
                Some(_) => false,
                None => true,
            };
            if is_gone && let Some(pod) = &noted.pod {
                workloads.gone(&noted.standing.service, pod);
            }
            let Some(known) = known.filter(|_| !is_gone) else {
                return false;
            };
            let same = decider
                .standing(known, MonoNanos::default())
                .is(&noted.standing);
            if !same {
                changed.insert(Arc::clone(&noted.standing.service));
            }
            same
        });
        // Others of that service have to say again what they are.
        for service in &changed {
            workloads.forget(service);
        }
        if !changed.is_empty() {
            noted.retain(|_, noted| !changed.contains(&noted.standing.service));
        }
    }
}
