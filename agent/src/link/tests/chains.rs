use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

/// Chains of services that only copy headers: `width` traces at once, each
/// through services 0, 1, … `depth`; service 0 is the caller.
fn chains(width: u32, depth: u32, shared: bool, jitter: &[u64]) -> Vec<End> {
    let mut ends = Vec::new();
    let jitter = |n: u32| jitter[n as usize % jitter.len()] % 900_000;
    for trace in 0..width {
        let c = context(
            (u64::from(trace % 2), u64::from(trace) + 1),
            1000 + u64::from(trace),
        );
        for hop in 0..depth {
            let number = trace * depth + hop;
            let half = |side, workload, inner: u64| End {
                shared,
                start: (1 + u64::from(hop) * 2 + inner) * MS + jitter(number * 2),
                end: (1 + u64::from(2 * depth - hop) * 2 - inner) * MS + jitter(number * 2),
                ..End::new(side, u64::from(workload), number, c)
            };
            ends.push(half(Side::Client, hop, 0));
            ends.push(half(Side::Server, hop + 1, 1));
        }
    }
    ends
}

proptest! {
    #[test]
    fn chains_are_connected_whatever_the_order(
        width in 1..20u32,
        depth in 1..6u32,
        shared: bool,
        jitter in proptest::collection::vec(0..900_000u64, 1..40),
        delays in proptest::collection::vec(0..99 * MS, 1..60),
    ) {
        let ends = chains(width, depth, shared, &jitter);
        let (in_order, counters) = in_time(&ends);
        prop_assert_eq!(counters, Counters::default());
        let (late, _) = run(&ends, |n, end| delays[(n * 2 + usize::from(end)) % delays.len()]);
        let late: Vec<Place> = late.into_iter().map(Option::unwrap).collect();
        prop_assert_eq!(&late, &in_order);

        let mut traces: HashMap<TraceId, Vec<(End, Place)>> = HashMap::new();
        for (end, place) in ends.iter().zip(&in_order) {
            traces.entry(place.trace).or_default().push((*end, *place));
        }
        prop_assert_eq!(traces.len(), width as usize);
        for spans in traces.values() {
            prop_assert_eq!(spans.len(), 2 * depth as usize);
            let s = spans[0].0.context.ids.map(|ids| ids.span);
            let ids: HashSet<SpanId> = spans.iter().map(|(_, p)| p.id).collect();
            prop_assert_eq!(ids.len(), if shared { depth } else { 2 * depth } as usize);
            for pair in spans.chunks(2) {
                let [(_, client), (_, server)] = pair else { panic!("halves come in pairs") };
                prop_assert_eq!(server.shared, shared);
                if shared {
                    prop_assert_eq!(server.id, client.id);
                    prop_assert_eq!(server.parent, s);
                } else {
                    prop_assert_eq!(server.parent, Some(client.id));
                }
            }
            // The first call is the outside's child, each other one belongs
            // to the server before it.
            prop_assert_eq!(spans[0].1.parent, s);
            for n in (2..spans.len()).step_by(2) {
                prop_assert_eq!(spans[n].1.parent, Some(spans[n - 1].1.id));
            }
        }
    }

    #[test]
    fn any_ends_leave_nothing_behind(
        raw in proptest::collection::vec(
            (any::<bool>(), 0..4u64, 0..12u32, 0..3u64, 0..2u64, 0..2000u64, 0..3000u64, 0..2u32, any::<bool>()),
            0..80,
        ),
        delays in proptest::collection::vec(0..200 * MS, 1..20),
    ) {
        let ends: Vec<End> = raw
            .into_iter()
            .map(|(client, workload, hop, trace, span, start, length, backend, shared)| {
                let side = if client { Side::Client } else { Side::Server };
                let c = if trace == 0 { TraceContext::default() } else { context((0, trace), span + 1) };
                let seed = if span == 0 { Seed::Head(9) } else { Seed::RequestId(4) };
                End { backend, shared, seed, ..End::new(side, workload, hop, c) }.at(start, start + length)
            })
            .collect();
        let (places, _) = run(&ends, |n, end| delays[(n * 2 + usize::from(end)) % delays.len()]);
        prop_assert!(places.iter().all(Option::is_some));
    }
}
