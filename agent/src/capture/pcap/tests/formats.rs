//! Files: both formats, byte orders, clocks, damage.

use std::io::Write as _;

use super::*;

/// Frames of a request and a response.
fn frames() -> Vec<Vec<u8>> {
    ethernet(ip_packets("10.0.0.9:40000", "10.0.0.1:80"))
}

fn ethernet(packets: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    packets
        .into_iter()
        .map(|packet| [&[0; 12][..], &[0x08, 0x00], &packet].concat())
        .collect()
}

fn times(read: &Read) -> Vec<u64> {
    read.records
        .iter()
        .filter_map(|record| match record.what {
            What::Data { at, .. } => Some(at),
            _ => None,
        })
        .collect()
}

#[track_caller]
fn assert_whole(read: &Read) {
    assert_eq!(read.bytes(Direction::In).as_bytes(), REQUEST);
    assert_eq!(read.bytes(Direction::Out).as_bytes(), RESPONSE);
    assert!(!read.truncated);
}

#[test]
fn all_four_magics() {
    for order in [Order::Little, Order::Big] {
        for (magic, unit) in [(0xa1b2_c3d4, 1000), (0xa1b2_3c4d, 1)] {
            let read = read(&classic(order, magic, 1, &frames()), Observe::Server);
            assert_whole(&read);
            let fraction = 7 * unit;
            assert_eq!(
                times(&read),
                [1_000_000_000 + fraction, 2_000_000_000 + fraction]
            );
        }
    }
}

#[test]
fn frame_check_sequence_bits_of_the_link_type_are_passed_over() {
    let file = classic(Order::Little, 0xa1b2_c3d4, 0x2400_0001, &frames());
    assert_whole(&read(&file, Observe::Server));
}

#[test]
fn pcapng_in_both_orders_and_several_sections() {
    let frames = frames();
    for (first, second) in [
        (Order::Little, Order::Big),
        (Order::Big, Order::Little),
        (Order::Big, Order::Big),
    ] {
        let file = [
            section(first),
            block(first, 0x0bad, b"unknown"),
            interface(first, 113, &[]),
            interface(first, 1, &[(2, b"eth0"), (9, &[9])]),
            enhanced(first, 1, 5_000_000_001, &frames[0]),
            section(second),
            interface(second, 1, &[]),
            block(second, 5, &[0; 12]),
            enhanced(second, 0, 6_000_000, &frames[1]),
        ]
        .concat();
        let read = read(&file, Observe::Server);
        assert_whole(&read);
        assert_eq!(times(&read), [5_000_000_001, 6_000_000_000]);
    }
}

#[test]
fn timestamp_resolutions_and_offsets() {
    let frames = frames();
    let order = Order::Little;
    let hundred = 100_i64.to_le_bytes();
    let before = (-1_i64).to_le_bytes();
    let options: [(&[BlockOption<'_>], u64, u64); 7] = [
        (&[], 1_500_000, 1_500_000_000),
        (&[(9, &[3])], 1_500, 1_500_000_000),
        (&[(9, &[0x81])], 3, 1_500_000_000),
        (&[(9, &[0x80 | 32])], 3 << 31, 1_500_000_000),
        (&[(9, &[6]), (14, &hundred)], 1_500_000, 101_500_000_000),
        (&[(9, &[9]), (14, &before)], 1_500_000_000, 500_000_000),
        // Smaller than any number can count.
        (&[(9, &[127])], u64::MAX, 0),
    ];
    for (options, time, nanos) in options {
        let file = [
            section(order),
            interface(order, 1, options),
            enhanced(order, 0, time, &frames[0]),
        ]
        .concat();
        assert_eq!(times(&read(&file, Observe::Server)), [nanos], "{options:?}");
    }
}

#[test]
fn simple_and_obsolete_packet_blocks() {
    let frames = frames();
    for order in [Order::Little, Order::Big] {
        let len = frames[0].len() as u32;
        let mut old = order.half(0).to_vec();
        old.extend(order.half(0xffff));
        old.extend(order.words(&[0, 1_000_000, len, len]));
        old.extend(&frames[0]);
        let mut simple = order.word(frames[1].len() as u32).to_vec();
        simple.extend(&frames[1]);
        let file = [
            section(order),
            interface(order, 1, &[]),
            block(order, 2, &old),
            block(order, 3, &simple),
        ]
        .concat();
        let read = read(&file, Observe::Server);
        assert_whole(&read);
        // A simple packet has no time of its own.
        assert_eq!(times(&read), [1_000_000_000, 1_000_000_000]);
    }
}

#[test]
fn packets_of_unknown_interfaces_are_counted() {
    let order = Order::Little;
    let file = [
        section(order),
        interface(order, 147, &[]),
        enhanced(order, 0, 0, &frames()[0]),
        enhanced(order, 7, 0, &frames()[0]),
    ]
    .concat();
    let read = read(&file, Observe::Server);
    assert_eq!((read.counters.packets, read.counters.link), (2, 2));
}

#[test]
fn what_is_not_a_capture_says_so() {
    let classic = classic(Order::Little, 0xa1b2_c3d4, 1, &frames());
    let ng = section(Order::Big);
    let ethernet_to_usb = |mut file: Vec<u8>| {
        file[20] = 220;
        file
    };
    let cases: [(&[u8], &str); 9] = [
        (b"", "the file is empty"),
        (b"ab", "the file ends inside its header"),
        (&classic[..23], "the file ends inside its header"),
        (&ng[..20], "the file ends inside its header"),
        (&ng[..30], "the file ends inside its header"),
        (
            b"GET / HTTP/1.1\r\n\r\n        ",
            "not a pcap or pcapng file (it begins with 0x47455420)",
        ),
        (
            &[0x1f, 0x8b, 8, 0, 0, 0],
            "the capture is compressed: unpack it first",
        ),
        (
            &ethernet_to_usb(classic.clone()),
            "link type 220 is not supported (Ethernet, Linux cooked, raw IP and loopback are)",
        ),
        (
            &[&classic[..4], &[9, 0, 1, 0], &classic[8..]].concat(),
            "version 9.1 of the file format is not supported",
        ),
    ];
    for (file, message) in cases {
        let error = try_read(file, Observe::Server).err().unwrap();
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_last_record_cut_short_is_a_warning() {
    let order = Order::Little;
    let frames = frames();
    let classic = classic(order, 0xa1b2_c3d4, 1, &frames);
    let ng = [
        section(order),
        interface(order, 1, &[]),
        enhanced(order, 0, 0, &frames[0]),
        enhanced(order, 0, 0, &frames[1]),
    ]
    .concat();
    for (file, first) in [
        (&classic, 24 + 16 + frames[0].len()),
        (&ng, ng.len() - enhanced(order, 0, 0, &frames[1]).len()),
    ] {
        for cut in first..=file.len() {
            let read = read(&file[..cut], Observe::Server);
            assert_eq!(read.bytes(Direction::In).as_bytes(), REQUEST);
            assert_eq!(read.truncated, cut != first && cut != file.len(), "{cut}");
        }
    }
}

#[test]
fn damage_is_an_error_after_what_came_before() {
    let mut file = classic(Order::Little, 0xa1b2_c3d4, 1, &frames());
    let offset = 24 + 16 + frames()[0].len();
    file[offset + 8..offset + 12].copy_from_slice(&[0xff; 4]);
    let mut records = Vec::new();
    let mut source = PcapSource::from_reader(&file[..], Observe::Server).unwrap();
    let mut sink = |record: Record<'_>| records.push(keep(&record));
    let error = source.drain(100, &mut sink).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("damaged at byte {offset}: a packet of impossible length")
    );
    let end = source.drain(100, &mut sink).unwrap();
    assert_eq!(end, Drained::End { truncated: true });
    assert_eq!(records.len(), 2);
}

#[test]
fn pcapng_blocks_that_contradict_themselves_are_damage() {
    let order = Order::Little;
    let head = [section(order), interface(order, 1, &[])].concat();
    let good = enhanced(order, 0, 0, &frames()[0]);
    let patched = |at: usize, value: u32| {
        let mut block = good.clone();
        block[at..at + 4].copy_from_slice(&value.to_le_bytes());
        [&head[..], &block].concat()
    };
    for (file, what) in [
        (patched(4, 8), "a block of impossible length"),
        (patched(4, 33), "a block of impossible length"),
        (patched(4, 1 << 30), "a block of impossible length"),
        (
            patched(good.len() - 4, 12),
            "a block whose two lengths differ",
        ),
        (patched(8 + 12, 60_000), "a packet longer than its block"),
    ] {
        let error = try_read(&file, Observe::Server).err().unwrap().to_string();
        assert!(error.ends_with(what), "{error}");
    }
}

#[test]
fn a_reader_that_gives_single_bytes() {
    struct Slow<'a>(&'a [u8]);
    impl std::io::Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else {
                return Ok(0);
            };
            buffer[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }
    let file = classic(Order::Little, 0xa1b2_c3d4, 1, &frames());
    let mut count = 0;
    let mut source = PcapSource::from_reader(Slow(&file), Observe::Server).unwrap();
    let end = source.drain(10, &mut |_| count += 1).unwrap();
    assert_eq!((end, count), (Drained::End { truncated: false }, 3));
}

#[test]
fn a_pipe_gives_what_it_has_and_says_so() {
    let order = Order::Little;
    let frames = frames();
    let ng = frames.iter().map(|frame| enhanced(order, 0, 0, frame));
    let ng = [section(order), interface(order, 1, &[])]
        .into_iter()
        .chain(ng)
        .collect::<Vec<_>>()
        .concat();
    for file in [classic(order, 0xa1b2_c3d4, 1, &frames), ng] {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
        let fifo = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &path, fifo, mode, 0).unwrap();
        let mut writer = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        // All but a piece of the last record.
        let (first, rest) = file.split_at(file.len() - 5);
        writer.write_all(first).unwrap();
        let mut source = PcapSource::open(&path, Observe::Server).unwrap();
        assert!(source.pipe().is_some());
        let mut count = 0;
        let mut sink = |_: Record<'_>| count += 1;
        assert_eq!(source.drain(100, &mut sink).unwrap(), Drained::Dry);
        writer.write_all(rest).unwrap();
        assert_eq!(source.drain(100, &mut sink).unwrap(), Drained::Dry);
        drop(writer);
        let end = source.drain(100, &mut sink).unwrap();
        assert_eq!((end, count), (Drained::End { truncated: false }, 3));
        // A file has all that it will ever have.
        std::fs::write(path.with_extension("file"), &file).unwrap();
        let mut source = PcapSource::open(&path.with_extension("file"), Observe::Server).unwrap();
        assert!(source.pipe().is_none());
        let end = source.drain(100, &mut |_| {}).unwrap();
        assert_eq!(end, Drained::End { truncated: false });
    }
}
