//! Whose an address is.
//!
//! Almost always one pod or node has it. For a moment two may: an address is
//! given to a new pod before the API says that the old one is over. Then the
//! younger pod has it. Of such an address everybody is asked; all others cost
//! a look.

use std::net::IpAddr;
use std::sync::Arc;

use super::{Cluster, Round};
use crate::identify::{Peer, Pod, PodUid};
use crate::kubernetes::facts::{NodeFacts, Seconds};

impl Cluster {
    /// A pod has this address, or has changed and has it still.
    pub(super) fn claim(&mut self, ip: IpAddr, pod: &Arc<Pod>) {
        let is_free = match self.directory.peer(ip) {
            None => true,
            Some(Peer::Pod(holder)) => holder.uid == pod.uid,
            Some(Peer::Node(_)) => false,
        };
        if is_free && !self.contested.contains(&ip) {
            let peer = Peer::Pod(Arc::clone(pod));
            Arc::make_mut(&mut self.directory).set_peer(ip, Some(peer));
        } else {
            self.settle(ip);
        }
    }

    /// This pod has this address no longer.
    pub(super) fn release(&mut self, ip: IpAddr, of: &PodUid) {
        if self.contested.contains(&ip) {
            self.settle(ip);
        } else if matches!(self.directory.peer(ip), Some(Peer::Pod(pod)) if pod.uid == *of) {
            Arc::make_mut(&mut self.directory).set_peer(ip, None);
        }
    }

    pub(super) fn keep_node(&mut self, facts: NodeFacts, round: Round) {
        let name = Arc::clone(&facts.name);
        let new = facts.ips.clone();
        let old = self.nodes.insert(Arc::clone(&name), (round, facts));
        let old = old.map(|(_, facts)| facts.ips).unwrap_or_default();
        for ip in old.iter().filter(|ip| !new.contains(ip)) {
            self.settle(*ip);
        }
        for ip in new.iter().filter(|ip| !old.contains(ip)) {
            if self.directory.peer(*ip).is_none() && !self.contested.contains(ip) {
                let peer = Peer::Node(Arc::clone(&name));
                Arc::make_mut(&mut self.directory).set_peer(*ip, Some(peer));
            } else {
                self.settle(*ip);
            }
        }
    }

    pub(super) fn forget_node(&mut self, name: &str) {
        let old = self.nodes.remove(name);
        for ip in old.into_iter().flat_map(|(_, facts)| facts.ips) {
            self.settle(ip);
        }
    }

    /// Looks for all who have this address.
    fn settle(&mut self, ip: IpAddr) {
        let mut claims = 0;
        let mut best: Option<(Seconds, &Arc<str>, &Arc<Pod>)> = None;
        for (uid, entry) in &self.pods {
            let facts = &entry.facts;
            if facts.host_network || !facts.ips.contains(&ip) {
                continue;
            }
            // One that is not derived yet comes here when it is.
            let cgroup = PodUid(Arc::clone(&facts.cgroup));
            if let Some(pod) = self.directory.pod(&cgroup) {
                claims += 1;
                let is_older =
                    |best: (Seconds, &Arc<str>, _)| (best.0, best.1) < (facts.created, uid);
                if best.is_none_or(is_older) {
                    best = Some((facts.created, uid, pod));
                }
            }
        }
        let nodes = self
            .nodes
            .values()
            .filter(|(_, node)| node.ips.contains(&ip));
        let mut node = None;
        for (_, facts) in nodes {
            claims += 1;
            let name = &facts.name;
            node = Some(node.map_or(name, |other: &Arc<str>| other.max(name)));
        }
        let peer = match (best, node) {
            (Some((_, _, pod)), _) => Some(Peer::Pod(Arc::clone(pod))),
            (None, node) => node.map(|name| Peer::Node(Arc::clone(name))),
        };
        Arc::make_mut(&mut self.directory).set_peer(ip, peer);
        if claims > 1 {
            self.contested.insert(ip);
        } else {
            self.contested.remove(&ip);
        }
    }
}
