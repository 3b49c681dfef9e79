//! Writes a capture of HTTP exchanges such as nginx and wrk have, as tcpdump
//! would: keep-alive connections, eight at a time.

use std::io::{BufWriter, Result, Write};

/// Exchanges of each connection.
pub(super) const PER_CONNECTION: u64 = 64;

/// Connections at a time.
const AT_ONCE: u64 = 8;

const FIN: u8 = 1;
const SYN: u8 = 2;
const PUSH: u8 = 8;
const ACK: u8 = 16;

/// Writes `exchanges` exchanges; the last connections may have fewer than the
/// others.
///
/// # Errors
/// If `to` fails.
pub(super) fn write(to: &mut impl Write, exchanges: u64) -> Result<()> {
    let mut out = Capture {
        to: BufWriter::new(to),
        micros: 1_700_000_000_000_000,
    };
    out.header()?;
    let connections = exchanges.div_ceil(PER_CONNECTION);
    for first in (0..connections).step_by(usize::try_from(AT_ONCE).unwrap_or(1)) {
        let mut together: Vec<_> = (first..connections.min(first + AT_ONCE))
            .map(Connection::new)
            .collect();
        for connection in &mut together {
            connection.open(&mut out)?;
        }
        for turn in 0..PER_CONNECTION {
            for connection in &mut together {
                let number = connection.number * PER_CONNECTION + turn;
                if number < exchanges {
                    connection.exchange(&mut out, number)?;
                }
            }
        }
        for connection in &mut together {
            connection.close(&mut out)?;
        }
    }
    out.to.flush()
}

struct Capture<W: Write> {
    to: BufWriter<W>,
    micros: u64,
}

impl<W: Write> Capture<W> {
    fn header(&mut self) -> Result<()> {
        // Microseconds, version 2.4, Ethernet.
        self.words(&[0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, 1])
    }

    fn words(&mut self, words: &[u32]) -> Result<()> {
        for word in words {
            self.to.write_all(&word.to_le_bytes())?;
        }
        Ok(())
    }

    /// One packet, 20 µs after the last one. Its checksums are zero, as in a
    /// capture on a machine whose network card fills them in.
    fn packet(&mut self, header: &Header, payload: &[u8]) -> Result<()> {
        const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0];
        self.micros += 20;
        let ip_length = 40 + payload.len();
        let length = u32::try_from(14 + ip_length).unwrap_or(u32::MAX);
        let (seconds, micros) = (self.micros / 1_000_000, self.micros % 1_000_000);
        self.words(&[
            u32::try_from(seconds).unwrap_or(u32::MAX),
            u32::try_from(micros).unwrap_or(0),
            length,
            length,
        ])?;
        let mut head = [0; 54];
        head[..14].copy_from_slice(&ETHERNET);
        let (ip, tcp) = head[14..].split_at_mut(20);
        ip[0] = 0x45;
        ip[2..4].copy_from_slice(&u16::try_from(ip_length).unwrap_or(u16::MAX).to_be_bytes());
        ip[6] = 0x40; // Do not fragment.
        ip[8] = 64;
        ip[9] = 6; // TCP.
        ip[12..16].copy_from_slice(&header.from.0);
        ip[16..20].copy_from_slice(&header.to.0);
        tcp[..2].copy_from_slice(&header.from.1.to_be_bytes());
        tcp[2..4].copy_from_slice(&header.to.1.to_be_bytes());
        tcp[4..8].copy_from_slice(&header.sequence.to_be_bytes());
        tcp[8..12].copy_from_slice(&header.acknowledged.to_be_bytes());
        tcp[12] = 5 << 4;
        tcp[13] = header.flags;
        tcp[14..16].copy_from_slice(&65535_u16.to_be_bytes());
        self.to.write_all(&head)?;
        self.to.write_all(payload)
    }
}

type Address = ([u8; 4], u16);

struct Header {
    from: Address,
    to: Address,
    sequence: u32,
    acknowledged: u32,
    flags: u8,
}

struct Connection {
    number: u64,
    client: Address,
    /// Next sequence numbers of the client and of the server.
    next: [u32; 2],
}

const SERVER: Address = ([10, 0, 0, 2], 8080);

impl Connection {
    fn new(number: u64) -> Self {
        let low = u32::try_from(number & 0xffff_ffff).unwrap_or(0);
        let port = 10_000 + u16::try_from(number % 50_000).unwrap_or(0);
        Self {
            number,
            client: ([10, 0, 0, 1], port),
            next: [
                low.wrapping_mul(0x9e37_79b9),
                low.wrapping_mul(0x85eb_ca6b) ^ 0x5555_5555,
            ],
        }
    }

    fn send<W: Write>(
        &mut self,
        out: &mut Capture<W>,
        by_client: bool,
        flags: u8,
        payload: &[u8],
    ) -> Result<()> {
        let (own, peer) = if by_client { (0, 1) } else { (1, 0) };
        let header = Header {
            from: if by_client { self.client } else { SERVER },
            to: if by_client { SERVER } else { self.client },
            sequence: self.next[own],
            acknowledged: if flags & ACK == 0 { 0 } else { self.next[peer] },
            flags,
        };
        out.packet(&header, payload)?;
        let counted = u32::from(flags & (SYN | FIN) != 0);
        let length = u32::try_from(payload.len()).unwrap_or(0);
        self.next[own] = self.next[own].wrapping_add(length + counted);
        Ok(())
    }

    fn open<W: Write>(&mut self, out: &mut Capture<W>) -> Result<()> {
        self.send(out, true, SYN, b"")?;
        self.send(out, false, SYN | ACK, b"")?;
        self.send(out, true, ACK, b"")
    }

    fn exchange<W: Write>(&mut self, out: &mut Capture<W>, number: u64) -> Result<()> {
        let trace =
            u128::from(number.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060);
        let span = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let request = format!(
            "GET /items/{number} HTTP/1.1\r\nHost: 10.0.0.2:8080\r\n\
             X-B3-TraceId: {trace:032x}\r\nX-B3-SpanId: {span:016x}\r\nX-B3-Sampled: 1\r\n\r\n"
        );
        self.send(out, true, PUSH | ACK, request.as_bytes())?;
        let answer = "HTTP/1.1 200 OK\r\nServer: nginx/1.22.1\r\n\
            Date: Tue, 14 Nov 2023 22:13:20 GMT\r\nContent-Type: application/octet-stream\r\n\
            Content-Length: 6\r\nConnection: keep-alive\r\n\r\nhello\n";
        self.send(out, false, PUSH | ACK, answer.as_bytes())
    }

    fn close<W: Write>(&mut self, out: &mut Capture<W>) -> Result<()> {
        self.send(out, true, FIN | ACK, b"")?;
        self.send(out, false, FIN | ACK, b"")?;
        self.send(out, true, ACK, b"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_is_as_long_as_it_says() {
        let mut bytes = Vec::new();
        write(&mut bytes, 65).unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        assert_eq!(word(0), 0xa1b2_c3d4);
        assert_eq!(&bytes[4..8], &[2, 0, 4, 0]);
        let (mut at, mut packets) = (24, 0);
        while at < bytes.len() {
            let length = usize::try_from(word(at + 8)).unwrap();
            let ip = at + 16 + 14;
            let ip_length = u16::from_be_bytes([bytes[ip + 2], bytes[ip + 3]]);
            assert_eq!(usize::from(ip_length) + 14, length);
            at += 16 + length;
            packets += 1;
        }
        assert_eq!(at, bytes.len());
        // Two packets an exchange, six a connection.
        assert_eq!(packets, 2 * 65 + 6 * 2);
    }
}
