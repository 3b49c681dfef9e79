//! Numbers, ids and addresses as text, by table.

use std::fmt;
use std::io::Write as _;
use std::net::IpAddr;

use crate::units::{SpanId, TraceId};

const PAIRS: [[u8; 2]; 100] = {
    let mut table = [[0; 2]; 100];
    let mut n = 0;
    while n < 100 {
        table[n] = [b'0' + (n / 10) as u8, b'0' + (n % 10) as u8];
        n += 1;
    }
    table
};

const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut table = [[0; 2]; 256];
    let mut n = 0;
    while n < 256 {
        table[n] = [DIGITS[n >> 4], DIGITS[n & 15]];
        n += 1;
    }
    table
};

/// Three digits and how many of them count.
const OCTETS: [[u8; 4]; 256] = {
    let mut table = [[0; 4]; 256];
    let mut n = 0;
    while n < 256 {
        let (a, b, c) = (
            b'0' + (n / 100) as u8,
            b'0' + (n / 10 % 10) as u8,
            b'0' + (n % 10) as u8,
        );
        table[n] = if n > 99 {
            [a, b, c, 3]
        } else if n > 9 {
            [b, c, 0, 2]
        } else {
            [c, 0, 0, 1]
        };
        n += 1;
    }
    table
};

/// Appends a number in decimal.
#[inline]
pub(super) fn push_u64(out: &mut Vec<u8>, number: u64) {
    match number {
        0..10 => out.push(b'0' + number as u8),
        10..100 => out.extend_from_slice(&pair(number)),
        100..1000 => {
            let [tens, ones] = pair(number % 100);
            out.extend_from_slice(&[b'0' + (number / 100) as u8, tens, ones]);
        }
        _ => push_long(out, number),
    }
}

/// Appends microseconds since 1970: sixteen digits from 2001 to 2286.
#[inline]
pub(super) fn push_micros(out: &mut Vec<u8>, micros: u64) {
    if (1_000_000_000_000_000..10_000_000_000_000_000).contains(&micros) {
        let (high, low) = ((micros / 100_000_000) as u32, (micros % 100_000_000) as u32);
        let mut digits = [0; 16];
        digits[..8].copy_from_slice(&eight(high));
        digits[8..].copy_from_slice(&eight(low));
        out.extend_from_slice(&digits);
    } else {
        push_u64(out, micros);
    }
}

fn push_long(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 20];
    let mut at = digits.len();
    while number > 0 && at >= 2 {
        at -= 2;
        digits[at..at + 2].copy_from_slice(&pair(number % 100));
        number /= 100;
    }
    if digits[at] == b'0' {
        at += 1;
    }
    out.extend_from_slice(&digits[at..]);
}

#[inline]
fn pair(number: u64) -> [u8; 2] {
    PAIRS[(number % 100) as usize]
}

#[inline]
fn eight(number: u32) -> [u8; 8] {
    let (high, low) = (number / 10_000, number % 10_000);
    let [a, b] = PAIRS[(high / 100 % 100) as usize];
    let [c, d] = PAIRS[(high % 100) as usize];
    let [e, f] = PAIRS[(low / 100 % 100) as usize];
    let [g, h] = PAIRS[(low % 100) as usize];
    [a, b, c, d, e, f, g, h]
}

/// Appends a span id: sixteen digits.
#[inline]
pub(super) fn push_span_id(out: &mut Vec<u8>, id: SpanId) {
    out.extend_from_slice(&hex(id.get()));
}

/// Appends a trace id: sixteen digits, or thirty-two if it has 128 bits.
#[inline]
pub(super) fn push_trace_id(out: &mut Vec<u8>, id: TraceId) {
    if id.high() != 0 {
        out.extend_from_slice(&hex(id.high()));
    }
    out.extend_from_slice(&hex(id.low()));
}

#[inline]
fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(number.to_be_bytes()) {
        *pair = HEX[usize::from(byte)];
    }
    digits
}

/// Appends an address.
#[inline]
pub(super) fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let mut text = [b'.'; 16];
            let mut at = 0;
            for octet in ip.octets() {
                let [a, b, c, len] = OCTETS[usize::from(octet)];
                if let Some(place) = text.get_mut(at..at + 4) {
                    place.copy_from_slice(&[a, b, c, b'.']);
                }
                at += usize::from(len);
                if let Some(dot) = text.get_mut(at) {
                    *dot = b'.';
                }
                at += 1;
            }
            out.extend_from_slice(text.get(..at.wrapping_sub(1)).unwrap_or_default());
        }
        IpAddr::V6(ip) => push_display(out, ip),
    }
}

/// Appends what a value displays; writing to a `Vec` cannot fail.
#[cold]
fn push_display(out: &mut Vec<u8>, value: impl fmt::Display) {
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn numbers_are_written_as_display_writes_them() {
        let mut numbers = vec![0, 7, u64::MAX, u64::from(u32::MAX), 1_794_000_000_123_456];
        for digits in 0..20 {
            let power = 10_u64.pow(digits);
            numbers.extend([power, power - 1, power + 1, power.saturating_mul(9)]);
        }
        numbers.extend(0..2000);
        for n in numbers {
            assert_eq!(text(|out| push_u64(out, n)), n.to_string());
            assert_eq!(text(|out| push_micros(out, n)), n.to_string());
        }
    }

    #[test]
    fn ids_have_sixteen_or_thirty_two_digits() {
        for (high, low) in [
            (0, 1),
            (1, 0),
            (u64::MAX, 0x0123_4567_89ab_cdef),
            (0, 1 << 63),
        ] {
            let id = TraceId::new(high, low).unwrap();
            assert_eq!(text(|out| push_trace_id(out, id)), id.to_string());
        }
        let id = SpanId::new(0xf0).unwrap();
        assert_eq!(text(|out| push_span_id(out, id)), "00000000000000f0");
    }

    #[test]
    fn addresses_are_written_as_display_writes_them() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let ip = IpAddr::V4(Ipv4Addr::from_bits(bits));
            assert_eq!(text(|out| push_ip(out, ip)), ip.to_string());
        }
        for ip in [
            "255.255.255.255",
            "0.0.0.0",
            "::1",
            "2001:db8::c001",
            "::ffff:1.2.3.4",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(text(|out| push_ip(out, ip)), ip.to_string());
        }
    }
}
