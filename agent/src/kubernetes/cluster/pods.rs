//! Pods, and what Kuma would make of them.

use std::sync::Arc;

use super::{Cluster, Round};
use crate::identify::{Pod, PodUid};
use crate::kubernetes::derive;
use crate::kubernetes::facts::PodFacts;

/// A pod that the API has.
#[derive(Debug)]
pub(super) struct PodEntry {
    pub(super) round: Round,
    pub(super) facts: PodFacts,
}

impl Cluster {
    pub(super) fn keep_pod(&mut self, facts: PodFacts, round: Round) {
        let uid = Arc::clone(&facts.uid);
        self.leaving.remove(&uid);
        match self.pods.get_mut(&uid) {
            Some(known) if known.facts == facts => {
                known.round = round;
                return;
            }
            Some(known) => {
                // Neither changes in a pod's life; one that says so is another.
                let moved =
                    known.facts.cgroup != facts.cgroup || known.facts.namespace != facts.namespace;
                if moved {
                    self.forget_pod(&uid);
                }
            }
            None => {}
        }
        let is_here = |facts: &PodFacts| self.is_here(facts.node.as_deref());
        let known = self.pods.get(&uid);
        let before = known.is_some_and(|known| is_here(&known.facts));
        let now = is_here(&facts);
        let namespace = Arc::clone(&facts.namespace);
        let space = self.space(&namespace);
        space.pods.insert(Arc::clone(&uid));
        space.own = space.own + usize::from(now) - usize::from(before);
        if now && !before && space.own == 1 {
            self.draw_near(&namespace);
        }
        self.pods
            .insert(Arc::clone(&uid), PodEntry { round, facts });
        self.dirty.insert(uid);
    }

    /// It is gone from the API. One of this node's that no generation has had
    /// is in the next one, without addresses: its requests may be under way,
    /// and who it was must be known for as long as of any pod that has gone.
    pub(super) fn let_go(&mut self, uid: &str) {
        let node = self.options.node.as_ref();
        let Some(PodEntry { facts, .. }) = self.pods.get_mut(uid) else {
            return;
        };
        let is_here = node.is_some() && facts.node.as_ref() == node;
        let known = PodUid(Arc::clone(&facts.cgroup));
        if is_here && self.directory.pod(&known).is_none() {
            facts.ips = Box::default();
            let uid = Arc::clone(&facts.uid);
            self.leaving.insert(uid);
        } else {
            self.forget_pod(uid);
        }
    }

    pub(super) fn forget_pod(&mut self, uid: &str) {
        let Some(PodEntry { facts, .. }) = self.pods.remove(uid) else {
            return;
        };
        self.dirty.remove(uid);
        let was_own = self.is_here(facts.node.as_deref());
        if let Some(space) = self.spaces.get_mut(&facts.namespace) {
            space.pods.remove(uid);
            space.own -= usize::from(was_own);
        }
        self.drop_space(&facts.namespace);
        // A static pod has its hash for good, and another mirror in the API when
        // it is deleted there.
        if facts.cgroup != facts.uid {
            let others = self.pods.iter();
            let others = others.filter(|(_, other)| other.facts.cgroup == facts.cgroup);
            let others: Vec<_> = others.map(|(uid, _)| Arc::clone(uid)).collect();
            self.dirty.extend(others);
        }
        let uid = PodUid(facts.cgroup);
        // One that was never derived is not in there, which need not be copied.
        if self.directory.pod(&uid).is_none() {
            return;
        }
        let removed = Arc::make_mut(&mut self.directory).remove_pod(&uid);
        if let Some(pod) = removed.filter(|pod| !pod.host_network) {
            for ip in &pod.ips {
                self.release(*ip, &uid);
            }
        }
    }

    /// Derives what has changed.
    pub(super) fn derive(&mut self) {
        let mut dirty: Vec<_> = std::mem::take(&mut self.dirty).into_iter().collect();
        // Texts are the same in whatever order; this makes work repeatable.
        dirty.sort_unstable();
        for uid in dirty {
            self.derive_pod(&uid);
        }
    }

    fn derive_pod(&mut self, uid: &str) {
        let Some(PodEntry { facts, .. }) = self.pods.get(uid) else {
            return;
        };
        let Some(space) = self.spaces.get(&facts.namespace) else {
            return;
        };
        let services = space.services_of(facts);
        let zone = self.options.zone.as_deref();
        let namespace = space.namespace();
        let dataplane = derive::dataplane(facts, &services, namespace, zone, &mut self.intern);
        let uid = PodUid(Arc::clone(&facts.cgroup));
        let known = self.directory.pod(&uid);
        // What has not changed stays the same in memory, too.
        let dataplane = dataplane.map(|new| match known.and_then(|pod| pod.dataplane.as_ref()) {
            Some(old) if **old == new => Arc::clone(old),
            _ => Arc::new(new),
        });
        let pod = Pod {
            uid,
            name: Arc::clone(&facts.name),
            namespace: Arc::clone(&facts.namespace),
            node: facts.node.clone(),
            own: self.is_here(facts.node.as_deref()),
            ips: facts.ips.to_vec(),
            host_network: facts.host_network,
            containers: facts.containers.to_vec(),
            sole: facts.sole.clone(),
            dataplane,
        };
        if known.is_some_and(|known| **known == pod) {
            return;
        }
        let old = known.map(Arc::clone);
        let pod = Arc::new(pod);
        Arc::make_mut(&mut self.directory).set_pod(Arc::clone(&pod));
        let of = |pod: &Arc<Pod>| match pod.host_network {
            true => Vec::new(),
            false => pod.ips.clone(),
        };
        let new = of(&pod);
        for ip in old.iter().flat_map(of).filter(|ip| !new.contains(ip)) {
            self.release(ip, &pod.uid);
        }
        for ip in new {
            self.claim(ip, &pod);
        }
    }
}
