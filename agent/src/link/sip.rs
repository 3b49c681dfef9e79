//! SipHash-1-3 with 128 bits of result, of whole words.
//!
//! It is what `siphasher::sip128::SipHasher13` computes of the words' bytes,
//! little-endian, and six more (a test says so). Knowing the length beforehand
//! halves its cost, and every exchange needs one.

/// A key.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sip13(State);

#[derive(Clone, Copy, Debug)]
struct State {
    v0: u64,
    v1: u64,
    v2: u64,
    v3: u64,
}

impl Sip13 {
    /// A hasher with this key.
    pub(super) const fn new(key: u128) -> Self {
        // The key's bytes are its halves, little-endian.
        let (k0, k1) = (key as u64, (key >> 64) as u64);
        Self(State {
            v0: k0 ^ 0x736f_6d65_7073_6575,
            v1: k1 ^ 0x646f_7261_6e64_6f6d ^ 0xee,
            v2: k0 ^ 0x6c79_6765_6e65_7261,
            v3: k1 ^ 0x7465_6462_7974_6573,
        })
    }

    /// Both halves of the hash of these words and of the six lower bytes of
    /// the last one.
    #[inline(always)]
    pub(super) const fn hash<const N: usize>(self, words: [u64; N], last: u64) -> (u64, u64) {
        let mut state = self.0;
        let mut at = 0;
        while at < N {
            state = state.takes(words[at]);
            at += 1;
        }
        // The highest byte is for the length in bytes, of which the lowest 8
        // bits count.
        let length = (N as u64) * 8 + 6;
        state = state.takes(last & 0xffff_ffff_ffff | length << 56);
        state.v2 ^= 0xee;
        state = state.round().round().round();
        let first = state.result();
        state.v1 ^= 0xdd;
        state = state.round().round().round();
        (first, state.result())
    }
}

impl State {
    #[inline(always)]
    const fn takes(mut self, word: u64) -> Self {
        self.v3 ^= word;
        self = self.round();
        self.v0 ^= word;
        self
    }

    #[inline(always)]
    const fn round(self) -> Self {
        let Self {
            mut v0,
            mut v1,
            mut v2,
            mut v3,
        } = self;
        v0 = v0.wrapping_add(v1);
        v1 = v1.rotate_left(13) ^ v0;
        v0 = v0.rotate_left(32);
        v2 = v2.wrapping_add(v3);
        v3 = v3.rotate_left(16) ^ v2;
        v0 = v0.wrapping_add(v3);
        v3 = v3.rotate_left(21) ^ v0;
        v2 = v2.wrapping_add(v1);
        v1 = v1.rotate_left(17) ^ v2;
        v2 = v2.rotate_left(32);
        Self { v0, v1, v2, v3 }
    }

    #[inline(always)]
    const fn result(self) -> u64 {
        self.v0 ^ self.v1 ^ self.v2 ^ self.v3
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use siphasher::sip128::SipHasher13;

    use super::*;

    proptest! {
        #[test]
        fn is_siphash_of_the_words_bytes(key: [u8; 16], words: [u64; 4], last: u64) {
            let hasher = Sip13::new(u128::from_le_bytes(key));
            let oracle = |words: &[u64]| {
                let mut bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
                bytes.extend_from_slice(&last.to_le_bytes()[..6]);
                let hash = SipHasher13::new_with_key(&key).hash(&bytes);
                (hash.h1, hash.h2)
            };
            prop_assert_eq!(hasher.hash(words, last), oracle(&words));
            let [first, second, ..] = words;
            prop_assert_eq!(hasher.hash([first, second], last), oracle(&words[..2]));
        }
    }
}
