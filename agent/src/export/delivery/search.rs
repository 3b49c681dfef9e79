//! Which parts of a refused batch are sent next.
//!
//! A server refuses a whole batch for one bad span. Halving finds it with two
//! requests for each halving, and the rest arrives. If the server refuses
//! everything, halving on would mean two requests for each span, so refusals
//! need credit: there is enough to find one bad span, and each part that is
//! taken gives some back.

use std::ops::Range;

/// What one accepted part is worth in further halvings.
const REWARD: u32 = 2;

/// The parts of one batch that are yet to be sent.
#[derive(Debug)]
pub(super) struct Search {
    /// The next one is last.
    waiting: Vec<Range<u64>>,
    credit: u32,
}

impl Search {
    /// Begins with the whole batch.
    pub(super) fn new(spans: u64) -> Self {
        let halvings = u64::BITS - spans.leading_zeros();
        Self {
            waiting: std::iter::once(0..spans).collect(),
            credit: 2 * halvings,
        }
    }

    /// The numbers of the spans to send next.
    pub(super) fn next(&mut self) -> Option<Range<u64>> {
        self.waiting.pop()
    }

    /// The server has taken a part.
    pub(super) fn accepted(&mut self) {
        self.credit = self.credit.saturating_add(REWARD);
    }

    /// The server has refused this part. Says whether its halves come next;
    /// otherwise it is to be dropped.
    pub(super) fn halve(&mut self, part: &Range<u64>) -> bool {
        let length = part.end.saturating_sub(part.start);
        if length < 2 || self.credit == 0 {
            return false;
        }
        self.credit -= 1;
        let middle = part.start + length / 2;
        self.waiting.push(middle..part.end);
        self.waiting.push(part.start..middle);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Sends a batch to a server that refuses parts with a bad span in it:
    /// spans sent, spans dropped, requests.
    fn deliver(spans: u64, bad: &BTreeSet<u64>) -> (BTreeSet<u64>, BTreeSet<u64>, u64) {
        let (mut sent, mut dropped, mut requests) = (BTreeSet::new(), BTreeSet::new(), 0);
        let mut search = Search::new(spans);
        while let Some(part) = search.next() {
            requests += 1;
            if bad.range(part.clone()).next().is_none() {
                search.accepted();
                assert!(part.clone().all(|span| sent.insert(span)));
            } else if !search.halve(&part) {
                assert!(part.clone().all(|span| dropped.insert(span)));
            }
        }
        (sent, dropped, requests)
    }

    #[test]
    fn one_bad_span_costs_two_requests_a_halving_wherever_it_is() {
        for spans in [1_u64, 2, 3, 7, 100, 1000] {
            let most = 1 + 2 * u64::from(spans.next_power_of_two().ilog2());
            for at in 0..spans {
                let bad = BTreeSet::from([at]);
                let (sent, dropped, requests) = deliver(spans, &bad);
                assert_eq!(dropped, bad);
                assert_eq!(sent.len() as u64, spans - 1);
                assert!(requests <= most, "{spans} {at} {requests}");
            }
        }
    }

    #[test]
    fn a_server_that_refuses_everything_is_not_asked_for_each_span() {
        let (sent, dropped, requests) = deliver(1000, &(0..1000).collect());
        assert_eq!((sent.len(), dropped.len()), (0, 1000));
        assert!(requests <= 42, "{requests}");
    }

    proptest! {
        #[test]
        fn each_span_is_sent_or_dropped_once(
            spans in 1_u64..2000, bad in prop::collection::btree_set(0_u64..2000, 0..40)
        ) {
            let bad: BTreeSet<u64> = bad.into_iter().filter(|at| *at < spans).collect();
            let (sent, dropped, requests) = deliver(spans, &bad);
            prop_assert!(sent.is_disjoint(&dropped));
            prop_assert_eq!((sent.len() + dropped.len()) as u64, spans);
            prop_assert!(bad.is_subset(&dropped));
            // Few among many: no good span is lost.
            if bad.len() as u64 * 16 <= spans {
                prop_assert_eq!(&dropped, &bad);
            }
            let halvings = u64::from(spans.next_power_of_two().ilog2()) + 1;
            prop_assert!(requests <= 1 + (bad.len() as u64 + 1) * 2 * halvings);
        }
    }
}
