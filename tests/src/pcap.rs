//! Writes captures: TCP conversations over Ethernet and IPv4.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const FIN: u8 = 1;
const SYN: u8 = 2;
const PSH: u8 = 8;
const ACK: u8 = 16;

/// One connection, from its handshake on.
#[derive(Debug)]
pub struct Conversation {
    bytes: Vec<u8>,
    now: Duration,
    next: [u32; 2],
    client_port: u16,
}

/// Whose packet it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The side that connected.
    Client,
    /// The side that accepted.
    Server,
}

impl Conversation {
    /// A capture that begins with a handshake, now.
    #[must_use]
    pub fn new() -> Self {
        let mut bytes = Vec::new();
        bytes.extend(0xa1b2_c3d4_u32.to_le_bytes());
        bytes.extend([2, 0, 4, 0]);
        bytes.extend([0; 8]);
        bytes.extend(262_144_u32.to_le_bytes());
        bytes.extend(1_u32.to_le_bytes()); // Ethernet
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        // Connections of different runs differ, as real ones do.
        let start = now.subsec_nanos() ^ std::process::id();
        let client_port = 40_000 + u16::try_from(start % 10_000).unwrap_or_default();
        let next = [start, start.wrapping_mul(7)];
        let mut conversation = Self {
            bytes,
            now,
            next,
            client_port,
        };
        conversation.packet(From::Client, SYN, &[]);
        conversation.packet(From::Server, SYN | ACK, &[]);
        conversation.packet(From::Client, ACK, &[]);
        conversation
    }

    /// Sends bytes, in segments of at most 1,448.
    #[must_use]
    pub fn send(mut self, from: From, bytes: impl AsRef<[u8]>) -> Self {
        for segment in bytes.as_ref().chunks(1448) {
            self.packet(from, ACK | PSH, segment);
        }
        self
    }

    /// Both sides close.
    #[must_use]
    pub fn close(mut self) -> Self {
        self.packet(From::Client, ACK | FIN, &[]);
        self.packet(From::Server, ACK | FIN, &[]);
        self
    }

    /// The file's bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }

    fn packet(&mut self, from: From, flags: u8, payload: &[u8]) {
        let side = usize::from(from == From::Server);
        let (client, server) = ([192, 0, 2, 1], [192, 0, 2, 2]);
        let (source, destination) = if from == From::Client {
            (client, server)
        } else {
            (server, client)
        };
        let ports = match from {
            From::Client => [self.client_port, 80],
            From::Server => [80, self.client_port],
        };
        let mut packet = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        let length = u16::try_from(40 + payload.len()).unwrap_or(u16::MAX);
        packet.extend([0x45, 0]);
        packet.extend(length.to_be_bytes());
        packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
        packet.extend(source);
        packet.extend(destination);
        packet.extend(ports[0].to_be_bytes());
        packet.extend(ports[1].to_be_bytes());
        packet.extend(self.next[side].to_be_bytes());
        let acknowledged = if flags & ACK == 0 {
            0
        } else {
            self.next[1 - side]
        };
        packet.extend(acknowledged.to_be_bytes());
        packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
        packet.extend(payload);
        let taken =
            u32::try_from(payload.len()).unwrap_or_default() + u32::from(flags & (SYN | FIN) != 0);
        self.next[side] = self.next[side].wrapping_add(taken);

        self.now += Duration::from_micros(50);
        let size = u32::try_from(packet.len()).unwrap_or_default();
        let seconds = u32::try_from(self.now.as_secs()).unwrap_or_default();
        for field in [seconds, self.now.subsec_micros(), size, size] {
            self.bytes.extend(field.to_le_bytes());
        }
        self.bytes.extend(packet);
    }
}

impl Default for Conversation {
    fn default() -> Self {
        Self::new()
    }
}
