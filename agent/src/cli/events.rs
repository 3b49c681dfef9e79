//! What the stages count themselves, brought into the ledger.

use crate::assemble;
use crate::ledger::{Dropped, Event, Ledger};
use crate::link;

/// The assembler's numbers; what is not an event has an account elsewhere.
pub(super) fn assembled(counters: &assemble::Counters, ledger: &Ledger) {
    let assemble::Counters {
        records: _,
        repeated: _,
        requests: _,
        responses: _,
        began: _,
        finished: _,
        lost,
        expired,
        heads_lenient,
        heads_too_long,
        heads_lost,
        heads_cut,
        heads_no_room,
        not_a_start,
        starts_unseen,
        gaps,
        chunks_lost,
        responses_unasked,
        doubts,
        picked_up,
        // Counted for each workload when they are recognised.
        tls: _,
        http2: _,
        upgraded: _,
        other: _,
        reused,
        evicted,
        idle,
        commands_dropped,
    } = *counters;
    for (event, count) in [
        (Event::ExchangeLost, lost),
        (Event::Expired, expired),
        (Event::LenientHead, heads_lenient),
        (Event::HeadTooLong, heads_too_long),
        (Event::HeadLost, heads_lost),
        (Event::HeadCut, heads_cut),
        (Event::HeadNoRoom, heads_no_room),
        (Event::NotAStart, not_a_start),
        (Event::HiddenMessage, starts_unseen),
        (Event::Gap, gaps),
        (Event::ChunksLost, chunks_lost),
        (Event::UnaskedResponse, responses_unasked),
        (Event::Doubt, doubts),
        (Event::PickedUp, picked_up),
        (Event::ReusedSocket, reused),
        (Event::ConnectionEvicted, evicted),
        (Event::ConnectionIdle, idle),
        (Event::CommandDropped, commands_dropped),
    ] {
        ledger.events.set(event, count);
    }
}

/// The agent stops: exchanges that are not over yield no span, and are
/// accounted for here.
pub(super) fn unfinished(counters: &assemble::Counters, ledger: &Ledger) {
    let open = counters.began.saturating_sub(counters.finished);
    ledger.exchanges.observed.add(open);
    ledger.exchanges.dropped.add(Dropped::Shutdown, open);
}

/// The linker's numbers.
pub(super) fn linked(counters: link::Counters, ledger: &Ledger) {
    let link::Counters {
        ambiguous,
        late_halves,
        // Counted as dropped.
        refused: _,
        forgotten,
        unclaimed_forgotten,
        crowded_out,
    } = counters;
    ledger.events.set(Event::AmbiguousParent, ambiguous);
    ledger.events.set(Event::LateHalf, late_halves);
    let for_room = forgotten + unclaimed_forgotten + crowded_out;
    ledger.events.set(Event::LinkForgotten, for_room);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_the_stages_are_in_the_ledger() {
        let ledger = Ledger::new();
        let counters = assemble::Counters {
            began: 5,
            finished: 3,
            heads_lenient: 7,
            starts_unseen: 8,
            ..assemble::Counters::default()
        };
        // They are totals: told twice, they count once.
        assembled(&counters, &ledger);
        assembled(&counters, &ledger);
        assert_eq!(ledger.events.get(Event::LenientHead), 7);
        assert_eq!(ledger.events.get(Event::HiddenMessage), 8);
        let linker = link::Counters {
            ambiguous: 2,
            crowded_out: 1,
            forgotten: 3,
            ..link::Counters::default()
        };
        linked(linker, &ledger);
        assert_eq!(ledger.events.get(Event::AmbiguousParent), 2);
        assert_eq!(ledger.events.get(Event::LinkForgotten), 4);
        unfinished(&counters, &ledger);
        assert_eq!(ledger.exchanges.dropped.get(Dropped::Shutdown), 2);
        ledger.balance().unwrap();
    }
}
