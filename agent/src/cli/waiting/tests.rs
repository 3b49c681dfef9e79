use proptest::prelude::*;

use super::*;
use crate::export::testing;

const SECOND: u64 = 1_000_000_000;

fn beginning(serial: u64, owner: u64) -> Beginning {
    let mut began = testing::typical().exchange.began;
    (began.serial, began.owner) = (serial, OwnerId(owner));
    Beginning {
        began,
        target: Box::default(),
        line: Box::default(),
    }
}

fn end(serial: u64) -> Box<Exchange> {
    let mut exchange = testing::typical().exchange;
    exchange.began.serial = serial;
    exchange
}

/// `bN` for a beginning, `eN` for an end, `!` if it expired.
fn shown(taken: Vec<(Item, Fate)>) -> String {
    let mut text = Vec::new();
    for (item, fate) in taken {
        let mark = if fate == Fate::Expired { "!" } else { "" };
        text.push(match item {
            Item::Began(Beginning { began, .. }) => format!("b{}{mark}", began.serial),
            Item::Finished(exchange) => format!("e{}{mark}", exchange.began.serial),
        });
    }
    text.join(" ")
}

#[test]
fn who_becomes_known_leaves_in_order_and_the_others_stay() {
    let mut waiting = Waiting::default();
    let at = |seconds| MonoNanos(seconds * SECOND);
    assert!(waiting.is_empty() && !waiting.is_due(at(100)));
    assert!(waiting.finished(end(1), at(0)).is_err());
    for (serial, owner) in [(1, 1), (2, 2), (3, 1)] {
        assert!(waiting.began(beginning(serial, owner), at(0)));
    }
    assert!(waiting.finished(end(1), at(1)).is_ok());
    assert!(waiting.finished(end(2), at(1)).is_ok());
    assert!(waiting.finished(end(9), at(1)).is_err());
    assert_eq!(shown(waiting.take(at(2), |_| false)), "");
    let taken = waiting.take(at(2), |began| began.owner == OwnerId(1));
    assert_eq!(shown(taken), "b1 b3 e1");
    // The end of one that has left does not wait.
    assert!(waiting.finished(end(3), at(2)).is_err());
    assert!(waiting.began(beginning(4, 2), at(3)));
    assert!(!waiting.is_due(at(4)) && waiting.is_due(at(5)));
    assert_eq!(shown(waiting.take(at(5), |_| false)), "b2! e2");
    assert!(!waiting.is_due(at(7)));
    assert_eq!(shown(waiting.take(at(8), |_| false)), "b4!");
    assert!(waiting.is_empty());
    assert!(waiting.owners.is_empty() && waiting.serials.is_empty());
}

#[test]
fn one_owner_does_not_take_the_room_of_the_others() {
    let mut waiting = Waiting::new(Limits {
        all: 6,
        one: 4,
        ..Limits::default()
    });
    let now = MonoNanos(0);
    let taken: Vec<bool> = (0..6)
        .map(|n| waiting.began(beginning(n, 1), now))
        .collect();
    assert_eq!(taken, [true, true, true, true, false, false]);
    let taken: Vec<bool> = (6..9)
        .map(|n| waiting.began(beginning(n, n), now))
        .collect();
    assert_eq!(taken, [true, true, false]);
    // A refused owner leaves no trace.
    assert_eq!(waiting.owners.len(), 3);
    assert!(waiting.take(now, |_| true).len() == 6 && waiting.owners.is_empty());
}

proptest! {
    /// Each exchange that was taken in comes out once, its end behind its
    /// beginning, and those of an owner in their order.
    #[test]
    fn nothing_is_lost_or_doubled(
        steps in prop::collection::vec((0_u8..6, 1_u64..4, 0_u64..3), 1..200),
    ) {
        let mut waiting = Waiting::new(Limits { time: 5, all: 20, one: 8 });
        let (mut now, mut serial) = (0, 0);
        let (mut inside, mut out) = (Vec::new(), Vec::new());
        let mut known = [false; 4];
        for (what, owner, time) in steps {
            now += time;
            match what {
                0..=2 if !known[owner as usize] => {
                    serial += 1;
                    if waiting.began(beginning(serial, owner), MonoNanos(now)) {
                        inside.push((serial, owner));
                    }
                }
                3 => {
                    if let Some((serial, _)) = inside.get(time as usize)
                        && let Err(exchange) = waiting.finished(end(*serial), MonoNanos(now))
                    {
                        out.push(Item::Finished(exchange));
                    }
                }
                4 => known[owner as usize] ^= true,
                _ => {
                    let taken = waiting.take(MonoNanos(now), |began| {
                        known[began.owner.0 as usize]
                    });
                    out.extend(taken.into_iter().map(|(item, _)| item));
                }
            }
            prop_assert!(waiting.serials.len() <= 20);
            prop_assert!(waiting.owners.values().all(|count| *count <= 8));
        }
        out.extend(waiting.into_items());
        let mut begun = Vec::new();
        for item in out {
            match item {
                Item::Began(Beginning { began, .. }) => begun.push((began.serial, began.owner.0)),
                Item::Finished(exchange) => {
                    let serial = exchange.began.serial;
                    prop_assert!(begun.iter().any(|(of, _)| *of == serial));
                }
            }
        }
        for owner in 1..4 {
            let of = |all: &[(u64, u64)]| -> Vec<_> {
                all.iter().filter(|(_, of)| *of == owner).copied().collect()
            };
            prop_assert_eq!(of(&begun), of(&inside));
        }
    }
}
