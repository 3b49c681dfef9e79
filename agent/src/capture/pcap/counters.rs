//! The ledger of a capture: what was read, refused and lost.

/// What a source has read, refused and lost.
///
/// Every packet is counted once: `packets = tcp + link + non_ip + non_tcp +
/// fragments + cut + malformed`. At the end of a capture so is every payload
/// byte: `payload_bytes = delivered_bytes + retransmitted_bytes +
/// ignored_bytes`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Packets of the capture.
    pub packets: u64,
    /// TCP packets that were looked at.
    pub tcp: u64,
    /// Packets of an interface whose link type is not supported, or that the
    /// file does not describe.
    pub link: u64,
    /// Packets that are neither IPv4 nor IPv6.
    pub non_ip: u64,
    /// IP packets that are not TCP.
    pub non_tcp: u64,
    /// Refused fragments: all but the first of a packet. Their bytes are
    /// missing in the stream.
    pub fragments: u64,
    /// First fragments, which were read.
    pub first_fragments: u64,
    /// Packets that were captured too short to hold their headers.
    pub cut: u64,
    /// Packets whose headers contradict themselves.
    pub malformed: u64,
    /// TCP packets whose payload was not captured whole.
    pub truncated: u64,

    /// Payload bytes of the TCP packets, captured or not.
    pub payload_bytes: u64,
    /// Of these, bytes given out (once, whether one end is observed or both).
    pub delivered_bytes: u64,
    /// Of these, bytes that had been seen before: retransmissions, probes,
    /// packets captured twice.
    pub retransmitted_bytes: u64,
    /// Of these, bytes behind the end of their stream or connection.
    pub ignored_bytes: u64,
    /// Packets that came before a packet of lower sequence numbers.
    pub out_of_order: u64,
    /// Runs of bytes that never came.
    pub holes: u64,
    /// Bytes that never came.
    pub lost_bytes: u64,
    /// Holes given up because too much waited behind them.
    pub overflows: u64,

    /// Connections that carried data.
    pub connections: u64,
    /// Of these, connections without the whole handshake.
    pub midway: u64,
    /// Open connections that were forgotten because there were too many.
    pub evicted: u64,
}

impl Counters {
    /// All packets, each of which is counted under one heading.
    pub(super) const fn sum(&self) -> u64 {
        self.tcp
            + self.link
            + self.non_ip
            + self.non_tcp
            + self.fragments
            + self.cut
            + self.malformed
    }
}
