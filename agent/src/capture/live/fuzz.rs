//! What must hold for any bytes from the ring: no panic, and a record that
//! says what the bytes say, or none if they are none.

use agent_ebpf::{COMM, Kind, RawRecord, Tuple};

use super::ring::decode;
use crate::capture::Event;
use crate::units::{Comm, Direction};

const HEAD: usize = size_of::<RawRecord>();

/// Body of the fuzz target: reads the bytes as a record.
///
/// # Panics
///
/// If the record is not what the bytes are.
pub fn fuzz_record(bytes: &[u8]) {
    let Some(record) = decode(bytes) else {
        assert!(!is_record(bytes), "refused");
        return;
    };
    assert!(is_record(bytes), "made up");
    assert_eq!(record.socket.0, long(bytes, 24));
    assert_eq!(record.owner.0, long(bytes, 32));
    assert_eq!(u64::from(record.pid), long(bytes, 56) >> 32);
    assert_eq!(record.origins.local.0, word(bytes, 16));
    assert_eq!(record.origins.peer.0, word(bytes, 20));
    let exit = long(bytes, 48);
    let out = byte(bytes, 1) == Direction::Out as u8;
    match record.event {
        Event::Segment(segment) => {
            let (head, tail) = lengths(bytes);
            let payload = bytes.get(HEAD..).unwrap_or_default();
            assert_eq!(Some(segment.head), payload.get(..head));
            assert_eq!(Some(segment.tail), payload.get(head..head + tail));
            assert_eq!(segment.seq.0, word(bytes, 4));
            assert_eq!(segment.len, word(bytes, 8));
            assert_eq!(segment.direction == Direction::Out, out);
            assert_eq!(segment.exit.0, exit);
            let entry = long(bytes, 40);
            assert_eq!(segment.entry.0, if entry == 0 { exit } else { entry });
        }
        Event::Opened { local, peer, comm } => {
            assert_eq!(u32::from(local.port), word(bytes, HEAD) >> 16);
            assert_eq!(u32::from(peer.port.to_be()), word(bytes, HEAD + 4) & 0xffff);
            assert_eq!(record.time().0, 0);
            let at = HEAD + size_of::<Tuple>() - COMM;
            let raw = bytes.get(at..at + COMM - 1).unwrap_or_default();
            let end = raw.iter().position(|byte| *byte == 0);
            let name = raw.get(..end.unwrap_or(raw.len())).unwrap_or_default();
            let name = String::from_utf8_lossy(name.trim_ascii_end());
            assert_eq!(comm.as_str_lossy(), name);
            assert_eq!(comm.is_empty(), name.is_empty());
            assert_eq!(
                Comm::new(name.as_bytes()) == comm,
                !name.contains('\u{fffd}')
            );
        }
        Event::Ended { direction, at } => {
            assert_eq!((direction == Direction::Out, at.0), (out, exit));
        }
        Event::Failed {
            direction,
            errno,
            at,
        } => {
            assert!(errno >= 0);
            assert_eq!((direction == Direction::Out, at.0), (out, exit));
        }
        Event::Closed { at } => assert_eq!(at.0, exit),
    }
}

/// Whether these bytes are a record, told from their places alone.
fn is_record(bytes: &[u8]) -> bool {
    let Some(payload) = bytes.get(HEAD..) else {
        return false;
    };
    match byte(bytes, 0) {
        kind if kind == Kind::Segment as u8 => {
            let (head, tail) = lengths(bytes);
            head + tail <= payload.len()
        }
        kind if kind == Kind::Opened as u8 => size_of::<Tuple>() <= payload.len(),
        kind => [Kind::Ended, Kind::Failed, Kind::Closed]
            .iter()
            .any(|one| *one as u8 == kind),
    }
}

/// Of head and tail.
fn lengths(bytes: &[u8]) -> (usize, usize) {
    let both = word(bytes, 12);
    ((both & 0xffff) as usize, (both >> 16) as usize)
}

fn byte(bytes: &[u8], at: usize) -> u8 {
    bytes.get(at).copied().unwrap_or_default()
}

fn word(bytes: &[u8], at: usize) -> u32 {
    (0..4).fold(0, |word, i| {
        word | u32::from(byte(bytes, at + i)) << (8 * i)
    })
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from(word(bytes, at)) | u64::from(word(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use super::*;
    use crate::capture::Record;
    use crate::http::fuzz::Random;
    use crate::units::{MonoNanos, Origins, OwnerId, SocketId, TcpSeq};

    const REQUEST: &[u8] = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n";

    /// The bytes of a record as the kernel side writes it (`RawRecord`).
    fn raw(kind: u8, out: bool, len: u32, head: &[u8], tail: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind, u8::from(out), 0, 0];
        bytes.extend(0xffff_fff0_u32.to_le_bytes());
        bytes.extend(len.to_le_bytes());
        bytes.extend((head.len() as u16).to_le_bytes());
        bytes.extend((tail.len() as u16).to_le_bytes());
        bytes.extend(11_u32.to_le_bytes());
        bytes.extend(22_u32.to_le_bytes());
        let pid_tgid = 77_u64 << 32 | 78;
        for long in [0xffff_8881_0000_1000, 4242, 5000, 6000, pid_tgid] {
            bytes.extend(u64::to_le_bytes(long));
        }
        assert_eq!(bytes.len(), HEAD);
        [&bytes, head, tail].concat()
    }

    fn opened(family: u16, local: &[u8], peer: &[u8]) -> Vec<u8> {
        let mut bytes = raw(1, false, 0, &[], &[]);
        bytes.extend(family.to_le_bytes());
        bytes.extend(8080_u16.to_le_bytes());
        bytes.extend(54321_u16.to_be_bytes());
        bytes.extend([0, 0]);
        for address in [local, peer] {
            bytes.extend(address);
            bytes.extend(vec![0; 16 - address.len()]);
        }
        bytes.extend(*b"curl\0\0\0\0\0\0\0\0\0\0\0\0");
        bytes
    }

    fn seeds() -> Vec<Vec<u8>> {
        let mapped = Ipv4Addr::new(10, 0, 0, 2).to_ipv6_mapped().octets();
        vec![
            raw(2, false, 28, REQUEST, &[]),
            raw(2, true, 100_000, &[b'x'; 128], &[b'y'; 16]),
            raw(2, true, 448, &[b'z'; 448], &[]),
            raw(2, true, 4096, &[b'z'; 4096], &[]),
            raw(3, false, 0, &[], &[]),
            raw(4, true, 104, &[], &[]),
            raw(5, false, 0, &[], &[]),
            opened(2, &[10, 0, 0, 1], &[10, 0, 0, 2]),
            opened(10, &Ipv6Addr::LOCALHOST.octets(), &mapped),
        ]
    }

    fn event(bytes: &[u8]) -> Event<'_> {
        decode(bytes).unwrap().event
    }

    #[test]
    fn a_segment_says_who_when_and_what() {
        let bytes = raw(2, true, 100, REQUEST, b"tail");
        let Record {
            socket,
            origins,
            owner,
            pid,
            event,
        } = decode(&bytes).unwrap();
        assert_eq!(socket, SocketId(0xffff_8881_0000_1000));
        assert_eq!((owner, pid), (OwnerId(4242), 77));
        let expected = Origins {
            local: TcpSeq(11),
            peer: TcpSeq(22),
            exact: false,
            known: true,
        };
        assert_eq!(origins, expected);
        let Event::Segment(segment) = event else {
            panic!("{event:?}");
        };
        assert_eq!((segment.head, segment.tail), (REQUEST, &b"tail"[..]));
        assert_eq!((segment.seq, segment.len), (TcpSeq(0xffff_fff0), 100));
        assert_eq!(segment.direction, Direction::Out);
        assert_eq!(segment.entry, MonoNanos(5000));
        assert_eq!(segment.exit, MonoNanos(6000));
    }

    #[test]
    fn an_unknown_entry_is_the_exit() {
        let mut bytes = raw(2, false, 28, REQUEST, &[]);
        bytes[40..48].fill(0);
        let Event::Segment(segment) = event(&bytes) else {
            panic!("no segment");
        };
        assert_eq!(segment.entry, MonoNanos(6000));
        assert_eq!(segment.direction, Direction::In);
    }

    #[test]
    fn other_kinds_say_what_happened() {
        let at = MonoNanos(6000);
        let bytes = raw(3, true, 0, &[], &[]);
        assert!(matches!(
            event(&bytes),
            Event::Ended { direction: Direction::Out, at: its } if its == at
        ));
        let bytes = raw(4, true, 104, &[], &[]);
        assert!(matches!(
            event(&bytes),
            Event::Failed { direction: Direction::Out, errno: 104, at: its } if its == at
        ));
        let bytes = raw(5, true, 0, &[], &[]);
        assert!(matches!(event(&bytes), Event::Closed { at: its } if its == at));
    }

    #[test]
    fn addresses_are_told_apart() {
        let bytes = opened(2, &[10, 0, 0, 1], &[10, 0, 0, 2]);
        let Event::Opened { local, peer, comm } = event(&bytes) else {
            panic!("not opened");
        };
        assert_eq!(local.to_string(), "10.0.0.1:8080");
        assert_eq!(peer.to_string(), "10.0.0.2:54321");
        assert_eq!(comm.as_str_lossy(), "curl");
        let seeds = seeds();
        let Event::Opened { local, peer, .. } = event(&seeds[8]) else {
            panic!("not opened");
        };
        assert_eq!(local.to_string(), "[::1]:8080");
        assert_eq!(peer.to_string(), "10.0.0.2:54321", "mapped is IPv4");
    }

    #[test]
    fn a_name_ends_at_its_zero_or_with_its_room() {
        let mut bytes = opened(2, &[10, 0, 0, 1], &[10, 0, 0, 2]);
        let mut named = |name: &[u8; COMM]| {
            let at = bytes.len() - COMM;
            bytes[at..].copy_from_slice(name);
            let Event::Opened { comm, .. } = event(&bytes) else {
                panic!("not opened");
            };
            comm.as_str_lossy().into_owned()
        };
        assert_eq!(named(b"fifteen bytes..\0"), "fifteen bytes..");
        assert_eq!(named(b"without a zero.."), "without a zero.");
        // What an older, longer name has left behind.
        assert_eq!(named(b"sh\0er-name\0\0\0\0\0\0"), "sh");
        assert_eq!(
            named(b"\xff\xfe\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
            "\u{fffd}\u{fffd}"
        );
        assert_eq!(named(&[0; COMM]), "");
    }

    #[test]
    fn what_is_cut_or_unknown_is_no_record() {
        for seed in seeds() {
            assert!(decode(&seed).is_some());
            let least = match seed[0] {
                1 | 2 => seed.len(),
                _ => HEAD,
            };
            for len in 0..least {
                assert!(decode(&seed[..len]).is_none());
            }
            // The ring pads records; what is behind them is not theirs.
            let padded = [&seed[..], &[0xee; 7]].concat();
            assert!(decode(&padded).is_some());
        }
        for kind in [0, 6, 255] {
            assert!(decode(&raw(kind, false, 0, &[], &[])).is_none());
        }
    }

    #[test]
    fn damaged_records_never_panic() {
        let seeds = seeds();
        let mut random = Random::new(0x41c);
        for _ in 0..20_000 {
            let mut bytes = seeds[random.below(seeds.len())].clone();
            for _ in 0..random.below(6) {
                if bytes.is_empty() {
                    break;
                }
                let at = random.below(bytes.len());
                match random.below(5) {
                    0 => bytes.truncate(at),
                    1 => bytes[at] ^= 1 << random.below(8),
                    2 => bytes[at] = random.next() as u8,
                    3 => bytes[0] = random.below(7) as u8,
                    // The lengths.
                    _ => bytes[at.min(12 + random.below(4))] = random.next() as u8,
                }
            }
            fuzz_record(&bytes);
        }
    }
}
