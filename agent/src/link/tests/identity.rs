use super::*;

// The golden values fix the encoding: agents of different versions must agree.
// They were computed by another implementation of SipHash-1-3-128, in Python.
#[test]
fn ids_are_what_they_always_were() {
    let end = End::new(Side::Client, 1, 1, context((0xa1, 0xb2), 0xc3));
    let with_span = identity(&end);
    let without = identity(&End {
        context: TraceContext::default(),
        seed: Seed::Head(0x1122_3344_5566_7788),
        ..end
    });
    let by_request_id = identity(&End {
        context: TraceContext::default(),
        seed: Seed::RequestId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10),
        ..end
    });
    let show = |i: Identity| format!("{} {} {}", i.trace, i.hop, i.second);
    assert_eq!(
        show(with_span),
        "00000000000000a100000000000000b2 7cef6937bcd3f9e8 b04690178f574ac6"
    );
    assert_eq!(
        show(without),
        "407e97c341fc6a7c9370c889a24ff371 02be828463e75efa d3adec6113596044"
    );
    assert_eq!(
        show(by_request_id),
        "25bbe0556fcd934d9b585cdb0748d057 a6942988c0f9b9f4 2529ce3df7c45b8f"
    );
}

#[test]
fn every_part_of_the_identity_counts() {
    let base = End::new(Side::Client, 1, 1, context((1, 2), 3));
    let mut hops = HashSet::from([identity(&base).hop]);
    for other in [
        End {
            context: context((0, 2), 3),
            ..base
        },
        End {
            context: context((1, 3), 3),
            ..base
        },
        End {
            context: context((1, 2), 4),
            ..base
        },
        End { hop: 2, ..base },
    ] {
        assert!(hops.insert(identity(&other).hop), "{other:?}");
    }
    for change in [
        |w: &mut WireId| w.conn.client.0 ^= 1,
        |w: &mut WireId| w.conn.server.0 ^= 1,
        |w: &mut WireId| w.request.0 ^= 1,
    ] {
        let mut began = base.began(0);
        change(&mut began.wire);
        assert!(hops.insert(minter().mint(&began, TraceWidth::Bits128).hop));
    }
    let other_key = Minter::new(IdentityKey::derive(b"0123456789abcdef").unwrap());
    assert!(hops.insert(other_key.mint(&base.began(0), TraceWidth::Bits128).hop));
    // The side does not count: that is the point.
    let server = End {
        side: Side::Server,
        workload: 9,
        ..base
    };
    assert!(!hops.insert(identity(&server).hop));
}

#[test]
fn new_trace_ids_have_the_width_that_is_asked_for() {
    let began = End {
        context: TraceContext::default(),
        seed: Seed::Head(5),
        ..End::new(Side::Client, 1, 1, TraceContext::default())
    }
    .began(0);
    let narrow = minter().mint(&began, TraceWidth::Bits64).trace;
    let wide = minter().mint(&began, TraceWidth::Bits128).trace;
    assert_eq!(narrow.high(), 0);
    assert_ne!(wide.high(), 0);
    assert!(narrow.same_trace(wide));
    // Carried ids keep their width.
    let carried = End::new(Side::Client, 1, 1, context((0, 7), 8)).began(0);
    assert_eq!(
        minter().mint(&carried, TraceWidth::Bits128).trace,
        TraceId::new(0, 7).unwrap()
    );
}

#[test]
fn key_files() {
    assert_eq!(
        IdentityKey::derive(b"short\n"),
        Err(KeyTooShort { found: 5 })
    );
    assert_eq!(
        IdentityKey::derive(b"0123456789abcde\r\n\n"),
        Err(KeyTooShort { found: 15 })
    );
    let key = IdentityKey::derive(b"0123456789abcdef").unwrap();
    assert_eq!(IdentityKey::derive(b"0123456789abcdef\n").unwrap(), key);
    assert_ne!(IdentityKey::derive(b"0123456789abcdeg").unwrap(), key);
    assert_ne!(key, IdentityKey::default());
    assert_eq!(format!("{key:?}"), "IdentityKey(own)");
}

#[test]
fn a_span_ends_after_it_began() {
    let us = |start, end| duration_micros(MonoNanos(start), MonoNanos(end));
    assert_eq!(
        [us(5, 5), us(5, 4), us(0, 1), us(0, 1000), us(0, 1001)],
        [1, 1, 1, 1, 2]
    );
    let clock = ClockOffset(1_700_000_000_000_000_000);
    assert_eq!(clock.micros(MonoNanos(1_999)).0, 1_700_000_000_000_001);
    assert_eq!(ClockOffset(-5).micros(MonoNanos(3)).0, 0);
    assert_eq!(
        ClockOffset(i64::MAX).micros(MonoNanos(u64::MAX)).0,
        i64::MAX.unsigned_abs() / 1000
    );
}
