//! Hexadecimal ids of any case, as headers carry them.

use wide::{i16x8, u8x16};

use crate::units::{SpanId, TraceId};

/// A number of 1 to 16 hexadecimal digits.
pub(super) fn number(digits: &[u8]) -> Option<u64> {
    match <&[u8; 16]>::try_from(digits) {
        Ok(digits) => sixteen(digits),
        Err(_) => fewer(digits),
    }
}

#[inline(never)]
fn fewer(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    digits.iter().try_fold(0, |number, &digit| {
        let digit = char::from(digit).to_digit(16)?;
        Some(number << 4 | u64::from(digit))
    })
}

/// Sixteen digits at once.
#[inline(always)]
fn sixteen(digits: &[u8; 16]) -> Option<u64> {
    let all = u8x16::splat;
    let digits = u8x16::new(*digits);
    let decimals = digits - all(b'0');
    let letters = (digits | all(0x20)) - all(b'a');
    let is_decimal = decimals.simd_eq(decimals.min(all(9)));
    let is_letter = letters.simd_eq(letters.min(all(5)));
    if (is_decimal | is_letter).to_bitmask() != 0xffff {
        return None;
    }
    let values = (decimals & is_decimal) | ((letters + all(10)) & is_letter);
    // In each pair the first is the higher one.
    let pairs: i16x8 = wide::bytemuck::cast(values);
    let bytes = (pairs << 4 | pairs >> 8) & i16x8::splat(0xff);
    let number: [u64; 2] = wide::bytemuck::cast(u8x16::narrow_i16x8(bytes, bytes));
    Some(u64::from_be(number[0]))
}

/// A trace id of 32 digits.
#[inline(always)]
pub(super) fn long_trace(digits: &[u8; 32]) -> Option<TraceId> {
    let (high, low) = digits.split_first_chunk()?;
    TraceId::new(sixteen(high)?, sixteen(low.first_chunk()?)?)
}

/// A span id of 16 digits.
#[inline(always)]
pub(super) fn long_span(digits: &[u8; 16]) -> Option<SpanId> {
    SpanId::new(sixteen(digits)?)
}

/// A trace id of 1 to 32 digits; up to 16 make a 64-bit one, zero makes none.
pub(super) fn trace(digits: &[u8]) -> Option<TraceId> {
    if let Ok(digits) = digits.try_into() {
        return long_trace(digits);
    }
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
