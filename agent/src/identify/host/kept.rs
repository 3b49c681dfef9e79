//! What is kept of a workload: its name, and the address it has shown.

use std::net::IpAddr;
use std::sync::Arc;

use super::Identifier;
use crate::identify::{Known, Origin, PodTags, Workload, WorkloadKey, WorkloadKind};

/// A workload, and what it is called where no configuration names it.
#[derive(Debug)]
pub(super) struct Named {
    pub(super) known: Known,
    pub(super) own: (Arc<str>, WorkloadKind),
}

impl Identifier {
    /// Remembers a workload. One that is known already stays as it is, so that
    /// its spans go on sharing it.
    pub(super) fn keep(&mut self, key: WorkloadKey, mut origin: Origin) {
        // A container that was started again and again goes on being called
        // what it was, for its last spans.
        if let Origin::Pod {
            pod,
            container: container @ None,
            ..
        } = &mut origin
            && let Some(named) = self.known.get(&key)
            && let Origin::Pod {
                pod: before,
                container: Some(name),
                ..
            } = &named.known.origin
            && before.uid == pod.uid
        {
            *container = Some(Arc::clone(name));
        }
        if self
            .known
            .get(&key)
            .is_some_and(|named| named.known.origin == origin)
        {
            return;
        }
        let (name, kind) = match &origin {
            Origin::Container { id, name } => {
                let short = id.get(..12).unwrap_or(id);
                let name = name.as_deref().unwrap_or(short);
                (name.to_owned(), WorkloadKind::Container(Arc::clone(id)))
            }
            Origin::Unit(unit) => {
                let name = unit.strip_suffix(".service").unwrap_or(unit);
                (name.to_owned(), WorkloadKind::Unit(Arc::clone(unit)))
            }
            Origin::Command(command) => (command.to_string(), WorkloadKind::Command),
            Origin::Pod { pod, .. } => (pod.service().to_string(), WorkloadKind::Pod),
            Origin::Address(_) | Origin::Gone => return,
        };
        self.insert(key, &name, kind, origin);
    }

    pub(super) fn insert(
        &mut self,
        key: WorkloadKey,
        name: &str,
        kind: WorkloadKind,
        origin: Origin,
    ) {
        let own = (Arc::from(name), kind);
        let mut address = None;
        let pod = match &origin {
            Origin::Pod { pod, id, container } => {
                // Until the cluster knows it, what its connections say.
                let before = || self.known.get(&key)?.known.workload.address;
                address = pod.ips.first().copied().or_else(before);
                Some(PodTags::of(pod, id, container.as_ref()))
            }
            _ => None,
        };
        let naming = &self.options.naming;
        let workload = naming.workload(own.clone(), &self.node, address, pod);
        // What has not changed goes on being shared.
        let same = self.known.get(&key).map(|named| &named.known.workload);
        let workload = same
            .filter(|same| **same == workload)
            .cloned()
            .unwrap_or(workload);
        let known = Known {
            key,
            workload,
            origin,
        };
        self.known.insert(key, Named { known, own });
    }
}

/// Gives a workload its address: the first that it is seen with, and the first
/// that is no loopback address after that. It must stay the same on all spans
/// (ARCHITECTURE.md, Identity, rule 5), so it changes once at most.
pub(super) fn settle_address(known: &mut Known, local: Option<IpAddr>) {
    let better = match (known.workload.address, local) {
        (None, Some(local)) => !local.is_unspecified(),
        (Some(old), Some(local)) => {
            old.is_loopback() && !local.is_loopback() && !local.is_unspecified()
        }
        (_, None) => false,
    };
    if better {
        let mut workload = Workload::clone(&known.workload);
        workload.address = local;
        known.workload = Arc::new(workload);
    }
}
