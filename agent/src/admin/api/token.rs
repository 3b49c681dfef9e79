//! The secret that a client of the API shows.

use std::fmt;
use std::sync::Arc;

use subtle::ConstantTimeEq as _;

/// A bearer token (RFC 6750). It is never printed.
#[derive(Clone)]
pub struct Token(Arc<[u8]>);

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WrongToken {
    /// So few bytes can be guessed.
    #[error("it has {0} characters, fewer than {MIN}", MIN = Token::MIN)]
    Short(usize),
    /// Such a character cannot be in a header (RFC 6750, 2.1).
    #[error("character {0} is not a letter, digit or one of -._~+/=")]
    Character(usize),
}

impl Token {
    /// Characters that a token has at least.
    pub const MIN: usize = 16;

    /// The token in a file: white space around it does not count.
    ///
    /// # Errors
    /// It is too short, or cannot be in a header.
    pub fn new(text: &[u8]) -> Result<Self, WrongToken> {
        let text = text.trim_ascii();
        let is_allowed = |c: &u8| c.is_ascii_alphanumeric() || b"-._~+/=".contains(c);
        if let Some(wrong) = text.iter().position(|c| !is_allowed(c)) {
            return Err(WrongToken::Character(wrong + 1));
        }
        if text.len() < Self::MIN {
            return Err(WrongToken::Short(text.len()));
        }
        Ok(Self(text.into()))
    }

    /// Whether what a client showed is this one. Takes equally long for all
    /// that are equally long.
    #[must_use]
    pub fn is(&self, shown: &[u8]) -> bool {
        self.0.ct_eq(shown).into()
    }

    /// The text, for who shows it.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for Token {
    fn eq(&self, other: &Self) -> bool {
        self.is(&other.0)
    }
}

impl Eq for Token {}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_whole_token_is_the_token() {
        let secret = b"0123456789abcdef";
        let token = Token::new(b"  0123456789abcdef\n").unwrap();
        assert!(token.is(secret));
        for len in 0..secret.len() {
            assert!(!token.is(&secret[..len]));
            let mut other = *secret;
            other[len] ^= 1;
            assert!(!token.is(&other));
        }
        assert!(!token.is(b"0123456789abcdefg"));
    }

    #[test]
    fn a_token_is_not_shown_and_not_short() {
        let token = Token::new(b"0123456789abcdef").unwrap();
        assert!(!format!("{token:?}").contains("0123"));
        assert_eq!(Token::new(b"").unwrap_err(), WrongToken::Short(0));
        assert_eq!(Token::new(b"short\n").unwrap_err(), WrongToken::Short(5));
        let two = Token::new(b"0123456789 abcdef").unwrap_err();
        assert_eq!(two, WrongToken::Character(11));
    }
}
