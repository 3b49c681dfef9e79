//! Which Dataplane a workload of this host is.

use std::net::SocketAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::plan::{Policies, Selected};
use crate::identify::{Known, Origin, Workload, WorkloadKey};
use crate::policy::Dataplane;
use crate::units::{Endpoint, MonoNanos};

/// Workloads remembered at most; beyond it all are looked at anew.
const MAX: usize = 65_536;
/// A workload that no Dataplane names is looked at again after this time, in
/// nanoseconds: it may have begun to listen.
const AGAIN: u64 = 5_000_000_000;
/// Where a workload listens is believed under another plan, too, if it was
/// looked at within this time, in nanoseconds: in a cluster plans come every
/// second, and a look costs more than all else here.
const FRESH: u64 = 60_000_000_000;

/// What is known of the workloads under one plan.
#[derive(Debug, Default)]
pub(super) struct Members {
    known: HashMap<WorkloadKey, Member, FxBuildHasher>,
    /// Callers of pods, by the Dataplane's address in memory, which each keeps.
    peers: HashMap<usize, Arc<Selected>, FxBuildHasher>,
    /// The time that was told last.
    now: MonoNanos,
}

#[derive(Debug)]
struct Member {
    selected: Option<Arc<Selected>>,
    /// It listens for other Dataplanes, too.
    several: bool,
    /// Until then nobody need look where it listens.
    until: MonoNanos,
    /// Where it listens, and when that was looked at.
    listens: Option<(Box<[SocketAddr]>, MonoNanos)>,
    /// The name that `identify` gave it, and the one that its Dataplane gives.
    names: Option<(Arc<Workload>, Arc<Workload>)>,
}

impl Members {
    /// The same workloads under another plan.
    pub(super) fn under(self, policies: Option<&Policies>) -> Self {
        let mut members = Self {
            now: self.now,
            ..Self::default()
        };
        let Some(policies) = policies else {
            return members;
        };
        for (key, member) in self.known {
            if let Some((listens, at)) = member.listens
                && members.now.since(at) < FRESH
            {
                members.learn(policies, key, &listens, at);
            }
        }
        members
    }

    /// Whether it must be found out where this workload listens, because no
    /// Dataplane is known for it. A pod has told.
    pub(super) fn asks(&self, known: &Known, now: MonoNanos) -> bool {
        if matches!(
            known.origin,
            Origin::Address(_) | Origin::Gone | Origin::Pod { .. }
        ) {
            return false;
        }
        let member = self.known.get(&known.key);
        member.is_none_or(|member| member.selected.is_none() && member.until <= now)
    }

    /// Takes where a workload listens.
    pub(super) fn learn(
        &mut self,
        policies: &Policies,
        key: WorkloadKey,
        listens: &[SocketAddr],
        now: MonoNanos,
    ) {
        let mut found = listens
            .iter()
            .filter_map(|at| policies.listening_at(*at))
            .map(|(selected, _)| selected);
        let first = found.next();
        let several = found.any(|other| first.is_some_and(|first| !Arc::ptr_eq(first, other)));
        self.insert(key, first.map(Arc::clone), now);
        if let Some(member) = self.known.get_mut(&key) {
            member.several = several;
            member.listens = Some((listens.into(), now));
        }
    }

    /// What policies say about a pod, whose Dataplane this is.
    pub(super) fn of_pod(
        &mut self,
        policies: &Policies,
        key: WorkloadKey,
        dataplane: &Arc<Dataplane>,
    ) -> Arc<Selected> {
        let member = self.known.get(&key);
        if let Some(selected) = member.and_then(|member| member.selected.as_ref())
            && Arc::ptr_eq(&selected.dataplane, dataplane)
        {
            return Arc::clone(selected);
        }
        let selected = policies.select(dataplane);
        self.insert(key, Some(Arc::clone(&selected)), self.now);
        selected
    }

    /// What policies say about a pod that is a peer.
    pub(super) fn of_peer(
        &mut self,
        policies: &Policies,
        dataplane: &Arc<Dataplane>,
    ) -> &Arc<Selected> {
        if self.peers.len() >= MAX {
            self.peers.clear();
        }
        let place = Arc::as_ptr(dataplane) as usize;
        let selected = self.peers.entry(place);
        selected.or_insert_with(|| policies.select(dataplane))
    }

    /// Whether what is true of one Dataplane of a workload need not be true of
    /// all that it serves.
    pub(super) fn has_several(&self, key: WorkloadKey) -> bool {
        self.known.get(&key).is_some_and(|member| member.several)
    }

    /// The Dataplane of a workload that serves a request at this address, and
    /// which inbound that is.
    pub(super) fn server(
        &mut self,
        policies: &Policies,
        known: &Known,
        local: Option<Endpoint>,
        now: MonoNanos,
    ) -> Option<(Arc<Selected>, Option<usize>)> {
        let found = local.and_then(|local| policies.listening_at((local.ip, local.port).into()));
        match found {
            Some((selected, inbound)) => {
                let member = self.known.get(&known.key);
                if member.is_none_or(|member| member.selected.is_none()) {
                    self.insert(known.key, Some(Arc::clone(selected)), now);
                }
                Some((Arc::clone(selected), inbound))
            }
            None => self.any(policies, known, now).map(|found| (found, None)),
        }
    }

    /// The Dataplane of a workload, wherever it was found.
    pub(super) fn any(
        &mut self,
        policies: &Policies,
        known: &Known,
        now: MonoNanos,
    ) -> Option<Arc<Selected>> {
        if let Some(member) = self.known.get(&known.key)
            && member.selected.is_some()
        {
            return member.selected.clone();
        }
        // In a capture a workload is an address.
        let Origin::Address(ip) = known.origin else {
            return None;
        };
        let selected = policies.at(ip).cloned()?;
        self.insert(known.key, Some(Arc::clone(&selected)), now);
        Some(selected)
    }

    /// The workload by the name that its Dataplane gives it.
    pub(super) fn named(&mut self, known: &Known, selected: &Selected) -> Arc<Workload> {
        let Some(service) = selected.dataplane.service() else {
            return Arc::clone(&known.workload);
        };
        if known.workload.service == *service {
            return Arc::clone(&known.workload);
        }
        let member = self.known.get_mut(&known.key);
        if let Some(Member {
            names: Some((given, named)),
            ..
        }) = &member
            && Arc::ptr_eq(given, &known.workload)
            && named.service == *service
        {
            return Arc::clone(named);
        }
        let named = Arc::new(Workload {
            service: Arc::clone(service),
            ..Workload::clone(&known.workload)
        });
        if let Some(member) = member {
            member.names = Some((Arc::clone(&known.workload), Arc::clone(&named)));
        }
        named
    }

    fn insert(&mut self, key: WorkloadKey, selected: Option<Arc<Selected>>, now: MonoNanos) {
        if self.known.len() >= MAX {
            self.known.clear();
        }
        self.now = self.now.max(now);
        let member = Member {
            selected,
            several: false,
            until: MonoNanos(now.0.saturating_add(AGAIN)),
            listens: None,
            names: None,
        };
        self.known.insert(key, member);
    }
}
