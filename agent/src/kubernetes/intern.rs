//! Equal texts and tag sets of a cluster are kept once.
//!
//! Ten thousand pods have a few hundred sets of labels between them, and fewer
//! sets of tags.

use std::hash::Hash;
use std::sync::Arc;

use hashbrown::HashSet;

use crate::policy::Inbound;

/// Names and values, sorted by name: labels, annotations, selectors.
pub(crate) type Pairs = Arc<[(Arc<str>, Arc<str>)]>;

/// What is shared. What nobody else holds any more goes with time.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    texts: Shared<str>,
    pairs: Shared<[(Arc<str>, Arc<str>)]>,
    inbounds: Shared<[Inbound]>,
}

impl Interner {
    /// A text.
    pub(crate) fn text(&mut self, text: &str) -> Arc<str> {
        self.texts.get(text, || Arc::from(text))
    }

    /// Names and values, sorted by name.
    pub(crate) fn pairs<'a>(
        &mut self,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Pairs {
        let mut list: Vec<_> = pairs
            .into_iter()
            .map(|(name, value)| (self.text(name), self.text(value)))
            .collect();
        list.sort();
        self.pairs.get(&list, || Arc::from(&*list))
    }

    /// Tags and protocols of a pod's inbounds.
    pub(crate) fn inbounds(&mut self, inbounds: &[Inbound]) -> Arc<[Inbound]> {
        self.inbounds.get(inbounds, || Arc::from(inbounds))
    }

    /// How many are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.texts.known.len() + self.pairs.known.len() + self.inbounds.known.len()
    }

    /// Lets go what nobody else holds.
    pub(crate) fn sweep(&mut self) {
        // From the whole to its parts: a set holds its texts.
        self.inbounds.sweep();
        self.pairs.sweep();
        self.texts.sweep();
    }
}

#[derive(Debug)]
struct Shared<T: ?Sized> {
    known: HashSet<Arc<T>>,
    /// So many before it is looked for what can go.
    limit: usize,
}

/// So many are kept without looking.
const FEW: usize = 1024;

impl<T: ?Sized> Default for Shared<T> {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            limit: FEW,
        }
    }
}

impl<T: ?Sized + Hash + Eq> Shared<T> {
    fn get(&mut self, value: &T, make: impl FnOnce() -> Arc<T>) -> Arc<T> {
        if let Some(known) = self.known.get(value) {
            return Arc::clone(known);
        }
        if self.known.len() >= self.limit {
            self.sweep();
        }
        let made = make();
        self.known.insert(Arc::clone(&made));
        made
    }

    fn sweep(&mut self) {
        self.known.retain(|known| Arc::strong_count(known) > 1);
        self.limit = (self.known.len() * 2).max(FEW);
        if self.known.capacity() > self.limit * 2 {
            self.known.shrink_to(self.limit);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_things_are_one_and_unused_ones_go() {
        let mut intern = Interner::default();
        let kept = intern.pairs([("b", "2"), ("a", "1")]);
        assert_eq!(&*kept[0].0, "a");
        assert!(Arc::ptr_eq(&kept, &intern.pairs([("a", "1"), ("b", "2")])));
        for n in 0..100_000 {
            intern.text(&format!("pod-{n}"));
        }
        assert!(intern.len() <= 2 * FEW, "{}", intern.len());
        assert!(Arc::ptr_eq(&kept, &intern.pairs([("a", "1"), ("b", "2")])));
        drop(kept);
        intern.sweep();
        assert_eq!(intern.len(), 0);
    }
}
