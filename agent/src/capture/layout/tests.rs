//! Extracts of four kernels against what is known of them.
//!
//! The numbers agree with those that bpftool reads from the same kernels.

use super::*;

/// An extract from `tests/data/btf`, which `cargo xtask gen btf` writes.
pub(in crate::capture) fn extract(kernel: &str) -> Vec<u8> {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/data/btf");
    std::fs::read(format!("{dir}/{kernel}.btf")).unwrap()
}

fn resolve(blob: &[u8]) -> Result<Kernel, LayoutError> {
    Kernel::resolve(&Btf::parse(blob).unwrap())
}

/// What all four kernels have in common, and zeros.
const COMMON: Layout = Layout {
    version: LAYOUT_VERSION,
    msg_iter: 16,
    iter_kind: 0,
    iter_kind_mask: 0xff,
    iter_iovec: 0,
    iter_ubuf: 0,
    iter_offset: 8,
    iter_pointer: 0,
    iter_segments: 32,
    write_seq: 0,
    copied_seq: 0,
    rcv_nxt: 0,
    bytes_received: 0,
    snd_una: 0,
    bytes_acked: 0,
    flags: 96,
    flag_done: 2,
    dport: 12,
    family: 16,
    daddr: 0,
    saddr: 4,
    daddr6: 56,
    saddr6: 72,
    task_flags: 44,
    task_leader: 0,
    task_comm: 0,
    sock_cgroup: 0,
    cgroup_kn: 0,
    kn_id: 0,
    protocol: 0,
    skb_sock: 24,
    skb_seq: 40,
};

#[test]
fn kernel_5_10() {
    let expected = Kernel {
        layout: Layout {
            iter_kind_mask: 0xffff_fffe,
            iter_iovec: 4,
            iter_ubuf: NONE,
            iter_pointer: 24,
            write_seq: 1804,
            copied_seq: 1420,
            rcv_nxt: 1416,
            bytes_received: 1400,
            snd_una: 1460,
            bytes_acked: 1448,
            task_flags: 36,
            task_leader: 2296,
            task_comm: 2736,
            sock_cgroup: 664,
            cgroup_kn: 248,
            kn_id: 104,
            protocol: 540,
            ..COMMON
        },
        recvmsg_arity: 6,
        recvmsg_flags: 4,
        // The extracts do not hold these; their ids would be others' anyway.
        preempt: None,
        sendpage: true,
        past: vec![
            "__tcp_bpf_recvmsg",
            "tcp_bpf_sendmsg",
            "tcp_set_ulp",
            "tcp_splice_read",
        ],
    };
    assert_eq!(resolve(&extract("5.10")), Ok(expected));
}

#[test]
fn kernel_6_1() {
    let expected = Kernel {
        layout: Layout {
            iter_iovec: 0,
            iter_ubuf: 6,
            iter_pointer: 24,
            write_seq: 1852,
            copied_seq: 1468,
            rcv_nxt: 1464,
            bytes_received: 1448,
            snd_una: 1508,
            bytes_acked: 1496,
            task_leader: 2480,
            task_comm: 2976,
            sock_cgroup: 648,
            cgroup_kn: 248,
            kn_id: 104,
            protocol: 516,
            ..COMMON
        },
        recvmsg_arity: 5,
        recvmsg_flags: 3,
        // The extracts do not hold these; their ids would be others' anyway.
        preempt: None,
        sendpage: true,
        past: PAST[1..].to_vec(),
    };
    assert_eq!(resolve(&extract("6.1")), Ok(expected));
}

#[test]
fn kernel_6_12() {
    let expected = Kernel {
        layout: Layout {
            iter_iovec: 1,
            iter_ubuf: 0,
            iter_pointer: 16,
            write_seq: 1636,
            copied_seq: 1520,
            rcv_nxt: 1712,
            bytes_received: 1784,
            snd_una: 1720,
            bytes_acked: 1840,
            task_leader: 2496,
            task_comm: 2976,
            sock_cgroup: 672,
            cgroup_kn: 256,
            kn_id: 96,
            protocol: 574,
            ..COMMON
        },
        recvmsg_arity: 5,
        recvmsg_flags: 3,
        // The extracts do not hold these; their ids would be others' anyway.
        preempt: None,
        sendpage: false,
        past: PAST[1..].to_vec(),
    };
    assert_eq!(resolve(&extract("6.12")), Ok(expected));
}

#[test]
fn kernel_7() {
    let expected = Kernel {
        layout: Layout {
            iter_iovec: 1,
            iter_ubuf: 0,
            iter_pointer: 16,
            write_seq: 1668,
            copied_seq: 1504,
            rcv_nxt: 1768,
            bytes_received: 1864,
            snd_una: 1776,
            bytes_acked: 1608,
            task_leader: 2936,
            task_comm: 3408,
            sock_cgroup: 688,
            cgroup_kn: 296,
            kn_id: 96,
            protocol: 540,
            ..COMMON
        },
        recvmsg_arity: 4,
        recvmsg_flags: 3,
        // The extracts do not hold these; their ids would be others' anyway.
        preempt: None,
        sendpage: false,
        past: PAST[1..].to_vec(),
    };
    assert_eq!(resolve(&extract("7")), Ok(expected));
}

#[test]
fn another_reader_takes_the_extracts() {
    for kernel in ["5.10", "6.1", "6.12", "7"] {
        let blob = extract(kernel);
        aya::Btf::parse(&blob, aya::Endianness::Little).unwrap();
    }
}

#[test]
fn a_skeleton_keeps_the_ids_of_functions() {
    let extracted = extract("7");
    let whole = Btf::parse(&extracted).unwrap();
    let functions = ["tcp_sendmsg", "tcp_close", "no_such_function", "tcp_close"];
    let blob = whole.skeleton(&functions);
    aya::Btf::parse(&blob, aya::Endianness::Little).unwrap();
    let ours = Btf::parse(&blob).unwrap();
    for name in ["tcp_sendmsg", "tcp_close"] {
        assert_eq!(ours.function_id(name), whole.function_id(name));
        assert!(ours.has_function(name));
    }
    assert!(!ours.has_function("no_such_function"));
    assert!(!ours.has_function("tcp_recvmsg"));
    let none = whole.skeleton(&[]);
    assert!(!Btf::parse(&none).unwrap().has_function("tcp_close"));
    aya::Btf::parse(&none, aya::Endianness::Little).unwrap();
}

/// An extract in which everything of one name has another.
fn renamed(kernel: &str, name: &str, other: &str) -> Vec<u8> {
    assert_eq!(name.len(), other.len());
    let mut blob = extract(kernel);
    let whole = format!("\0{name}\0");
    let at = blob
        .windows(whole.len())
        .position(|bytes| bytes == whole.as_bytes())
        .unwrap();
    blob[at + 1..=at + name.len()].copy_from_slice(other.as_bytes());
    blob
}

#[test]
fn what_a_kernel_lacks_is_named() {
    for (name, other, says) in [
        ("write_seq", "write_xxx", "no member `tcp_sock.write_seq`"),
        ("iov_iter", "iov_xxxx", "no struct `iov_iter`"),
        ("ITER_IOVEC", "ITER_XXXXX", "no enumerator `ITER_IOVEC`"),
        ("tcp_close", "tcp_xxxxx", "no function `tcp_close`"),
        ("__iov", "__xxx", "no member `iov_iter.iov`"),
        ("iter_type", "iter_xxxx", "no member `iov_iter.type`"),
    ] {
        let error = resolve(&renamed("6.12", name, other)).unwrap_err();
        assert_eq!(error.to_string(), format!("this kernel's BTF has {says}"));
    }
}

#[test]
fn what_a_kernel_may_lack_is_not_missed() {
    let whole = resolve(&extract("6.1")).unwrap();
    for (name, other, change) in [
        (
            "ITER_UBUF",
            "ITER_XXXX",
            (|k| k.layout.iter_ubuf = NONE) as fn(&mut Kernel),
        ),
        ("skc_v6_daddr", "skc_v6_xxxxx", |k| k.layout.daddr6 = NONE),
        ("tcp_sendpage", "tcp_xxxxxxxx", |k| k.sendpage = false),
        ("mptcp_sendmsg", "mptcp_xxxxxxx", |k| {
            k.past.retain(|its| *its != "mptcp_sendmsg");
        }),
        ("tcp_splice_read", "tcp_xxxxxx_read", |k| {
            k.past.retain(|its| *its != "tcp_splice_read");
        }),
    ] {
        let mut expected = whole.clone();
        change(&mut expected);
        assert_eq!(resolve(&renamed("6.1", name, other)), Ok(expected));
    }
}

#[test]
fn other_parameters_are_told() {
    for (kernel, name, other, says) in [
        (
            "6.12",
            "size",
            "many",
            "`tcp_sendmsg` takes (sk, msg, many)",
        ),
        (
            "5.10",
            "len",
            "lem",
            "`tcp_recvmsg` takes (sk, msg, lem, nonblock, flags, addr_len)",
        ),
    ] {
        let error = resolve(&renamed(kernel, name, other)).unwrap_err();
        let rest = "on this kernel, which no program of this agent expects";
        assert_eq!(error.to_string(), format!("{says} {rest}"));
    }
}
