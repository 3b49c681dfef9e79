//! A namespace and what is in it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::{HashMap, HashSet};

use super::Round;
use crate::kubernetes::derive;
use crate::kubernetes::facts::{NamespaceFacts, PodFacts, ServiceFacts, SliceFacts};

/// What is known of a namespace. Its parts come in any order.
#[derive(Debug, Default)]
pub(super) struct Space {
    /// The namespace itself.
    pub(super) facts: Option<(Round, NamespaceFacts)>,
    /// UIDs of its pods.
    pub(super) pods: HashSet<Arc<str>>,
    /// How many of them are of this node.
    pub(super) own: usize,
    services: BTreeMap<Arc<str>, (Round, ServiceFacts)>,
    /// Services with a selector, by its first name and value: a pod need not
    /// be compared with all.
    by_selector: HashMap<Pair, BTreeSet<Arc<str>>>,
    /// Services without a selector.
    bare: BTreeSet<Arc<str>>,
    /// By Service, then by name.
    slices: HashMap<Arc<str>, Slices>,
}

type Pair = (Arc<str>, Arc<str>);
type Slices = BTreeMap<Arc<str>, (Round, SliceFacts)>;

impl Space {
    pub(super) fn is_empty(&self) -> bool {
        self.facts.is_none()
            && self.pods.is_empty()
            && self.services.is_empty()
            && self.slices.is_empty()
    }

    pub(super) fn namespace(&self) -> Option<&NamespaceFacts> {
        self.facts.as_ref().map(|(_, facts)| facts)
    }

    pub(super) const fn services(&self) -> &BTreeMap<Arc<str>, (Round, ServiceFacts)> {
        &self.services
    }

    /// Whether it has pods of this node.
    pub(super) const fn is_near(&self) -> bool {
        self.own > 0
    }

    pub(super) fn has_slice(&self, service: &str, name: &str) -> bool {
        let slices = self.slices.get(service);
        slices.is_some_and(|slices| slices.contains_key(name))
    }

    pub(super) fn slices_not_of(&self, round: Round) -> impl Iterator<Item = Arc<str>> {
        let all = self.slices.values().flatten();
        all.filter(move |(_, (at, _))| *at != round)
            .map(|(name, _)| Arc::clone(name))
    }

    /// The Services of a pod, sorted by name.
    pub(super) fn services_of(&self, pod: &PodFacts) -> Vec<&ServiceFacts> {
        let by_label = pod
            .labels
            .iter()
            .filter_map(|pair| self.by_selector.get(pair));
        let selecting = by_label
            .flatten()
            .filter_map(|name| self.services.get(name))
            .map(|(_, service)| service)
            .filter(|service| derive::selects(service, &pod.labels));
        let bare = self.bare.iter().filter(|name| {
            let mut slices = self.slices_of(name);
            slices.any(|slice| slice.pods.binary_search(&pod.uid).is_ok())
        });
        let bare = bare
            .filter_map(|name| self.services.get(name))
            .map(|(_, service)| service);
        let all = selecting.chain(bare);
        let mut all: Vec<_> = all.filter(|service| derive::is_meshed(service)).collect();
        all.sort_by(|one, other| one.name.cmp(&other.name));
        all
    }

    /// All slices.
    pub(super) fn all_slices(&self) -> impl Iterator<Item = &SliceFacts> {
        let slices = self.slices.values().flat_map(BTreeMap::values);
        slices.map(|(_, slice)| slice)
    }

    /// A Service and a slice of it.
    pub(super) fn slice_of(
        &self,
        service: &str,
        slice: &str,
    ) -> Option<(&ServiceFacts, &SliceFacts)> {
        let (_, slice) = self.slices.get(service)?.get(slice)?;
        let (_, service) = self.services.get(service)?;
        Some((service, slice))
    }

    pub(super) fn slices_of(&self, service: &str) -> impl Iterator<Item = &SliceFacts> {
        let slices = self.slices.get(service);
        slices
            .into_iter()
            .flat_map(BTreeMap::values)
            .map(|(_, slice)| slice)
    }

    /// Adds or replaces a Service; what was there comes back.
    pub(super) fn insert_service(
        &mut self,
        service: ServiceFacts,
        round: Round,
    ) -> Option<ServiceFacts> {
        let old = self.remove_service(&service.name);
        let name = Arc::clone(&service.name);
        match service.selector.first() {
            Some(pair) => {
                let names = self.by_selector.entry(pair.clone()).or_default();
                names.insert(Arc::clone(&name));
            }
            None => {
                self.bare.insert(Arc::clone(&name));
            }
        }
        self.services.insert(name, (round, service));
        old
    }

    /// Takes a Service out.
    pub(super) fn remove_service(&mut self, name: &str) -> Option<ServiceFacts> {
        let (_, old) = self.services.remove(name)?;
        match old.selector.first() {
            Some(pair) => {
                if let Some(names) = self.by_selector.get_mut(pair) {
                    names.remove(name);
                    if names.is_empty() {
                        self.by_selector.remove(pair);
                    }
                }
            }
            None => {
                self.bare.remove(name);
            }
        }
        Some(old)
    }

    /// Adds or replaces a slice; what was there comes back.
    pub(super) fn insert_slice(&mut self, slice: SliceFacts, round: Round) -> Option<SliceFacts> {
        let old = self.remove_slice(&slice.name);
        let of_service = self.slices.entry(Arc::clone(&slice.service)).or_default();
        of_service.insert(Arc::clone(&slice.name), (round, slice));
        old
    }

    /// Takes a slice out.
    pub(super) fn remove_slice(&mut self, name: &str) -> Option<SliceFacts> {
        let mut all = self.slices.iter();
        let service = all.find(|(_, slices)| slices.contains_key(name));
        let service = service.map(|(service, _)| Arc::clone(service))?;
        let of_service = self.slices.get_mut(&service)?;
        let old = of_service.remove(name);
        if of_service.is_empty() {
            self.slices.remove(&service);
        }
        old.map(|(_, slice)| slice)
    }

    /// Whether this Service is one whose pods its slices tell.
    pub(super) fn is_bare(&self, service: &str) -> bool {
        self.bare.contains(service)
    }
}
