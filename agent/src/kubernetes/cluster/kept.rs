//! How an object of each kind is kept, and forgotten.

use std::sync::Arc;

use super::{Cluster, Round, Space};
use crate::kubernetes::facts::{
    self, NamespaceFacts, NodeFacts, PodFacts, ServiceFacts, SliceFacts,
};
use crate::kubernetes::kind::Kind;
use crate::kubernetes::objects::{self, Watched};

/// A kind that a cluster keeps.
pub trait Kept: Watched {
    /// Whether the cluster has one of its name, or of its UID if that is what
    /// it is known by.
    fn is_known(&self, cluster: &Cluster) -> bool;
    /// Whether it is of this node, or of a namespace that has pods of it.
    fn is_near(&self, cluster: &Cluster) -> bool;
    /// Adds it, or what has changed of it.
    fn keep(self, cluster: &mut Cluster, round: Round);
    /// It is gone.
    fn forget(self, cluster: &mut Cluster);
    /// Whatever has not come in this round is gone.
    fn forget_others(cluster: &mut Cluster, round: Round);
}

impl Kept for objects::Pod {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let uid = self.metadata.uid.as_deref();
        uid.is_some_and(|uid| cluster.pods.contains_key(uid))
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        cluster.is_here(self.spec.node_name.as_deref())
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        let node = cluster.options.node.clone();
        if let Some(facts) = PodFacts::new(&self, node.as_deref(), &mut cluster.intern) {
            cluster.keep_pod(facts, round);
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let Some(uid) = self.metadata.uid {
            cluster.let_go(&uid);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let gone = cluster.pods.iter().filter(|(_, pod)| pod.round != round);
        let gone: Vec<_> = gone.map(|(uid, _)| Arc::clone(uid)).collect();
        for uid in gone {
            cluster.let_go(&uid);
        }
    }
}

impl Kept for objects::Service {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(|space| space.services().contains_key(name))
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(Space::is_near)
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        if let Some(facts) = ServiceFacts::new(&self, &mut cluster.intern) {
            cluster.keep_service(facts, round);
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let (Some(namespace), Some(name)) = (self.metadata.namespace, self.metadata.name) {
            cluster.forget_service(&namespace, &name);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let mut gone = Vec::new();
        for (namespace, space) in &cluster.spaces {
            let others = space.services().iter().filter(|(_, (at, _))| *at != round);
            gone.extend(others.map(|(name, _)| (Arc::clone(namespace), Arc::clone(name))));
        }
        for (namespace, name) in gone {
            cluster.forget_service(&namespace, &name);
        }
    }
}

impl Kept for objects::EndpointSlice {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let Some(service) = facts::service_of(self) else {
            // There is nothing to keep.
            return true;
        };
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(|space| space.has_slice(service, name))
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        let space = cluster.space_of(&self.metadata);
        space.is_some_and(Space::is_near)
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        match SliceFacts::new(&self, &mut cluster.intern) {
            Some(mut facts) => {
                if !cluster.admit_addresses(&facts) {
                    cluster.leave_out(&self, None, round);
                    facts.forget_addresses();
                }
                cluster.keep_slice(facts, round);
            }
            // It is no longer of a Service.
            None => self.forget(cluster),
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let (Some(namespace), Some(name)) = (self.metadata.namespace, self.metadata.name) {
            cluster.forget_slice(&namespace, &name);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let mut gone = Vec::new();
        for (namespace, space) in &cluster.spaces {
            gone.extend(
                space
                    .slices_not_of(round)
                    .map(|name| (Arc::clone(namespace), name)),
            );
        }
        for (namespace, name) in gone {
            cluster.forget_slice(&namespace, &name);
        }
    }
}

impl Kept for objects::Namespace {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        let space = cluster.spaces.get(name);
        space.is_some_and(|space| space.facts.is_some())
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        cluster.spaces.get(name).is_some_and(Space::is_near)
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        let facts = NamespaceFacts::new(&self, &mut cluster.intern);
        if let Some(name) = self.metadata.name {
            let name = cluster.intern.text(&name);
            cluster.set_namespace(&name, Some((round, facts)));
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let Some(name) = self.metadata.name {
            cluster.set_namespace(&Arc::from(name), None);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let other = |space: &Space| space.facts.as_ref().is_some_and(|(at, _)| *at != round);
        let gone = cluster.spaces.iter().filter(|(_, space)| other(space));
        let gone: Vec<_> = gone.map(|(name, _)| Arc::clone(name)).collect();
        for name in gone {
            cluster.set_namespace(&name, None);
        }
    }
}

impl Kept for objects::Node {
    fn is_known(&self, cluster: &Cluster) -> bool {
        let name = self.metadata.name.as_deref().unwrap_or_default();
        cluster.nodes.contains_key(name)
    }

    fn is_near(&self, cluster: &Cluster) -> bool {
        cluster.is_here(self.metadata.name.as_deref())
    }

    fn keep(self, cluster: &mut Cluster, round: Round) {
        if let Some(facts) = NodeFacts::new(&self, &mut cluster.intern) {
            cluster.keep_node(facts, round);
        }
    }

    fn forget(self, cluster: &mut Cluster) {
        if let Some(name) = self.metadata.name {
            cluster.forget_node(&name);
        }
    }

    fn forget_others(cluster: &mut Cluster, round: Round) {
        let gone = cluster.nodes.iter().filter(|(_, (at, _))| *at != round);
        let gone: Vec<_> = gone.map(|(name, _)| Arc::clone(name)).collect();
        for name in gone {
            cluster.forget_node(&name);
        }
    }
}

macro_rules! policy {
    ($($kind:ident)*) => {$(
        impl Kept for objects::$kind {
            fn is_known(&self, cluster: &Cluster) -> bool {
                let name = self.metadata.name.as_deref().unwrap_or_default();
                cluster.policies.has(Kind::$kind, name)
            }

            fn is_near(&self, _: &Cluster) -> bool {
                false
            }

            fn keep(self, cluster: &mut Cluster, round: Round) {
                cluster.policies.keep(Kind::$kind, &self.metadata, &self.object, round);
            }

            fn forget(self, cluster: &mut Cluster) {
                if let Some(name) = self.metadata.name {
                    cluster.policies.forget(Kind::$kind, &name);
                }
            }

            fn forget_others(cluster: &mut Cluster, round: Round) {
                cluster.policies.forget_others(Kind::$kind, round);
            }
        }
    )*};
}

policy! { Mesh TrafficTrace }
