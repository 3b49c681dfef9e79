//! Searches in short byte strings, sixteen bytes at a time.

/// Whether any byte is of this kind.
///
/// The test of a block has no early exit, so the compiler makes vector code of
/// it; the last block overlaps the one before.
#[inline(always)]
pub(super) fn any(bytes: &[u8], kind: impl Fn(u8) -> bool + Copy) -> bool {
    if let Some(last) = bytes.last_chunk::<16>() {
        let blocks = bytes.as_chunks::<16>().0;
        blocks.iter().any(|chunk| block(chunk, kind)) || block(last, kind)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        block(first, kind) | block(last, kind)
    } else {
        bytes.iter().any(|&b| kind(b))
    }
}

#[inline(always)]
fn block<const N: usize>(bytes: &[u8; N], kind: impl Fn(u8) -> bool) -> bool {
    bytes.iter().fold(false, |found, &b| found | kind(b))
}

/// Where the first of these bytes is. Eight bytes at a time: subtracting one
/// from each byte of a word borrows into the top bit only where the byte was
/// zero, below the first such byte.
#[inline]
pub(super) fn find<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = wanted.iter().fold(0, |found, &byte| {
            let zero_where_equal = word ^ (ONES * u64::from(byte));
            found | (zero_where_equal.wrapping_sub(ONES) & !zero_where_equal)
        }) & (ONES << 7);
        if found != 0 {
            return Some(8 * n + found.trailing_zeros() as usize / 8);
        }
    }
    let at = rest.iter().position(|byte| wanted.contains(byte))?;
    Some(bytes.len() - rest.len() + at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{prop_assert_eq, proptest};

    proptest! {
        #[test]
        fn find_finds_the_first(bytes: Vec<u8>, a: u8, b: u8) {
            prop_assert_eq!(find(&bytes, [a, b]), bytes.iter().position(|&x| x == a || x == b));
        }
    }

    #[test]
    fn any_sees_every_position_of_every_length() {
        for len in 0..70 {
            let mut bytes = vec![b'a'; len];
            assert!(!any(&bytes, |b| b == b'x'), "{len}");
            for at in 0..len {
                bytes[at] = b'x';
                assert!(any(&bytes, |b| b == b'x'), "{len} {at}");
                assert_eq!(find(&bytes, [b'x']), Some(at));
                assert_eq!(find(&bytes, [b'y', b'x']), Some(at));
                assert_eq!(find(&bytes, [b'y']), None);
                bytes[at] = b'a';
            }
        }
    }
}
