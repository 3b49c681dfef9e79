//! Where this kernel keeps what the probes read.

#[cfg(test)]
pub(super) mod tests;

use agent_ebpf::{LAYOUT_VERSION, Layout, NONE};

use super::btf::{Btf, BtfError};

/// What BTF says about the functions and structures that the probes use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kernel {
    /// For the programs.
    pub layout: Layout,
    /// How many parameters `tcp_recvmsg` takes: which program fits.
    pub recvmsg_arity: usize,
    /// Place of the flags among them.
    pub recvmsg_flags: usize,
    /// How a program turns preemption off (kernel ≥ 6.14).
    pub preempt: Option<Preempt>,
    /// Whether `tcp_sendpage` exists (up to 6.4).
    pub sendpage: bool,
    /// Those of [`PAST`] that exist.
    pub past: Vec<&'static str>,
}

/// Functions that move bytes past the probes, or lead there: they are counted.
pub const PAST: [&str; 7] = [
    // Up to 5.11; then it is `sk_msg_recvmsg`.
    "__tcp_bpf_recvmsg",
    "mptcp_recvmsg",
    "mptcp_sendmsg",
    "sk_msg_recvmsg",
    "tcp_bpf_sendmsg",
    "tcp_set_ulp",
    "tcp_splice_read",
];

/// Type ids of the kernel functions by which a program turns preemption off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Preempt {
    /// `bpf_preempt_disable` (kernel ≥ 6.10).
    pub disable: u32,
    /// `bpf_preempt_enable`.
    pub enable: u32,
    /// `bpf_local_irq_save` (kernel ≥ 6.14).
    pub irq_save: u32,
    /// `bpf_local_irq_restore`.
    pub irq_restore: u32,
}

impl Preempt {
    /// `None` if one of them does not exist: no half is of use.
    fn resolve(btf: &Btf<'_>) -> Option<Self> {
        let id = |name| btf.function_id(name).ok();
        Some(Self {
            disable: id("bpf_preempt_disable")?,
            enable: id("bpf_preempt_enable")?,
            irq_save: id("bpf_local_irq_save")?,
            irq_restore: id("bpf_local_irq_restore")?,
        })
    }
}

/// The parameters of `tcp_recvmsg` by their number: 6 up to 5.18, 5 up to
/// 6.17, 4 since 6.18. The programs take the flags by place, so the names must
/// be where they expect them.
const RECVMSG: [(usize, usize); 3] = [(6, 4), (5, 3), (4, 3)];

/// A kernel the probes do not fit.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum LayoutError {
    /// Something is not there.
    #[error(transparent)]
    Btf(#[from] BtfError),
    /// A function has other parameters than any known kernel.
    #[error("`{function}` takes ({found}) on this kernel, which no program of this agent expects")]
    Parameters {
        /// The function.
        function: &'static str,
        /// Its parameters.
        found: String,
    },
}

impl Kernel {
    /// Resolves everything the probes need.
    ///
    /// # Errors
    /// Names the first thing that this kernel lacks.
    pub fn resolve(btf: &Btf<'_>) -> Result<Self, LayoutError> {
        let at = |path: &str| btf.offset(path);
        let either = |a: &str, b: &str| at(a).or_else(|_| at(b));
        let optional = |path: &str| at(path).unwrap_or(NONE);
        // Up to 5.13 the kind shares a word with the direction bit.
        let (iter_kind, iter_kind_mask) = match at("iov_iter.iter_type") {
            Ok(place) => (place, 0xff),
            Err(_) => (at("iov_iter.type")?, 0xffff_fffe),
        };
        let layout = Layout {
            version: LAYOUT_VERSION,
            msg_iter: at("msghdr.msg_iter")?,
            iter_kind,
            iter_kind_mask,
            iter_iovec: btf.enumerator("ITER_IOVEC")?,
            iter_ubuf: btf.enumerator("ITER_UBUF").unwrap_or(NONE),
            iter_offset: at("iov_iter.iov_offset")?,
            iter_pointer: either("iov_iter.__iov", "iov_iter.iov")?,
            iter_segments: at("iov_iter.nr_segs")?,
            write_seq: at("tcp_sock.write_seq")?,
            copied_seq: at("tcp_sock.copied_seq")?,
            rcv_nxt: at("tcp_sock.rcv_nxt")?,
            bytes_received: at("tcp_sock.bytes_received")?,
            snd_una: at("tcp_sock.snd_una")?,
            bytes_acked: at("tcp_sock.bytes_acked")?,
            flags: at("sock_common.skc_flags")?,
            flag_done: 1_u32
                .checked_shl(btf.enumerator("SOCK_DONE")?)
                .unwrap_or_default(),
            dport: at("sock_common.skc_dport")?,
            family: at("sock_common.skc_family")?,
            daddr: at("sock_common.skc_daddr")?,
            saddr: at("sock_common.skc_rcv_saddr")?,
            daddr6: optional("sock_common.skc_v6_daddr"),
            saddr6: optional("sock_common.skc_v6_rcv_saddr"),
            task_flags: at("task_struct.flags")?,
            task_leader: at("task_struct.group_leader")?,
            task_comm: at("task_struct.comm")?,
            sock_cgroup: either("sock.sk_cgrp_data.cgroup", "sock.sk_cgrp_data.val")?,
            cgroup_kn: at("cgroup.kn")?,
            kn_id: at("kernfs_node.id")?,
            protocol: at("sock.sk_protocol")?,
            skb_sock: at("sk_buff.sk")?,
            skb_seq: at("sk_buff.cb")?.wrapping_add(at("tcp_skb_cb.seq")?),
        };
        expect(
            btf,
            "tcp_sendmsg",
            &[(0, "sk"), (1, "msg"), (2, "size")],
            &[3],
        )?;
        let names = btf.parameters("tcp_recvmsg")?;
        let Some(&(arity, flags)) = RECVMSG.iter().find(|(arity, _)| *arity == names.len()) else {
            return Err(parameters("tcp_recvmsg", &names));
        };
        expect(
            btf,
            "tcp_recvmsg",
            &[(0, "sk"), (1, "msg"), (2, "len"), (flags, "flags")],
            &[arity],
        )?;
        expect(btf, "tcp_close", &[(0, "sk")], &[2])?;
        let sendpage = btf.has_function("tcp_sendpage");
        if sendpage {
            expect(btf, "tcp_sendpage", &[(0, "sk")], &[5])?;
        }
        Ok(Self {
            layout,
            recvmsg_arity: arity,
            recvmsg_flags: flags,
            preempt: Preempt::resolve(btf),
            sendpage,
            past: PAST
                .into_iter()
                .filter(|function| match *function {
                    // Its program takes the return value by place.
                    "tcp_set_ulp" => expect(btf, function, &[(1, "name")], &[2]).is_ok(),
                    other => btf.has_function(other),
                })
                .collect(),
        })
    }
}

fn expect(
    btf: &Btf<'_>,
    function: &'static str,
    places: &[(usize, &str)],
    arities: &[usize],
) -> Result<(), LayoutError> {
    let names = btf.parameters(function)?;
    let fits = places
        .iter()
        .all(|&(place, name)| names.get(place).is_some_and(|its| its == name));
    if fits && arities.contains(&names.len()) {
        Ok(())
    } else {
        Err(parameters(function, &names))
    }
}

fn parameters(function: &'static str, names: &[String]) -> LayoutError {
    LayoutError::Parameters {
        function,
        found: names.join(", "),
    }
}
