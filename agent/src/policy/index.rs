//! The policies of a mesh, found by the tags of a workload.
//!
//! Each selector is filed under one tag that it needs: under an exact value if
//! it has one, otherwise under a name; of several, under the one that fewest
//! selectors share. A workload then meets only selectors one of whose tags it
//! has, and each at most once for each inbound.

use std::cmp::Reverse;
use std::sync::Arc;

use hashbrown::HashMap;

use super::resource::{Created, Inbound, TrafficTrace};
use super::tags::{ANY, Selector, Tags};

/// The policies of one mesh.
#[derive(Debug, Default)]
pub(super) struct MeshIndex {
    /// All selectors, the strongest first: a lower place wins.
    entries: Vec<Entry>,
    /// Places of selectors by a tag's name and value, ascending.
    exact: HashMap<Arc<str>, HashMap<Arc<str>, Vec<usize>>>,
    /// The same by a tag's name.
    named: HashMap<Arc<str>, Vec<usize>>,
}

#[derive(Debug)]
struct Entry {
    selector: Selector,
    created: Created,
    /// The policy's number.
    policy: usize,
}

impl MeshIndex {
    /// An index of these policies, which are sorted by name.
    pub(super) fn new(policies: &[Arc<TrafficTrace>]) -> Self {
        let mut entries = Vec::new();
        for (number, policy) in policies.iter().enumerate() {
            entries.extend(policy.selectors.iter().map(|selector| Entry {
                selector: selector.clone(),
                created: policy.created,
                policy: number,
            }));
        }
        // SelectDataplanePolicy goes through the policies by name and takes
        // what is greater by rank, then by creation time: so of equals the
        // first name stays. The sort is stable.
        entries.sort_by_key(|entry| Reverse((entry.selector.rank(), entry.created)));

        let mut exact: HashMap<_, HashMap<_, Vec<_>>> = HashMap::new();
        let mut named: HashMap<_, Vec<_>> = HashMap::new();
        let sharing = Sharing::count(&entries);
        for (place, entry) in entries.iter().enumerate() {
            match sharing.rarest(&entry.selector) {
                Some((name, Some(value))) => {
                    let values = exact.entry(Arc::clone(name)).or_default();
                    let places = values.entry(Arc::clone(value));
                    places.or_default().push(place);
                }
                Some((name, None)) => {
                    let places = named.entry(Arc::clone(name));
                    places.or_default().push(place);
                }
                // Validation lets no selector without tags through.
                None => {}
            }
        }
        drop(sharing);
        Self {
            entries,
            exact,
            named,
        }
    }

    /// The number of the policy that a workload with these inbounds gets.
    pub(super) fn winner(&self, inbounds: &[Inbound]) -> Option<usize> {
        let mut best = usize::MAX;
        for inbound in inbounds {
            for (name, value) in inbound.tags.iter() {
                let exact = self.exact.get(name).and_then(|values| values.get(value));
                self.improve(&mut best, exact, &inbound.tags);
                self.improve(&mut best, self.named.get(name), &inbound.tags);
            }
        }
        self.entries.get(best).map(|entry| entry.policy)
    }

    /// Moves `best` to the first of these places that matches, if it is before.
    fn improve(&self, best: &mut usize, places: Option<&Vec<usize>>, tags: &Tags) {
        for place in places.into_iter().flatten().copied() {
            if place >= *best {
                return;
            }
            let entry = self.entries.get(place);
            if entry.is_some_and(|entry| entry.selector.matches(tags)) {
                *best = place;
                return;
            }
        }
    }
}

/// How many selectors ask for the same.
#[derive(Default)]
struct Sharing<'a> {
    exact: HashMap<(&'a str, &'a str), usize>,
    named: HashMap<&'a str, usize>,
}

impl<'a> Sharing<'a> {
    fn count(entries: &'a [Entry]) -> Self {
        let mut sharing = Self::default();
        for (name, value) in entries
            .iter()
            .flat_map(|entry| entry.selector.tags().iter())
        {
            let count = match &**value {
                ANY => sharing.named.entry(name).or_default(),
                value => sharing.exact.entry((name, value)).or_default(),
            };
            *count += 1;
        }
        sharing
    }

    /// The tag to file a selector under: its name, and its value if that is
    /// exact.
    fn rarest<'s>(&self, selector: &'s Selector) -> Option<(&'s Arc<str>, Option<&'s Arc<str>>)> {
        let tags = || selector.tags().iter();
        let exact = tags()
            .filter(|(_, value)| &***value != ANY)
            .min_by_key(|(name, value)| self.exact.get(&(&***name, &***value)));
        let named = || tags().min_by_key(|(name, _)| self.named.get(&***name));
        match exact {
            Some((name, value)) => Some((name, Some(value))),
            None => named().map(|(name, _)| (name, None)),
        }
    }
}
