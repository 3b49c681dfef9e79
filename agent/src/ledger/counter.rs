//! Counters that many threads may add to.
//!
//! Additions are releases and reads acquire, so that who reads an effect first
//! and its cause behind it finds no effect without a cause. On x86-64 that
//! costs nothing.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Reason;

/// One number.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Release);
    }

    /// Takes `n` away, for numbers that say what is there now.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.fetch_sub(n, Ordering::Release);
    }

    /// Replaces the number by one that is counted elsewhere.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Release);
    }

    /// The number.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// One number for each reason.
#[derive(Debug)]
pub struct Counts<R> {
    cells: Box<[Counter]>,
    reasons: PhantomData<R>,
}

impl<R: Reason> Default for Counts<R> {
    fn default() -> Self {
        Self {
            cells: R::ALL.iter().map(|_| Counter::default()).collect(),
            reasons: PhantomData,
        }
    }
}

impl<R: Reason> Counts<R> {
    /// Adds `n` for this reason.
    #[inline]
    pub fn add(&self, reason: R, n: u64) {
        if let Some(cell) = self.cells.get(reason.index()) {
            cell.add(n);
        }
    }

    /// Replaces the number of this reason by one that is counted elsewhere.
    pub fn set(&self, reason: R, n: u64) {
        if let Some(cell) = self.cells.get(reason.index()) {
            cell.set(n);
        }
    }

    /// The number of this reason.
    #[must_use]
    pub fn get(&self, reason: R) -> u64 {
        self.cells.get(reason.index()).map_or(0, Counter::get)
    }

    /// The numbers of all reasons together.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cells.iter().map(Counter::get).sum()
    }

    /// Every reason with its number.
    #[must_use]
    pub fn by_name(&self) -> BTreeMap<String, u64> {
        R::ALL
            .iter()
            .map(|&reason| (reason.name().to_owned(), self.get(reason)))
            .collect()
    }
}

/// Plain numbers of one thread, settled with the shared ones now and then.
#[derive(Debug)]
pub struct Tally<R> {
    cells: Box<[u64]>,
    reasons: PhantomData<R>,
}

impl<R: Reason> Default for Tally<R> {
    fn default() -> Self {
        Self {
            cells: R::ALL.iter().map(|_| 0).collect(),
            reasons: PhantomData,
        }
    }
}

impl<R: Reason> Tally<R> {
    /// Adds `n` for this reason.
    #[inline]
    pub fn add(&mut self, reason: R, n: u64) {
        if let Some(cell) = self.cells.get_mut(reason.index()) {
            *cell += n;
        }
    }

    /// Moves all numbers over to the shared ones.
    pub fn settle(&mut self, counts: &Counts<R>) {
        for (&reason, cell) in R::ALL.iter().zip(&mut self.cells) {
            if *cell != 0 {
                counts.add(reason, std::mem::take(cell));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::{Dropped, NotSelected};

    #[test]
    fn counts_keep_reasons_apart() {
        let counts = Counts::<NotSelected>::default();
        for (n, &reason) in NotSelected::ALL.iter().enumerate() {
            counts.add(reason, n as u64 + 1);
        }
        for (n, &reason) in NotSelected::ALL.iter().enumerate() {
            assert_eq!(counts.get(reason), n as u64 + 1);
            assert_eq!(counts.by_name()[reason.name()], n as u64 + 1);
        }
        let n = NotSelected::ALL.len() as u64;
        assert_eq!(counts.total(), n * (n + 1) / 2);
    }

    #[test]
    fn a_tally_settles_once() {
        let counts = Counts::<Dropped>::default();
        let mut tally = Tally::default();
        tally.add(Dropped::Overload, 3);
        tally.settle(&counts);
        tally.settle(&counts);
        assert_eq!(counts.get(Dropped::Overload), 3);
    }
}
