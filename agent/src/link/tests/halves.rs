use super::*;

#[test]
fn halves_of_a_hop_join() {
    for shared in [false, true] {
        let c = context((1, 2), 3);
        let ends = call(1, 2, 1, c, (10, 20)).map(|end| End { shared, ..end });
        let (places, _) = in_time(&ends);
        let ids = identity(&ends[0]);
        let client = Place {
            trace: ids.trace,
            id: ids.hop,
            parent: Some(span_id(3)),
            shared: false,
        };
        assert_eq!(places[0], client);
        assert_eq!(
            places[1],
            if shared {
                Place {
                    shared: true,
                    ..client
                }
            } else {
                Place {
                    id: ids.second,
                    parent: Some(ids.hop),
                    ..client
                }
            }
        );
    }
}

#[test]
fn halves_without_the_other_stand_alone() {
    let [client, server] = call(1, 2, 1, context((1, 2), 3), (10, 20));
    let ids = identity(&server);
    for shared in [false, true] {
        let (places, _) = in_time(&[End { shared, ..server }]);
        assert_eq!(
            (places[0].id, places[0].parent, places[0].shared),
            (ids.second, Some(span_id(3)), false)
        );
        let (places, _) = in_time(&[End { shared, ..client }]);
        assert_eq!(
            (places[0].id, places[0].parent, places[0].shared),
            (ids.hop, Some(span_id(3)), false)
        );
    }
    // Without context: a root.
    let root = End {
        context: TraceContext::default(),
        seed: Seed::Head(1),
        ..server
    };
    let (places, _) = in_time(&[root]);
    assert_eq!(
        (places[0].id, places[0].parent),
        (identity(&root).second, None)
    );
}

#[test]
fn halves_of_different_backends_stand_alone() {
    let [client, server] = call(1, 2, 1, context((1, 2), 3), (10, 20));
    let (places, _) = in_time(&[
        client,
        End {
            backend: 1,
            shared: true,
            ..server
        },
    ]);
    assert_eq!(
        (places[1].parent, places[1].shared),
        (Some(span_id(3)), false)
    );
}

#[test]
fn a_peer_on_another_node_can_be_known_to_be_observed() {
    let [_, server] = call(1, 2, 1, context((1, 2), 3), (10, 20));
    let mut linker = linker();
    let began = server.began(0);
    let decided = Decided {
        peer_observed: true,
        ..server.decided()
    };
    linker.began(&began, identity(&server), decided).unwrap();
    linker.finished(server.exchange(0)).unwrap();
    let mut parent = None;
    linker.flush(|linked| parent = linked.span.parent);
    assert_eq!(parent, Some(identity(&server).hop));
}

#[test]
fn a_server_that_reads_late_still_joins() {
    let [client, server] = call(1, 2, 1, context((1, 2), 3), (10, 20));
    let (places, _) = in_time(&[client, server.at(9_000, 9_001)]);
    assert_eq!(places[1].parent, Some(places[0].id));
}

#[test]
fn a_client_whose_send_blocks_still_joins() {
    // The record of a large POST comes when its send returns.
    let [client, server] = call(1, 2, 1, context((1, 2), 3), (10, 5_000));
    let (places, counters) = run(&[client, server], |n, end| {
        if n == 0 && !end { 4_000 * MS } else { 0 }
    });
    assert_eq!(places[1].unwrap().parent, Some(places[0].unwrap().id));
    assert_eq!(counters.late_halves, 0);
}

#[test]
fn halves_are_waited_for_as_long_as_they_have_been_late() {
    // Tasks that are preempted inside their sends, longer and longer; then,
    // after quiet, none is waited for longer than it takes.
    let late = [60, 200, 700];
    let mut ends = Vec::new();
    for n in 0..late.len() as u64 {
        let at = 10 + n * 2_000;
        let context = context((1, n + 2), 3);
        ends.extend(call(1, 2, n as u32 + 1, context, (at, at + 20)));
    }
    let delay = |n: usize, _| {
        if n.is_multiple_of(2) {
            late[n / 2] * MS
        } else {
            0
        }
    };
    let (places, counters) = run(&ends, delay);
    for halves in places.chunks(2) {
        assert_eq!(halves[1].unwrap().parent, Some(halves[0].unwrap().id));
    }
    assert_eq!(counters.late_halves, 0);
    let (places, _) = run(&ends[4..], |n, end| delay(n + 4, end));
    assert_eq!(places[1].unwrap().parent, Some(span_id(3)));
}

#[test]
fn a_half_that_comes_too_late_changes_no_id_that_was_used() {
    let c = context((1, 2), 3);
    let [client, server] = call(1, 2, 1, c, (10, 5_000));
    let child = End::new(Side::Client, 2, 2, c).at(20, 30);
    let (places, counters) = run(&[client, server, child], |n, end| {
        if n == 0 && !end { 4_000 * MS } else { 0 }
    });
    assert_eq!(places[2].unwrap().parent, Some(places[1].unwrap().id));
    assert_eq!(places[1].unwrap().parent, Some(span_id(3)));
    assert_eq!(counters.late_halves, 1);
}

#[test]
fn what_is_abandoned_is_no_parent_and_no_half() {
    let c = context((1, 2), 3);
    let [client, server] = call(1, 2, 1, c, (10, 50));
    let child = End::new(Side::Client, 2, 2, c).at(20, 30);
    let mut linker = linker();
    for (serial, end) in [client, server, child].iter().enumerate() {
        linker
            .began(&end.began(serial as u64), identity(end), end.decided())
            .unwrap();
    }
    assert!(linker.abandon(1));
    assert!(!linker.abandon(1));
    assert!(linker.finished(server.exchange(1)).is_err());
    linker.finished(child.exchange(2)).unwrap();
    let mut parents = Vec::new();
    linker.advance(MonoNanos(500 * MS), |linked| {
        parents.push(linked.span.parent);
    });
    assert_eq!(parents, [Some(span_id(3))]);
    assert!(linker.abandon(0));
    linker.advance(MonoNanos(60_000 * MS), |_| panic!("nothing is left"));
    assert!(linker.is_clean());
}

#[test]
fn room_is_bounded_and_counted() {
    let limits = Limits {
        exchanges: 3,
        unclaimed: 2,
    };
    let mut linker = Linker::new(Timing::default(), limits, ClockOffset(0));
    let end = |n: u32| End::new(Side::Server, 2, n, context((1, u64::from(n)), 3)).at(10, 20);
    for n in 1..=3 {
        linker
            .began(&end(n).began(n.into()), identity(&end(n)), end(n).decided())
            .unwrap();
    }
    let refused = linker.began(&end(4).began(4), identity(&end(4)), end(4).decided());
    assert_eq!(refused, Err(Full { held: 3 }));
    assert!(linker.finished(end(4).exchange(4)).is_err());
    linker.finished(end(1).exchange(1)).unwrap();
    let mut spans = 0;
    linker.advance(MonoNanos(130 * MS), |_| spans += 1);
    assert_eq!((spans, linker.held()), (1, 3), "a possible parent is kept");
    linker
        .began(&end(5).began(5), identity(&end(5)), end(5).decided())
        .unwrap();
    assert_eq!(
        (linker.counters().refused, linker.counters().forgotten),
        (1, 1)
    );
    assert_eq!(linker.flush(|_| ()), 3);
}

#[test]
fn a_load_generator_that_repeats_its_headers_is_no_burden() {
    let c = context((1, 2), 3);
    let ends: Vec<End> = (0..2000)
        .map(|n| {
            match n % 2 {
                0 => End::new(Side::Server, 2, n, c),
                _ => End::new(Side::Client, 2, n, c),
            }
            .at(10 + u64::from(n / 10), 12 + u64::from(n / 10))
        })
        .collect();
    let (places, counters) = in_time(&ends);
    let ids: HashSet<_> = places.iter().map(|p| p.id).collect();
    assert_eq!(ids.len(), ends.len());
    assert!(
        places
            .iter()
            .skip(1)
            .step_by(2)
            .all(|p| ids.contains(&p.parent.unwrap()))
    );
    assert!(counters.crowded_out > 900, "{counters:?}");
}
