//! Patterns for names and paths.

use std::fmt;
use std::str::FromStr;

/// A pattern in which `*` stands for any bytes, also none and also slashes;
/// everything else stands for itself.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Glob(Box<str>);

/// A pattern without a character matches nothing, so it is a mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an empty pattern matches nothing; `*` matches everything")]
pub struct EmptyPattern;

impl FromStr for Glob {
    type Err = EmptyPattern;

    fn from_str(pattern: &str) -> Result<Self, EmptyPattern> {
        if pattern.is_empty() {
            return Err(EmptyPattern);
        }
        Ok(Self(pattern.into()))
    }
}

impl Glob {
    /// The pattern as written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn matches(&self, text: &[u8]) -> bool {
        let mut pieces = self.0.as_bytes().split(|b| *b == b'*');
        let Some(mut text) = pieces.next().and_then(|first| text.strip_prefix(first)) else {
            return false;
        };
        let Some(last) = pieces.next_back() else {
            return text.is_empty(); // There is no `*`.
        };
        // The leftmost place of each piece leaves the most for the others.
        for piece in pieces {
            match find(text, piece) {
                Some(at) => text = &text[at + piece.len()..],
                None => return false,
            }
        }
        text.ends_with(last)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

fn find(text: &[u8], piece: &[u8]) -> Option<usize> {
    if piece.is_empty() {
        return Some(0);
    }
    text.windows(piece.len()).position(|window| window == piece)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn table() {
        for (pattern, text, expected) in [
            ("nginx", "nginx", true),
            ("nginx", "nginx2", false),
            ("nginx", "xnginx", false),
            ("*", "", true),
            ("*", "anything", true),
            ("web-*", "web-1", true),
            ("web-*", "web-", true),
            ("web-*", "web", false),
            ("*-db", "users-db", true),
            ("*-db", "users-db2", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("*ab*ab*", "xabab", true),
            ("*ab*ab*", "xaba", false),
            ("/health/*", "/health/live/x", true),
            ("/health*", "/healthz", true),
            ("**", "x", true),
        ] {
            let glob: Glob = pattern.parse().unwrap();
            assert_eq!(glob.matches(text.as_bytes()), expected, "{pattern} {text}");
        }
        assert_eq!("".parse::<Glob>(), Err(EmptyPattern));
    }

    /// The definition, without any cleverness.
    fn simple(pattern: &[u8], text: &[u8]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            ([b'*', rest @ ..], _) => (0..=text.len()).any(|n| simple(rest, &text[n..])),
            ([p, rest @ ..], [t, more @ ..]) => p == t && simple(rest, more),
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_the_definition(pattern in "[ab*]{1,7}", text in "[ab]{0,9}") {
            let glob: Glob = pattern.parse().unwrap();
            prop_assert_eq!(glob.matches(text.as_bytes()), simple(pattern.as_bytes(), text.as_bytes()));
        }
    }
}
