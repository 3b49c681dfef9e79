//! Names of spans, and how they are cut to a limit.

use std::fmt::Write as _;
use std::num::NonZeroUsize;

use siphasher::sip::SipHasher13;

/// `spanNameLimit`: how many bytes a span's name has at most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NameLimit(NonZeroUsize);

impl NameLimit {
    /// Traefik takes a limit below 21, which is what its own name of a span
    /// has at least, for 24 (`middlewares/tracing/entrypoint.go`).
    pub const SMALLEST: usize = 21;
    /// What a smaller one becomes.
    pub const INSTEAD: usize = 24;

    /// A limit of so many bytes; 0 is none, and what is below
    /// [`Self::SMALLEST`] is [`Self::INSTEAD`].
    #[must_use]
    pub fn new(bytes: usize) -> Option<Self> {
        let bytes = NonZeroUsize::new(bytes)?;
        if bytes.get() < Self::SMALLEST {
            return NonZeroUsize::new(Self::INSTEAD).map(Self);
        }
        Some(Self(bytes))
    }

    /// Bytes.
    #[must_use]
    pub const fn get(self) -> usize {
        self.0.get()
    }
}

/// Digits of the hash, and the space before them.
const HASH: usize = 9;
/// Bytes of a method that are always kept: `OPTIONS`, `CONNECT`.
const METHOD: usize = 7;
/// Stands where a part was cut.
const CUT: &[u8] = b"...";

/// Shows the name `METHOD host`, piece by piece.
#[inline]
pub(super) fn put(method: &[u8], host: &[u8], limit: Option<NameLimit>, put: impl FnMut(&[u8])) {
    match limit {
        Some(limit) if method.len() + 1 + host.len() > limit.get() => {
            put_cut(method, host, limit.get(), put);
        }
        _ => put_whole(method, host, put),
    }
}

#[inline]
fn put_whole(method: &[u8], host: &[u8], mut put: impl FnMut(&[u8])) {
    put(method);
    if !host.is_empty() {
        put(b" ");
        put(host);
    }
}

/// In the spirit of Traefik's `TruncateString` and its names of entry points:
/// each part is cut to its share and ends in three dots, and eight digits of a
/// hash of the whole name tell names apart that are cut alike.
#[cold]
fn put_cut(method: &[u8], host: &[u8], limit: usize, mut put: impl FnMut(&[u8])) {
    let mut whole = Vec::with_capacity(method.len() + 1 + host.len());
    put_whole(method, host, |piece| whole.extend_from_slice(piece));
    if whole.len() <= limit {
        // There is no host, so that the name is shorter by the space.
        return put(&whole);
    }
    let room = limit.saturating_sub(HASH);
    if host.is_empty() {
        put_part(method, room, &mut put);
    } else {
        let room = room.saturating_sub(1);
        let share = method.len().min(METHOD.max(room / 2));
        put_part(method, share, &mut put);
        put(b" ");
        put_part(host, room.saturating_sub(share), &mut put);
    }
    // Upper 32 bits of its SipHash-1-3 without a key.
    let hash = SipHasher13::new().hash(&whole) >> 32;
    let mut digits = String::with_capacity(HASH);
    if write!(digits, " {hash:08x}").is_ok() {
        put(digits.as_bytes());
    }
}

/// At most `most` bytes, dots included, cut at a character.
fn put_part(part: &[u8], most: usize, put: &mut impl FnMut(&[u8])) {
    if part.len() <= most {
        return put(part);
    }
    let mut keep = most.saturating_sub(CUT.len());
    let most_back = keep.saturating_sub(3);
    let continues = |at: usize| part.get(at).is_some_and(|b| b & 0xc0 == 0x80);
    while keep > most_back && continues(keep) {
        keep -= 1;
    }
    put(part.get(..keep).unwrap_or_default());
    put(CUT);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(method: &str, host: &str, limit: usize) -> String {
        let mut name = Vec::new();
        put(
            method.as_bytes(),
            host.as_bytes(),
            NameLimit::new(limit),
            |piece| {
                name.extend_from_slice(piece);
            },
        );
        String::from_utf8(name).unwrap()
    }

    #[test]
    fn limits() {
        for (bytes, limit) in [
            (0, None),
            (1, Some(24)),
            (20, Some(24)),
            (21, Some(21)),
            (24, Some(24)),
            (500, Some(500)),
        ] {
            assert_eq!(NameLimit::new(bytes).map(NameLimit::get), limit);
        }
    }

    #[test]
    fn names_are_cut_to_their_limit() {
        for (method, host, limit, wanted) in [
            ("GET", "orders.shop.svc:8080", 0, "GET orders.shop.svc:8080"),
            (
                "GET",
                "orders.shop.svc:8080",
                24,
                "GET orders.shop.svc:8080",
            ),
            (
                "GET",
                "orders.shop.svc.cluster:8080",
                24,
                "GET orders.s... 7ea111ef",
            ),
            (
                "OPTIONS",
                "orders.shop.svc.cluster:8080",
                21,
                "OPTIONS o... ########",
            ),
            ("GET", "", 21, "GET"),
            (
                "A-METHOD-THAT-NOBODY-KNOWS",
                "",
                24,
                "A-METHOD-THA... ########",
            ),
            (
                "A-METHOD-THAT-NOBODY-KNOWS",
                "shop",
                24,
                "A-ME... shop ########",
            ),
            (
                "GET",
                "\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}\u{e9}",
                24,
                "GET \u{e9}\u{e9}\u{e9}\u{e9}... ########",
            ),
        ] {
            let got = name(method, host, limit);
            let (wanted, hidden) = match wanted.strip_suffix("########") {
                Some(wanted) => (wanted, 8),
                None => (wanted, 0),
            };
            let (part, hash) = got.split_at(got.len() - hidden);
            assert_eq!(part, wanted);
            assert!(hash.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }

    proptest! {
        #[test]
        fn a_cut_name_keeps_its_limit_and_tells_hosts_apart(
            method in "[A-Z]{1,40}", host in "\\PC{0,60}", other in "\\PC{0,60}", limit in 1_usize..70,
        ) {
            let cut = name(&method, &host, limit);
            let allowed = NameLimit::new(limit).unwrap().get();
            prop_assert!(cut.len() <= allowed, "{} {}", cut, allowed);
            if host != other {
                prop_assert_ne!(cut, name(&method, &other, limit));
            }
        }
    }
}
