//! What must hold for any bytes: no panic, records that an assembler can rely
//! on, and a ledger that balances.

use rustc_hash::FxHashMap;

use super::{Counters, Drained, Observe, PcapSource};
use crate::capture::{Event, Record};
use crate::units::{Direction, SocketId, TcpSeq};

/// What is known of a socket from its records.
#[derive(Debug, Default)]
struct Seen {
    next: [Option<TcpSeq>; 2],
    ended: [bool; 2],
    closed: bool,
}

/// Body of the fuzz target: reads the bytes as a capture.
///
/// # Panics
///
/// If the records break a promise of [`Record`] or [`Counters`].
pub fn fuzz_pcap(bytes: &[u8]) {
    let mut sockets: FxHashMap<SocketId, Seen> = FxHashMap::default();
    let mut sink = |record: Record<'_>| check(&mut sockets, &record);
    let Ok(mut source) = PcapSource::from_reader(bytes, Observe::Both) else {
        return;
    };
    while let Ok(Drained::More) = source.drain(64, &mut sink) {}
    balanced(&source.counters());
}

fn check(sockets: &mut FxHashMap<SocketId, Seen>, record: &Record<'_>) {
    let seen = match record.event {
        Event::Opened { local, peer, .. } => {
            assert!(
                sockets.insert(record.socket, Seen::default()).is_none(),
                "{:?} opened twice: {local} {peer}",
                record.socket
            );
            return;
        }
        _ => sockets.get_mut(&record.socket),
    };
    assert!(seen.is_some(), "{:?} was not opened", record.socket);
    let Some(seen) = seen else { return };
    assert!(!seen.closed, "{:?} after its end", record.socket);
    match record.event {
        Event::Segment(segment) => {
            let index = usize::from(segment.direction == Direction::Out);
            assert!(segment.len > 0 && segment.head.len() <= segment.len as usize);
            assert!(!seen.ended[index], "data behind the end");
            if let Some(next) = seen.next[index] {
                assert!(!segment.seq.before(next), "bytes come twice");
            }
            seen.next[index] = Some(segment.seq.plus(segment.len));
        }
        Event::Ended { direction, .. } => {
            let ended = &mut seen.ended[usize::from(direction == Direction::Out)];
            assert!(!*ended, "ended twice");
            *ended = true;
        }
        Event::Closed { .. } => seen.closed = true,
        Event::Opened { .. } | Event::Failed { .. } => {}
    }
}

/// The sums that [`Counters`] promises for the end of a capture.
fn balanced(counters: &Counters) {
    let Counters {
        packets,
        tcp,
        link,
        non_ip,
        non_tcp,
        fragments,
        cut,
        malformed,
        payload_bytes,
        delivered_bytes,
        retransmitted_bytes,
        ignored_bytes,
        ..
    } = *counters;
    assert_eq!(
        packets,
        tcp + link + non_ip + non_tcp + fragments + cut + malformed,
        "{counters:?}"
    );
    assert_eq!(
        payload_bytes,
        delivered_bytes + retransmitted_bytes + ignored_bytes,
        "{counters:?}"
    );
}
