//! What is the same on every span of a workload, rendered once.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use crate::identify::Workload;

/// Workloads remembered; with more than these at work everything is forgotten
/// and rendered anew.
const MAX_WORKLOADS: usize = 1024;

/// What an encoding can say of a workload before it sees a span.
pub(super) trait Render {
    /// Renders it.
    fn render(workload: &Workload) -> Self;
}

/// The workloads seen so far.
#[derive(Debug)]
pub(super) struct Known<T> {
    known: Vec<Entry<T>>,
    /// Places in `known` by the address of the workload, which each entry
    /// keeps alive.
    places: FxHashMap<usize, usize>,
    /// Address and place that were asked for last.
    last: (usize, usize),
}

#[derive(Debug)]
struct Entry<T> {
    /// Keeps the address, the map's key, from being used again.
    _workload: Arc<Workload>,
    rendered: T,
}

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self {
            known: Vec::new(),
            places: FxHashMap::default(),
            last: (0, 0),
        }
    }
}

impl<T: Render> Known<T> {
    /// What this workload's spans have in common.
    #[inline]
    pub(super) fn of(&mut self, workload: &Arc<Workload>) -> &T {
        if self.known.len() > MAX_WORKLOADS {
            self.trim();
        }
        let place = self.place(workload);
        &self.known[place].rendered
    }

    /// Where this workload is, until [`Known::trim`].
    #[inline]
    pub(super) fn place(&mut self, workload: &Arc<Workload>) -> usize {
        let address = Arc::as_ptr(workload).addr();
        let (last, place) = self.last;
        if last == address && place < self.known.len() {
            place
        } else {
            self.find(address, workload)
        }
    }

    fn find(&mut self, address: usize, workload: &Arc<Workload>) -> usize {
        let place = *self.places.entry(address).or_insert_with(|| {
            self.known.push(Entry {
                _workload: Arc::clone(workload),
                rendered: T::render(workload),
            });
            self.known.len() - 1
        });
        self.last = (address, place);
        place
    }

    /// What is at this place.
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        self.known.get(place).map(|entry| &entry.rendered)
    }

    /// Forgets all workloads if there are too many.
    pub(super) fn trim(&mut self) {
        if self.known.len() > MAX_WORKLOADS {
            *self = Self::default();
        }
    }
}
