//! Hexadecimal ids of any case, as headers carry them.

use crate::units::{SpanId, TraceId};

/// A number of 1 to 16 hexadecimal digits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    // Any invalid digit leaves a bit above the nibble, looked at once.
    let mut wrong = 0;
    let mut value = 0_u64;
    for &digit in digits {
        let nibble = nibble(digit);
        wrong |= nibble;
        value = value << 4 | u64::from(nibble & 15);
    }
    (wrong < 16).then_some(value)
}

/// A trace id of 1 to 32 digits; up to 16 make a 64-bit one, zero makes none.
pub(super) fn trace(digits: &[u8]) -> Option<TraceId> {
    match digits.len().checked_sub(16) {
        None | Some(0) => TraceId::new(0, number(digits)?),
        Some(upper) => {
            let (high, low) = digits.split_at_checked(upper)?;
            TraceId::new(number(high)?, number(low)?)
        }
    }
}

/// A span id of 1 to 16 digits; zero makes none.
pub(super) fn span(digits: &[u8]) -> Option<SpanId> {
    SpanId::new(number(digits)?)
}

/// The value of one digit, 255 if it is none.
fn nibble(digit: u8) -> u8 {
    NIBBLES.get(usize::from(digit)).copied().unwrap_or(255)
}

const NIBBLES: [u8; 256] = {
    let mut table = [255; 256];
    let mut value = 0;
    while value < 16 {
        table[b"0123456789abcdef"[value] as usize] = value as u8;
        table[b"0123456789ABCDEF"[value] as usize] = value as u8;
        value += 1;
    }
    table
};
