//! Which slot an exchange in flight has.

use std::collections::VecDeque;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::inbound::Slot;

/// Serial number → slot, for numbers that come nearly in order and mostly go
/// in order. Those that stay long (streams, long polls) move to a map, so that
/// the window stays short. A window is three times as fast as a map.
#[derive(Debug, Default)]
pub(super) struct Flights {
    /// Serial number of the window's first place.
    base: u64,
    window: VecDeque<Option<Slot>>,
    stragglers: HashMap<u64, Slot, FxBuildHasher>,
    len: usize,
}

/// Places of the window at most.
const WINDOW: u64 = 4096;

impl Flights {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    /// Takes a number that is not in flight.
    #[inline]
    pub(super) fn insert(&mut self, serial: u64, slot: Slot) {
        self.len += 1;
        if self.window.is_empty() {
            self.base = serial;
        }
        let place = serial.wrapping_sub(self.base);
        if serial < self.base || place >= 2 * WINDOW {
            self.stragglers.insert(serial, slot);
            return;
        }
        while (self.window.len() as u64) < place {
            self.window.push_back(None);
        }
        match self.window.get_mut(place as usize) {
            Some(old) => *old = Some(slot),
            None => self.window.push_back(Some(slot)),
        }
        while self.window.len() as u64 > WINDOW {
            if let Some(slot) = self.window.pop_front().flatten() {
                self.stragglers.insert(self.base, slot);
            }
            self.base += 1;
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, serial: u64) -> Option<Slot> {
        let place = usize::try_from(serial.wrapping_sub(self.base)).ok();
        let place = place.and_then(|place| self.window.get_mut(place));
        // The window may have come to where a straggler was put.
        let slot = place
            .and_then(Option::take)
            .or_else(|| self.stragglers.remove(&serial));
        self.len -= usize::from(slot.is_some());
        while self.window.front().is_some_and(Option::is_none) {
            self.window.pop_front();
            self.base += 1;
        }
        slot
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn is_a_map(steps in proptest::collection::vec((any::<bool>(), 0..40u64, 0..12u32), 1..300)) {
            let mut flights = Flights::default();
            let mut model = HashMap::new();
            for (add, serial, scale) in steps {
                // Near, at the window's end, and far away.
                let serial = serial << scale;
                if add {
                    if let std::collections::hash_map::Entry::Vacant(entry) = model.entry(serial) {
                        entry.insert(7);
                        flights.insert(serial, 7);
                    }
                } else {
                    prop_assert_eq!(flights.remove(serial), model.remove(&serial));
                }
                prop_assert_eq!(flights.len(), model.len());
                prop_assert!(flights.window.len() as u64 <= WINDOW);
            }
        }
    }

    #[test]
    fn one_that_stays_does_not_hold_the_others() {
        let mut flights = Flights::default();
        flights.insert(1, 1);
        for serial in 2..100_000 {
            flights.insert(serial, 2);
            assert_eq!(flights.remove(serial), Some(2));
        }
        assert!(flights.window.len() as u64 <= WINDOW);
        assert_eq!(flights.remove(1), Some(1));
        assert_eq!((flights.len(), flights.stragglers.len()), (0, 0));
    }
}
