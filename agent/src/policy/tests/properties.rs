//! What holds for whatever policies and workloads.

use std::sync::Arc;

use proptest::prelude::*;

use super::{by_the_book, engine, mesh};
use crate::policy::*;

/// Few names and values, so that things meet.
fn tag_set(any: bool) -> impl Strategy<Value = Vec<(String, String)>> {
    let value = if any { "[12*]" } else { "[12]" };
    proptest::collection::vec(("[a-e]", value), 1..5)
}

fn trace() -> impl Strategy<Value = TrafficTrace> {
    let selectors = proptest::collection::vec(tag_set(true), 1..4);
    ("[a-h]{1,2}", 0..3i128, selectors).prop_map(|(name, created, selectors)| TrafficTrace {
        mesh: "default".into(),
        name: name.into(),
        created: Created(created),
        selectors: selectors
            .into_iter()
            .map(|tags| Selector::new(tags.into_iter().collect()))
            .collect(),
        backend: None,
    })
}

/// Names are unique.
fn traces() -> impl Strategy<Value = Vec<TrafficTrace>> {
    proptest::collection::vec(trace(), 0..24).prop_map(|mut traces| {
        traces.sort_by(|a, b| a.name.cmp(&b.name));
        traces.dedup_by(|a, b| a.name == b.name);
        traces
    })
}

fn workload() -> impl Strategy<Value = Vec<Inbound>> {
    proptest::collection::vec(tag_set(false), 0..4).prop_map(|inbounds| {
        let tags = inbounds
            .into_iter()
            .map(|tags| tags.into_iter().collect::<Tags>());
        tags.map(Inbound::from).collect()
    })
}

fn winner(policies: &[TrafficTrace], inbounds: &[Inbound]) -> Option<Arc<str>> {
    let decision = engine(policies.to_vec()).decide("default", inbounds);
    decision.policy.clone()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_index_finds_what_the_book_says(policies in traces(), inbounds in workload()) {
        prop_assert_eq!(winner(&policies, &inbounds), by_the_book(&policies, &inbounds));
    }

    #[test]
    fn explain_finds_what_the_engine_finds(policies in traces(), inbounds in workload()) {
        let engine = engine(policies.clone());
        let explanation = engine.explain("default", &inbounds);
        let won = explanation.matched.iter().find(|candidate| candidate.fate == Fate::Won);
        let name = winner(&policies, &inbounds);
        prop_assert_eq!(won.map(|won| won.policy.as_str()), name.as_deref());
        let matching = policies.iter().filter(|policy| policy.rank(&inbounds).is_some());
        prop_assert_eq!(explanation.matched.len(), matching.count());
        // From the strongest to the weakest.
        let ranks: Vec<_> = explanation.matched.iter().map(|candidate| candidate.rank).collect();
        prop_assert!(ranks.is_sorted_by(|a, b| a >= b));
    }

    #[test]
    fn the_order_of_policies_does_not_matter(
        (policies, shuffled) in traces().prop_flat_map(|policies| {
            (Just(policies.clone()), Just(policies).prop_shuffle())
        }),
        inbounds in workload(),
    ) {
        let decide = |policies: Vec<TrafficTrace>| engine(policies).decide("default", &inbounds);
        prop_assert_eq!(decide(policies), decide(shuffled));
    }

    #[test]
    fn the_order_of_inbounds_does_not_matter(policies in traces(), inbounds in workload()) {
        let turned: Vec<Inbound> = inbounds.iter().rev().cloned().collect();
        prop_assert_eq!(winner(&policies, &inbounds), winner(&policies, &turned));
    }

    #[test]
    fn a_policy_that_does_not_match_changes_nothing(
        policies in traces(),
        mut stranger in trace(),
        inbounds in workload(),
    ) {
        let before = engine(policies.clone()).decide("default", &inbounds);
        stranger.name = "stranger".into();
        // As strong and late as can be, but for one tag that nobody has.
        stranger.created = Created(9);
        for selector in &mut stranger.selectors {
            let tags = selector.tags().iter().map(|(n, v)| (n.to_string(), v.to_string()));
            *selector = Selector::new(tags.chain([("z".to_owned(), "*".to_owned())]).collect());
        }
        let mut policies = policies;
        policies.push(stranger);
        prop_assert_eq!(before, engine(policies).decide("default", &inbounds));
    }

    #[test]
    fn a_policy_of_another_mesh_changes_nothing(
        policies in traces(),
        mut stranger in trace(),
        inbounds in workload(),
    ) {
        stranger.mesh = "other".into();
        let all = |more: Option<TrafficTrace>| -> Engine {
            let traces = policies.iter().cloned().chain(more);
            let traces = traces.map(|trace| Resource::TrafficTrace(Arc::new(trace)));
            let meshes = [mesh("default", &["zipkin"]), mesh("other", &["zipkin"])];
            Engine::new(Arc::new(meshes.into_iter().chain(traces).collect()))
        };
        let (before, after) = (all(None), all(Some(stranger)));
        prop_assert_eq!(before.decide("default", &inbounds), after.decide("default", &inbounds));
    }

    #[test]
    fn remembered_decisions_are_the_engines(
        first in traces(),
        second in traces(),
        workloads in proptest::collection::vec(workload(), 1..8),
    ) {
        let (first, second) = (Arc::new(engine(first)), Arc::new(engine(second)));
        let mut decisions = Decisions::new(Arc::clone(&first));
        let subjects: Vec<Subject> = workloads
            .into_iter()
            .map(|inbounds| Subject { mesh: "default".into(), inbounds: inbounds.into() })
            .collect();
        let ids: Vec<_> = subjects.iter().map(|subject| decisions.intern(subject)).collect();
        for engine in [first, second] {
            decisions.replace(Arc::clone(&engine));
            for (subject, id) in subjects.iter().zip(&ids) {
                let decision = engine.decide(&subject.mesh, &subject.inbounds);
                prop_assert_eq!(decisions.get(*id), Some(&decision));
            }
        }
    }
}
