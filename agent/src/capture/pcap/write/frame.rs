//! TCP packets with right checksums.

use std::net::{IpAddr, SocketAddr};

/// No more data from the sender.
pub const FIN: u8 = 0x01;
/// The connection begins.
pub const SYN: u8 = 0x02;
/// The connection is refused or broken off.
pub const RST: u8 = 0x04;
/// The receiver should hand the data on.
pub const PSH: u8 = 0x08;
/// The acknowledgement number counts.
pub const ACK: u8 = 0x10;

const PROTOCOL_TCP: u8 = 6;
const WINDOW: u16 = 64_240;

/// A TCP packet.
#[derive(Clone, Copy, Debug)]
pub struct Tcp<'a> {
    /// Who sends it.
    pub source: SocketAddr,
    /// To whom.
    pub destination: SocketAddr,
    /// Number of the first payload byte, or of the SYN.
    pub seq: u32,
    /// What the sender expects next.
    pub ack: u32,
    /// Control bits.
    pub flags: u8,
    /// Its data.
    pub payload: &'a [u8],
}

impl Tcp<'_> {
    /// As an Ethernet frame.
    #[must_use]
    pub fn ethernet(&self) -> Vec<u8> {
        let ip = self.ip();
        let kind: [u8; 2] = if ip.first().is_some_and(|first| first >> 4 == 4) {
            [0x08, 0x00]
        } else {
            [0x86, 0xdd]
        };
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        frame.extend_from_slice(&kind);
        frame.extend_from_slice(&ip);
        frame
    }

    /// As an IP packet: IPv4 if both addresses are. One too long for its length
    /// field says 0, as before segmentation offload.
    #[must_use]
    pub fn ip(&self) -> Vec<u8> {
        let mut tcp = self.tcp();
        let (mut packet, pseudo_header) = match (self.source.ip(), self.destination.ip()) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let total = u16::try_from(tcp.len() + 20).unwrap_or(0);
                let mut header = vec![0x45, 0];
                header.extend_from_slice(&total.to_be_bytes());
                header.extend_from_slice(&[0, 0, 0x40, 0, 64, PROTOCOL_TCP, 0, 0]);
                header.extend_from_slice(&source.octets());
                header.extend_from_slice(&destination.octets());
                let sum = checksum(&[&header]);
                put(&mut header, 10, sum);
                let addresses = [source.octets(), destination.octets()].concat();
                (header, addresses)
            }
            (source, destination) => {
                let length = u16::try_from(tcp.len()).unwrap_or(0);
                let addresses = [v6(source), v6(destination)].concat();
                let mut header = vec![0x60, 0, 0, 0];
                header.extend_from_slice(&length.to_be_bytes());
                header.extend_from_slice(&[PROTOCOL_TCP, 64]);
                header.extend_from_slice(&addresses);
                (header, addresses)
            }
        };
        let length = (tcp.len() as u32).to_be_bytes();
        let sum = checksum(&[&pseudo_header, &[0, 0, 0, PROTOCOL_TCP], &length, &tcp]);
        put(&mut tcp, 16, sum);
        packet.extend_from_slice(&tcp);
        packet
    }

    fn tcp(&self) -> Vec<u8> {
        // Timestamps as on most real packets, or the usual options of a SYN.
        let options: &[u8] = if self.flags & SYN == 0 {
            &[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 1]
        } else {
            &[2, 4, 5, 0xb4, 4, 2, 1, 3, 3, 7, 1, 1]
        };
        let mut tcp = Vec::with_capacity(20 + options.len() + self.payload.len());
        tcp.extend_from_slice(&self.source.port().to_be_bytes());
        tcp.extend_from_slice(&self.destination.port().to_be_bytes());
        tcp.extend_from_slice(&self.seq.to_be_bytes());
        tcp.extend_from_slice(&self.ack.to_be_bytes());
        tcp.push(((20 + options.len()) as u8 / 4) << 4);
        tcp.push(self.flags);
        tcp.extend_from_slice(&WINDOW.to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        tcp.extend_from_slice(options);
        tcp.extend_from_slice(self.payload);
        tcp
    }
}

fn v6(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
        IpAddr::V6(address) => address.octets(),
    }
}

/// The Internet checksum (RFC 1071) of parts of even length, but for the last.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for part in parts {
        for pair in part.chunks(2) {
            let high = pair.first().copied().unwrap_or(0);
            let low = pair.get(1).copied().unwrap_or(0);
            sum += u64::from(u16::from_be_bytes([high, low]));
        }
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn put(bytes: &mut [u8], at: usize, sum: u16) {
    if let Some(place) = bytes.get_mut(at..at + 2) {
        place.copy_from_slice(&sum.to_be_bytes());
    }
}
