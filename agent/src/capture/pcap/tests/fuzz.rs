//! The fuzz target's body on captures that were damaged in many ways.

use super::super::fuzz_pcap;
use super::super::input::Input;
use super::super::reader::{Packet, Reader, Take};
use super::super::tracker::Tracker;
use super::super::write::{Load, generate};
use super::*;

/// Rounds of the smoke run: a second or so without optimisation.
const ROUNDS: u64 = 2_000;

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

/// Captures that are fine, of both formats.
fn seeds() -> Vec<Vec<u8>> {
    let mut small = Vec::new();
    let load = Load {
        connections: 3,
        exchanges: 2,
        parallel: 2,
        body: 20,
        precision: Precision::Nanos,
    };
    generate(&mut small, &load).unwrap();
    let raw: Vec<Vec<u8>> = [
        ip_packets("[fd00::9]:40000", "[fd00::1]:80"),
        ip_packets("10.0.0.9:40000", "10.0.0.1:80"),
    ]
    .concat();
    let mut seeds = vec![small.clone(), Vec::new()];
    for order in [Order::Little, Order::Big] {
        seeds.push(classic(order, 0xa1b2_c3d4, 101, &raw));
        let mut ng = [section(order), interface(order, 1, &[(9, &[0x8a])])].concat();
        let mut rest = &small[24..];
        while let Some(length) = rest.get(8..12) {
            let end = 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
            ng.extend(enhanced(order, 0, 5, &rest[16..end]));
            rest = &rest[end..];
        }
        seeds.push(ng);
    }
    seeds
}

/// Changes some bytes, and cuts, doubles or exchanges a part.
fn mutate(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = seed.to_vec();
    for _ in 0..random.below(6) {
        let length = bytes.len();
        let (from, size) = (random.below(length), random.below(200));
        let to = (from + size).min(length);
        match random.below(6) {
            0 if length > 0 => bytes[from] = random.below(256) as u8,
            1 if length > 0 => bytes[from] ^= 1 << random.below(8),
            2 => drop(bytes.drain(from..to)),
            3 => {
                let part = bytes[from..to].to_vec();
                let place = random.below(length + 1);
                bytes.splice(place..place, part);
            }
            4 => bytes.truncate(from.max(length / 2)),
            _ => bytes[from..to].fill(if size % 2 == 0 { 0 } else { 0xff }),
        }
    }
    bytes
}

/// Mixes whole packets of a capture and changes bytes of their TCP headers, so
/// that more than the reader is met.
fn shuffle(seed: &[u8], random: &mut Random) -> Vec<u8> {
    let (header, mut rest) = seed.split_at(24);
    let mut packets = Vec::new();
    while let Some(length) = rest.get(8..12) {
        let end = 16 + u32::from_le_bytes(length.try_into().unwrap()) as usize;
        packets.push(rest[..end].to_vec());
        rest = &rest[end..];
    }
    let mut bytes = header.to_vec();
    for _ in 0..packets.len() * 2 {
        let mut packet = packets[random.below(packets.len())].clone();
        // Numbers and flags: a little off, or anything.
        let tcp = 16 + 14 + 20;
        match random.below(8) {
            0 => packet[tcp + 7] ^= 1 << random.below(8),
            1 => packet[tcp + 4 + random.below(8)] = random.below(256) as u8,
            2 => packet[tcp + 13] = random.below(256) as u8,
            3 => packet[tcp + 11] ^= 1 << random.below(8),
            _ => {}
        }
        bytes.extend(packet);
    }
    bytes
}

#[test]
fn damaged_captures_never_panic() {
    let seeds = seeds();
    for seed in &seeds {
        fuzz_pcap(seed);
    }
    let mut random = Random(0x5eed);
    for round in 0..ROUNDS {
        let bytes = if round % 2 == 0 {
            let seed = &seeds[random.below(seeds.len())];
            mutate(seed, &mut random)
        } else {
            shuffle(&seeds[0], &mut random)
        };
        fuzz_pcap(&bytes);
    }
}

/// Takes every packet the long way.
struct LongWay<'a> {
    tracker: &'a mut Tracker,
    records: Vec<Kept>,
}

impl Take for LongWay<'_> {
    fn take(&mut self, packet: Packet<'_>) {
        let mut sink = |record: Record<'_>| self.records.push(keep(&record));
        self.tracker.any_packet(&packet, &mut sink);
    }
}

#[test]
fn the_short_way_only_saves_work() {
    let seed = seeds().swap_remove(0);
    let mut random = Random(0x5eed);
    for _ in 0..ROUNDS / 4 {
        let bytes = shuffle(&seed, &mut random);
        let short = read(&bytes, Observe::Both);
        let mut tracker = Tracker::new(Observe::Both);
        let mut long = LongWay {
            tracker: &mut tracker,
            records: Vec::new(),
        };
        let mut reader = Reader::new(Input::new(&bytes[..])).unwrap();
        reader.read(usize::MAX, &mut long).unwrap();
        let mut records = long.records;
        tracker.finish(&mut |record| records.push(keep(&record)));
        assert_eq!(short.records, records);
        assert_eq!(short.counters, tracker.counters());
    }
}

#[test]
fn generated_captures_are_what_they_say() {
    let load = Load::default();
    for precision in [Precision::Micros, Precision::Nanos] {
        let mut capture = Vec::new();
        let exchanges = generate(&mut capture, &Load { precision, ..load }).unwrap();
        assert_eq!(exchanges, u64::from(load.connections * load.exchanges));
        let read = read(&capture, Observe::Server);
        let counters = read.counters;
        assert_eq!(counters.connections, u64::from(load.connections));
        assert_eq!(counters.packets, 4 * exchanges + 6 * counters.connections);
        let of = |letter| read.story().matches(letter).count() as u64;
        assert_eq!((of('i'), of('o')), (exchanges, exchanges));
        assert_eq!((of('O'), of('C')), (16, 16));
        let zero = counters.midway + counters.retransmitted_bytes + counters.holes;
        assert_eq!(zero, 0);
    }
}
