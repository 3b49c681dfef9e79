use super::*;

#[test]
fn forwarded_headers_make_the_server_span_the_parent() {
    let c = context((1, 2), 3);
    let [_, inbound] = call(1, 2, 1, c, (10, 50));
    let outbound = |ms| End::new(Side::Client, 2, 2, c).at(ms, ms + 5);
    let parent = |ends: [End; 2]| in_time(&ends).0[1].parent.unwrap();
    let inbound_id = identity(&inbound).second;
    let s = span_id(3);
    // In flight, just ended (at 49 ms), ended for the grace, and longer.
    assert_eq!(parent([inbound, outbound(20)]), inbound_id);
    assert_eq!(parent([inbound, outbound(49)]), inbound_id);
    assert_eq!(parent([inbound, outbound(1049)]), inbound_id);
    assert_eq!(parent([inbound, outbound(1050)]), s);
    // Before the inbound one began.
    assert_eq!(parent([inbound, outbound(9)]), s);
    // Another workload, trace, span or backend.
    assert_eq!(
        parent([
            inbound,
            End {
                workload: 3,
                ..outbound(20)
            }
        ]),
        s
    );
    assert_eq!(
        parent([
            inbound,
            End {
                context: context((1, 9), 3),
                ..outbound(20)
            }
        ]),
        s
    );
    assert_eq!(
        parent([
            inbound,
            End {
                context: context((9, 2), 3),
                ..outbound(20)
            }
        ]),
        s
    );
    assert_eq!(
        parent([
            inbound,
            End {
                context: context((1, 2), 9),
                ..outbound(20)
            }
        ]),
        span_id(9)
    );
    assert_eq!(
        parent([
            inbound,
            End {
                backend: 1,
                ..outbound(20)
            }
        ]),
        s
    );
    // A tracer in between cut the trace id.
    assert_eq!(
        parent([
            inbound,
            End {
                context: context((0, 2), 3),
                ..outbound(20)
            }
        ]),
        inbound_id
    );
}

#[test]
fn a_call_that_outlives_its_inbound_keeps_its_parent() {
    let c = context((1, 2), 3);
    let [_, inbound] = call(1, 2, 1, c, (10, 50));
    let outbound = End::new(Side::Client, 2, 2, c).at(900, 60_000);
    let busy: Vec<End> = (0..60)
        .map(|n| End::new(Side::Server, 7, 100 + n, context((5, u64::from(n) + 1), 6)))
        .zip(1..)
        .map(|(end, n): (End, u64)| end.at(n * 1000, n * 1000 + 1))
        .collect();
    let (places, counters) = in_time(&[&[inbound, outbound], &*busy].concat());
    assert_eq!(places[1].parent, Some(identity(&inbound).second));
    assert_eq!(counters, Counters::default());
}

#[test]
fn forwarding_only_the_request_id_is_enough() {
    let seeded = |end: End| End {
        context: TraceContext::default(),
        seed: Seed::RequestId(77),
        ..end
    };
    let ends = [
        call(1, 2, 1, TraceContext::default(), (10, 50)),
        call(2, 3, 2, TraceContext::default(), (20, 40)),
    ]
    .concat()
    .into_iter()
    .map(seeded)
    .collect::<Vec<_>>();
    let (places, _) = in_time(&ends);
    assert!(places.iter().all(|p| p.trace == places[0].trace));
    assert_eq!(places[0].parent, None);
    assert_eq!(places[1].parent, Some(places[0].id));
    assert_eq!(places[2].parent, Some(places[1].id));
    assert_eq!(places[3].parent, Some(places[2].id));
}

#[test]
fn requests_that_say_nothing_are_traces_of_their_own() {
    let headless = |end: End, n| End {
        context: TraceContext::default(),
        seed: Seed::Head(n),
        ..end
    };
    let [_, inbound] = call(1, 2, 1, TraceContext::default(), (10, 50));
    let [client, server] = call(2, 3, 2, TraceContext::default(), (20, 40));
    let (places, _) = in_time(&[
        headless(inbound, 5),
        headless(client, 6),
        headless(server, 6),
    ]);
    assert_ne!(places[0].trace, places[1].trace);
    assert_eq!(places[1].trace, places[2].trace);
    assert_eq!([places[0].parent, places[1].parent], [None, None]);
    assert_eq!(places[2].parent, Some(places[1].id));
}

#[test]
fn of_several_parents_the_most_recent_is_taken_and_counted() {
    let c = context((1, 2), 3);
    let inbound = |hop, start, end| End::new(Side::Server, 2, hop, c).at(start, end);
    let outbound = End::new(Side::Client, 2, 9, c).at(30, 35);
    let ends = [
        inbound(1, 10, 100),
        inbound(2, 20, 25),
        inbound(3, 31, 90),
        outbound,
    ];
    let (places, counters) = in_time(&ends);
    assert_eq!(places[3].parent, Some(places[1].id));
    assert_eq!(counters.ambiguous, 1);
    // Not when the others cannot have caused it.
    let (places, counters) = in_time(&[inbound(1, 10, 100), inbound(3, 31, 90), outbound]);
    assert_eq!(places[2].parent, Some(places[0].id));
    assert_eq!(counters.ambiguous, 0);
}
