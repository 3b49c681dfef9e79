//! Numbers, ids and addresses as text, by table.

use std::fmt;
use std::io::Write as _;
use std::net::{IpAddr, Ipv6Addr};

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

/// An octet in decimal with a dot behind it, and how many bytes that is.
const OCTETS: [([u8; 4], u8); 256] = {
    let mut table = [([0; 4], 0); 256];
    let mut n = 0;
    while n < 256 {
        let [a, b, c] = [
            b'0' + (n / 100) as u8,
            b'0' + (n / 10 % 10) as u8,
            b'0' + (n % 10) as u8,
        ];
        table[n] = if n > 99 {
            ([a, b, c, b'.'], 4)
        } else if n > 9 {
            ([b, c, b'.', 0], 3)
        } else {
            ([c, b'.', 0, 0], 2)
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
        10..10_000 => {
            let digits = four(number as u32);
            let zeros = digits.trailing_zeros() / 8;
            let text = (digits + ASCII_ZEROS as u32) >> (8 * zeros);
            push_part(out, text.to_le_bytes(), 4 - zeros as usize);
        }
        10_000..100_000_000 => {
            let digits = eight(number as u32);
            let zeros = digits.trailing_zeros() / 8;
            let text = (digits + ASCII_ZEROS) >> (8 * zeros);
            push_part(out, text.to_le_bytes(), 8 - zeros as usize);
        }
        _ => push_long(out, number),
    }
}

/// Appends the first bytes of an array: copying all of it and forgetting the
/// rest is cheaper than copying a number of bytes that is not constant.
#[inline]
fn push_part<const N: usize>(out: &mut Vec<u8>, bytes: [u8; N], len: usize) {
    let end = out.len() + len.min(N);
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

#[cold]
fn push_long(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [b'0'; 24];
    for place in digits.as_chunks_mut::<8>().0.iter_mut().rev() {
        let text = eight((number % 100_000_000) as u32) + ASCII_ZEROS;
        *place = text.to_le_bytes();
        number /= 100_000_000;
    }
    let start = digits.iter().position(|&b| b != b'0').unwrap_or(23);
    out.extend_from_slice(digits.get(start..).unwrap_or_default());
}

/// The digits of a status: three digits, as any that is on the wire has.
#[inline]
pub(super) fn status(number: u64) -> Option<[u8; 3]> {
    if !(100..1000).contains(&number) {
        return None;
    }
    let [_, a, b, c] = (four(number as u32) + ASCII_ZEROS as u32).to_le_bytes();
    Some([a, b, c])
}

/// Writes microseconds since 1970 and remembers the digits of the last second,
/// because that is mostly the next one's as well.
#[derive(Debug)]
pub(super) struct Clock {
    second: u64,
    digits: [u8; 16],
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            second: u64::MAX,
            digits: [0; 16],
        }
    }
}

impl Clock {
    /// Sixteen digits, which is what times from 2001 to 2286 have.
    #[inline]
    pub(super) fn micros(&mut self, micros: u64) -> Option<[u8; 16]> {
        let (second, rest) = (micros / 1_000_000, (micros % 1_000_000) as u32);
        if second != self.second {
            self.turn_to(second)?;
        }
        let mut digits = self.digits;
        let [_, _, a, b, c, d, e, f] = (eight(rest) + ASCII_ZEROS).to_le_bytes();
        digits[10..].copy_from_slice(&[a, b, c, d, e, f]);
        Some(digits)
    }

    #[cold]
    fn turn_to(&mut self, second: u64) -> Option<()> {
        if !(1_000_000_000..10_000_000_000).contains(&second) {
            return None;
        }
        self.second = second;
        let (high, low) = (second / 100, second % 100);
        let text = |number: u64| (eight(number as u32) + ASCII_ZEROS).to_le_bytes();
        self.digits[..8].copy_from_slice(&text(high));
        self.digits[8..10].copy_from_slice(&text(low)[6..]);
        Some(())
    }
}

const ASCII_ZEROS: u64 = 0x3030_3030_3030_3030;

/// The four digits of a number below 10^4, like [`eight`].
#[inline]
const fn four(number: u32) -> u32 {
    let hundreds = (number * 10_486) >> 20;
    let pairs = hundreds | (number - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f;
    tens | (pairs - 10 * tens) << 8
}

/// The eight digits of a number below 10^8 as bytes 0 to 9, the first one
/// lowest: fours, then pairs, then digits, each step for all parts at once. The
/// multiplications are divisions by 100 and 10, exact in this range.
#[inline]
const fn eight(number: u32) -> u64 {
    let number = number as u64;
    let fours = (number / 10_000) | (number % 10_000) << 32;
    let hundreds = ((fours * 10_486) >> 20) & 0x0000_007f_0000_007f;
    let pairs = hundreds | (fours - 100 * hundreds) << 16;
    let tens = ((pairs * 103) >> 10) & 0x000f_000f_000f_000f;
    tens | (pairs - 10 * tens) << 8
}

/// Sixteen hexadecimal digits.
#[inline]
pub(super) fn hex(number: u64) -> [u8; 16] {
    let mut digits = [0; 16];
    let (pairs, _) = digits.as_chunks_mut::<2>();
    for (pair, byte) in pairs.iter_mut().zip(number.to_be_bytes()) {
        *pair = HEX[usize::from(byte)];
    }
    digits
}

/// An address as text.
#[derive(Clone, Copy, Debug)]
pub(super) enum IpText {
    /// Dotted, with how many bytes of it count.
    V4([u8; 16], usize),
    /// Written when it is asked for.
    V6(Ipv6Addr),
}

impl IpText {
    #[inline]
    pub(super) fn new(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(ip) => {
                let mut text = [0; 16];
                let mut len = 0;
                for octet in ip.octets() {
                    let (digits, width) = OCTETS[usize::from(octet)];
                    if let Some(place) = text.get_mut(len..len + 4) {
                        place.copy_from_slice(&digits);
                    }
                    len += usize::from(width);
                }
                Self::V4(text, len - 1)
            }
            IpAddr::V6(ip) => Self::V6(ip),
        }
    }

    /// Appends it.
    #[inline]
    pub(super) fn push(&self, out: &mut Vec<u8>) {
        match self {
            Self::V4(text, len) => push_part(out, *text, *len),
            Self::V6(ip) => push_display(out, ip),
        }
    }
}

/// Appends what a value displays; writing to a `Vec` cannot fail.
#[cold]
pub(super) fn push_display(out: &mut Vec<u8>, value: impl fmt::Display) {
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
        numbers.extend(0..20_000);
        numbers.extend((0..100_000_000).step_by(9973));
        numbers.extend((0..u64::MAX).step_by(999_999_999_999_937));
        let mut clock = Clock::default();
        for n in numbers {
            assert_eq!(text(|out| push_u64(out, n)), n.to_string());
            match clock.micros(n) {
                Some(digits) => assert_eq!(digits, *n.to_string().as_bytes()),
                None => assert_ne!(n.to_string().len(), 16),
            }
            let expected = (100..1000).contains(&n).then(|| n.to_string());
            assert_eq!(
                status(n).map(|d| String::from_utf8(d.to_vec()).unwrap()),
                expected
            );
        }
    }

    #[test]
    fn hex_has_sixteen_digits() {
        for n in [0, 1, 0x0123_4567_89ab_cdef, 1 << 63, u64::MAX] {
            assert_eq!(hex(n), *format!("{n:016x}").as_bytes());
        }
    }

    #[test]
    fn addresses_are_written_as_display_writes_them() {
        for bits in (0..=u32::MAX).step_by(65_521) {
            let ip = IpAddr::V4(Ipv4Addr::from_bits(bits));
            assert_eq!(text(|out| IpText::new(ip).push(out)), ip.to_string());
        }
        for ip in [
            "255.255.255.255",
            "0.0.0.0",
            "::1",
            "2001:db8::c001",
            "::ffff:1.2.3.4",
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(text(|out| IpText::new(ip).push(out)), ip.to_string());
        }
    }
}
