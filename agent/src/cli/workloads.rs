//! What is known of the workloads of this node, for `status` and
//! `explain --agent`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::decide::{Destinations, Plan, Standing};
use crate::identify::{Known, Origin};
use crate::ledger::{NotSelected, Reason};
use crate::policy::Explanation;

/// Workloads that are told about at most.
const MAX: usize = 1000;
/// Pods of one workload that are named at most.
const MAX_PODS: usize = 16;

/// The workloads that were seen under the plan in force, by service.
#[derive(Debug, Default)]
pub struct Workloads {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    all: BTreeMap<String, Seen>,
    changed: bool,
}

/// A workload as the agent sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Seen {
    /// What it is on its host: a container, a unit, a command, an address.
    pub origin: String,
    /// Some of its exchanges are traced, if their sampler agrees.
    pub traced: bool,
    /// Why others are not: the ledger's names.
    pub not_traced: Vec<String>,
    /// Mesh and name of the Dataplane that names it; none without one.
    pub dataplane: Option<(String, String)>,
    /// The account of its backend in the ledger.
    pub backend: Option<String>,
    /// What policies say; none without a Dataplane.
    pub explanation: Option<Explanation>,
    /// The pods of this node that it is made of, some of them if they are many:
    /// namespace, name and container.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub pods: BTreeSet<String>,
}

impl Workloads {
    /// Notes an outcome for a workload: traced, or the reason why not.
    pub fn note(
        &self,
        plan: &Plan,
        known: &Known,
        standing: &Standing,
        refused: Option<NotSelected>,
    ) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = state.all.len() >= MAX;
        let service = standing.service.to_string();
        if full && !state.all.contains_key(&service) {
            return;
        }
        let seen = state
            .all
            .entry(service)
            .or_insert_with(|| Seen::new(plan, known, standing));
        if let Some(pod) = Self::pod(&known.origin)
            && seen.pods.len() < MAX_PODS
        {
            seen.pods.insert(pod);
        }
        match refused {
            None => seen.traced = true,
            Some(reason) if seen.not_traced.iter().any(|known| known == reason.name()) => {}
            Some(reason) => seen.not_traced.push(reason.name().to_owned()),
        }
        state.changed = true;
    }

    /// What a container of a pod is called among [`Seen::pods`].
    pub(super) fn pod(origin: &Origin) -> Option<String> {
        let Origin::Pod { pod, id, container } = origin else {
            return None;
        };
        let container = match container {
            Some(name) => name,
            None => id.get(..12).unwrap_or(id),
        };
        Some(format!("{}/{}/{container}", pod.namespace, pod.name))
    }

    /// A pod is gone; a workload that had no other is forgotten.
    pub(super) fn gone(&self, service: &str, pod: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(seen) = state.all.get_mut(service)
            && seen.pods.remove(pod)
        {
            if seen.pods.is_empty() {
                state.all.remove(service);
            }
            state.changed = true;
        }
    }

    /// Something else is true of a workload now.
    pub(super) fn forget(&self, service: &str) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.changed |= state.all.remove(service).is_some();
    }

    /// Another plan is in force.
    pub fn clear(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.all.clear();
        state.changed = true;
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.state.lock().unwrap().all.len()
    }

    /// As `workloads` of the status, if that has changed.
    pub(super) fn shown(&self) -> Option<Value> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if !std::mem::take(&mut state.changed) {
            return None;
        }
        serde_json::to_value(&state.all).ok()
    }
}

impl Seen {
    fn new(plan: &Plan, known: &Known, standing: &Standing) -> Self {
        let selected = standing.selected.as_ref();
        let explanation = match (&plan.destinations, selected) {
            (Destinations::Policies(policies), Some(selected)) => {
                let dataplane = &selected.dataplane;
                let engine = policies.engine();
                Some(engine.explain(&dataplane.mesh, &dataplane.inbounds))
            }
            _ => None,
        };
        let backend = selected.and_then(|selected| selected.decision.backend.as_ref());
        Self {
            origin: match &known.origin {
                Origin::Container { id, name } => {
                    let name = name.as_ref().unwrap_or(id);
                    format!("container {name}")
                }
                Origin::Pod { .. } => {
                    let pod = Workloads::pod(&known.origin);
                    format!("pod {}", pod.unwrap_or_default())
                }
                Origin::Unit(unit) => format!("unit {unit}"),
                Origin::Command(command) => format!("command {command}"),
                Origin::Address(address) => format!("address {address}"),
                Origin::Gone => "a process that is gone".to_owned(),
            },
            traced: false,
            not_traced: Vec::new(),
            dataplane: selected.map(|selected| {
                let dataplane = &selected.dataplane;
                (dataplane.mesh.to_string(), dataplane.name.to_string())
            }),
            backend: backend.map(|backend| format!("{}/{}", backend.mesh, backend.name)),
            explanation,
            pods: BTreeSet::new(),
        }
    }
}
