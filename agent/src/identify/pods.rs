//! The pods that this node's containers belong to.

use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::directory::{Directory, Pod, PodUid};
use super::kubepods::Place;
use crate::units::MonoNanos;

/// How long a pod is known when the cluster knows it no more: its last
/// requests are on their way.
const REMEMBERED: u64 = 60_000_000_000;
/// Pods so remembered at most; beyond it the first to go goes.
const MAX_ENDED: usize = 4096;

/// What is known of a cluster's pods, and who waits to be found among them.
#[derive(Debug)]
pub(super) struct Pods {
    directory: Arc<Directory>,
    /// Pods of this node that the cluster knows no more, and until when they
    /// are remembered.
    ended: HashMap<PodUid, (Arc<Pod>, MonoNanos)>,
    /// Owners whose pods are not known yet.
    awaited: HashMap<u64, Vec<Place>, FxBuildHasher>,
}

/// A container of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) pod: Arc<Pod>,
    /// The runtime's id.
    pub(super) container: Arc<str>,
}

impl Pods {
    pub(super) fn new(directory: Arc<Directory>) -> Self {
        Self {
            directory,
            ended: HashMap::new(),
            awaited: HashMap::default(),
        }
    }

    /// Takes what the cluster says now. Whose pods it knows no more are
    /// remembered for a while.
    pub(super) fn learn(&mut self, directory: &Arc<Directory>, now: MonoNanos) {
        let before = std::mem::replace(&mut self.directory, Arc::clone(directory));
        let until = MonoNanos(now.0.saturating_add(REMEMBERED));
        for pod in before.own_pods() {
            if directory.pod(&pod.uid).is_none() {
                self.ended
                    .entry(pod.uid.clone())
                    .or_insert_with(|| (Arc::clone(pod), until));
            }
        }
        self.ended
            .retain(|uid, (_, until)| *until > now && directory.pod(uid).is_none());
        while self.ended.len() > MAX_ENDED
            && let Some(first) = self.ended.iter().min_by_key(|(_, (_, until))| *until)
        {
            let uid = first.0.clone();
            self.ended.remove(&uid);
        }
    }

    /// The container at the innermost of these places whose pod is known.
    pub(super) fn find(&self, places: &[Place]) -> Option<Found> {
        places.iter().find_map(|place| {
            Some(Found {
                pod: Arc::clone(self.pod(&place.pod)?),
                container: Arc::clone(&place.container),
            })
        })
    }

    /// A container whose path does not name its pod.
    pub(super) fn of_container(&self, id: &str) -> Option<Found> {
        let ended = || {
            let mut pods = self.ended.values().map(|(pod, _)| pod);
            pods.find(|pod| pod.told_of(id).is_some())
        };
        let pod = self.directory.pod_of(id).or_else(ended)?;
        Some(Found {
            pod: Arc::clone(pod),
            container: id.into(),
        })
    }

    /// The pod of this UID, as the cluster knows it or knew it last.
    pub(super) fn pod(&self, uid: &PodUid) -> Option<&Arc<Pod>> {
        let ended = || self.ended.get(uid).map(|(pod, _)| pod);
        self.directory.pod(uid).or_else(ended)
    }

    /// This owner waits until one of these pods is known.
    pub(super) fn wait(&mut self, owner: u64, places: Vec<Place>) {
        self.awaited.insert(owner, places);
    }

    /// The id belongs to somebody else, or to nobody.
    pub(super) fn forget(&mut self, owner: u64) {
        self.awaited.remove(&owner);
    }

    /// Forgets all who wait but these.
    pub(super) fn keep(&mut self, still: impl Fn(u64) -> bool) {
        self.awaited.retain(|owner, _| still(*owner));
    }

    /// Those who need wait no longer.
    pub(super) fn arrived(&mut self) -> Vec<(u64, Found)> {
        let found: Vec<_> = self
            .awaited
            .iter()
            .filter_map(|(owner, places)| Some((*owner, self.find(places)?)))
            .collect();
        for (owner, _) in &found {
            self.awaited.remove(owner);
        }
        found
    }

    /// How many are remembered, and how many wait.
    #[cfg(test)]
    pub(super) fn sizes(&self) -> [usize; 2] {
        [self.ended.len(), self.awaited.len()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A pod with one container answers for any id below its own cgroup, and
    /// for no other.
    #[test]
    fn nobody_elses_container_is_that_of_a_pod_that_went() {
        let pod = Pod {
            uid: PodUid("uid".into()),
            name: "web-1".into(),
            namespace: "shop".into(),
            node: None,
            own: true,
            ips: Vec::new(),
            host_network: false,
            containers: vec![("told".into(), "app".into())],
            sole: Some("app".into()),
            dataplane: None,
        };
        let mut there = Directory::default();
        there.set_pod(Arc::new(pod));
        let mut pods = Pods::new(Arc::new(there));
        pods.learn(&Arc::new(Directory::default()), MonoNanos(0));
        assert!(pods.of_container("told").is_some());
        assert!(pods.of_container("another").is_none());
        let gone = pods.pod(&PodUid("uid".into())).unwrap();
        assert!(gone.container("another").is_some());
    }
}
