//! Variable-length integers, and lengths that are known only afterwards:
//! common to Protocol Buffers and to Thrift's compact protocol.

/// Appends a number, seven bits a byte, the lowest first.
#[inline]
pub(super) fn push(out: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        out.push(number as u8 | 0x80);
        number >>= 7;
    }
    out.push(number as u8);
}

/// Bytes of a number.
#[inline]
pub(super) const fn len(number: usize) -> usize {
    let bits = usize::BITS - (number | 1).leading_zeros();
    bits.div_ceil(7) as usize
}

/// Appends what `write` appends, with its length before it. `W` is how many
/// bytes the length mostly has; any other costs a move of what was written.
#[inline]
pub(super) fn sized<const W: usize>(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; W]);
    write(out);
    let size = out.len().saturating_sub(at + W);
    if len(size) != W {
        make_room::<W>(out, at, size);
    }
    if let Some(place) = out.get_mut(at..) {
        fill(place, size);
    }
}

/// Appends bytes with their length before them.
#[inline]
pub(super) fn push_sized(out: &mut Vec<u8>, bytes: &[u8]) {
    push(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn fill(place: &mut [u8], mut number: usize) {
    for byte in place {
        if number < 0x80 {
            *byte = number as u8;
            return;
        }
        *byte = number as u8 | 0x80;
        number >>= 7;
    }
}

/// Moves what stands behind a length of `W` bytes to where it belongs.
#[cold]
fn make_room<const W: usize>(out: &mut Vec<u8>, at: usize, size: usize) {
    let width = len(size);
    if width > W {
        out.extend_from_slice(&[0; 10][..width.min(10) - W]);
    }
    out.copy_within(at + W..at + W + size, at + width);
    out.truncate(at + width + size);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> (u64, &[u8]) {
        let mut rest = bytes;
        let number = prost::encoding::decode_varint(&mut rest).unwrap();
        (number, rest)
    }

    #[test]
    fn numbers_and_lengths_read_back() {
        for n in [0, 1, 127, 128, 300, 16_383, 16_384, 2_097_152, 1 << 62] {
            let mut out = Vec::new();
            push(&mut out, n);
            assert_eq!(read(&out), (n, &[][..]));
            assert_eq!(len(n as usize), out.len());
        }
        let mut out = Vec::new();
        push(&mut out, u64::MAX);
        assert_eq!(out.len(), 10);
    }

    #[test]
    fn lengths_of_every_width_come_before_what_they_measure() {
        for n in [0, 1, 127, 128, 16_383, 16_384, 3_000_000] {
            let content: Vec<u8> = (0..n).map(|i| (i % 251) as u8).collect();
            for sized in [sized::<1>, sized::<2>, sized::<3>] {
                let mut out = b"before".to_vec();
                sized(&mut out, |out: &mut Vec<u8>| {
                    out.extend_from_slice(&content);
                });
                let (size, rest) = read(&out[6..]);
                assert_eq!(size, n as u64);
                assert_eq!(out.len(), 6 + len(n) + n);
                assert!(rest == content);
            }
        }
    }
}
