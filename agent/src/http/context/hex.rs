//! Hexadecimal ids of any case, as headers carry them.

use crate::units::{SpanId, TraceId};

/// A number of 1 to 16 hexadecimal digits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    if let Ok(digits) = <&[u8; 16]>::try_from(digits) {
        let (high, low) = digits.split_first_chunk::<8>()?;
        let (high, low) = (eight(*high)?, eight(*low.first_chunk()?)?);
        return Some(u64::from(high) << 32 | u64::from(low));
    }
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |number, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

/// Eight digits at once, a byte of a word each.
fn eight(digits: [u8; 8]) -> Option<u32> {
    const EACH: u64 = 0x0101_0101_0101_0101;
    let digits = u64::from_be_bytes(digits);
    // Bit 6 tells letters from digits; the letters' low nibbles begin at 1.
    let letters = digits & (0x40 * EACH);
    let values = (digits & (0x0f * EACH)) + (letters >> 6) * 9;
    // What these values are written as, in lower case, is what was there.
    let above_nine = ((values + 0x76 * EACH) & (0x80 * EACH)) >> 7;
    let written = values + 0x30 * EACH + above_nine * 0x27;
    if values & (0xf0 * EACH) != 0 || written != digits | letters >> 1 {
        return None;
    }
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let quads = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    // The upper half is what is shifted into the lower.
    Some((quads | quads >> 16) as u32)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_at_every_place() {
        for at in 0..16 {
            for byte in 0..=255_u8 {
                let mut digits = *b"0123456789abcDEF";
                digits[at] = byte;
                let one_by_one = std::str::from_utf8(&digits)
                    .ok()
                    .filter(|text| text.bytes().all(|b| b.is_ascii_hexdigit()))
                    .and_then(|text| u64::from_str_radix(text, 16).ok());
                assert_eq!(number(&digits), one_by_one, "{digits:?}");
            }
        }
    }
}
