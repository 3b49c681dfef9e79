//! Searches in short byte strings, eight bytes at a time.

/// The same byte in all places of a word.
pub(super) const fn all(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

/// The top bit of each byte.
const TOP: u64 = all(0x80);

/// Whether `test` sets the top bit of any byte, where it gets eight bytes at a
/// time. It may treat a byte wrongly if one below it in the word has its bit
/// set, so borrowing is fine. The last word overlaps the one before.
#[inline]
pub(super) fn any(bytes: &[u8], test: impl Fn(u64) -> u64) -> bool {
    let found = match bytes.last_chunk::<8>() {
        Some(last) => {
            let words = bytes.as_chunks::<8>().0;
            let found = words
                .iter()
                .fold(0, |found, word| found | test(u64::from_le_bytes(*word)));
            found | test(u64::from_le_bytes(*last))
        }
        // A letter stands for what is not there.
        None => test(
            bytes
                .iter()
                .fold(all(b'a'), |word, &b| word << 8 | u64::from(b)),
        ),
    };
    found & TOP != 0
}

/// Sets the top bits of bytes that equal `wanted`, if all are ASCII.
#[inline]
pub(super) const fn equal(word: u64, wanted: u8) -> u64 {
    (word ^ all(wanted)).wrapping_sub(all(1))
}

/// Where the first of these bytes is.
#[inline]
pub(super) fn find<const N: usize>(bytes: &[u8], wanted: [u8; N]) -> Option<usize> {
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = wanted.iter().fold(0, |found, &byte| {
            found | (equal(word, byte) & !(word ^ all(byte)))
        }) & TOP;
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
        fn any_agrees_with_plain_code(bytes: Vec<u8>) {
            let query = any(&bytes, |b| (equal(b, b'?') | equal(b, b'#')) & !b);
            prop_assert_eq!(query, bytes.iter().any(|b| b"?#".contains(b)));
        }

        #[test]
        fn find_finds_the_first(bytes: Vec<u8>, a: u8, b: u8) {
            prop_assert_eq!(find(&bytes, [a, b]), bytes.iter().position(|&x| x == a || x == b));
        }
    }

    #[test]
    fn any_sees_every_position_of_every_length() {
        for len in 0..140 {
            let mut bytes = vec![b'a'; len];
            assert!(!any(&bytes, |b| equal(b, b'x')), "{len}");
            for at in 0..len {
                bytes[at] = b'x';
                assert!(any(&bytes, |b| equal(b, b'x')), "{len} {at}");
                assert_eq!(find(&bytes, [b'x']), Some(at));
                assert_eq!(find(&bytes, [b'y', b'x']), Some(at));
                assert_eq!(find(&bytes, [b'y']), None);
                bytes[at] = b'a';
            }
        }
    }
}
