//! Fields of Thrift's compact protocol
//! (`thrift/doc/specs/thrift-compact-protocol.md`).
//!
//! A field's head has the distance to the field before it in its upper half
//! and the type in its lower one; all distances here are below 16. Numbers are
//! zigzag varints.

use super::super::varint;

/// Types.
const TRUE: u8 = 1;
const FALSE: u8 = 2;
const I32: u8 = 5;
const I64: u8 = 6;
const DOUBLE: u8 = 7;
const BINARY: u8 = 8;
const LIST: u8 = 9;
pub(super) const STRUCT: u8 = 12;
/// Ends a struct.
pub(super) const STOP: u8 = 0;

/// Head of a field this far behind the one before.
pub(super) const fn head(distance: u8, kind: u8) -> u8 {
    distance << 4 | kind
}

#[inline]
fn push_zigzag(out: &mut Vec<u8>, number: i64) {
    varint::push(out, (number << 1 ^ number >> 63).cast_unsigned());
}

#[inline]
pub(super) fn push_i32(out: &mut Vec<u8>, distance: u8, number: i32) {
    out.push(head(distance, I32));
    push_zigzag(out, i64::from(number));
}

/// Appends eight bytes as they are: of an id only the bits count.
#[inline]
pub(super) fn push_bits(out: &mut Vec<u8>, distance: u8, bits: u64) {
    out.push(head(distance, I64));
    push_zigzag(out, bits.cast_signed());
}

/// Appends a number that no reader may take for a negative one.
#[inline]
pub(super) fn push_u64(out: &mut Vec<u8>, distance: u8, number: u64) {
    push_bits(out, distance, number.min(i64::MAX.cast_unsigned()));
}

/// Of the protocol's two readings of a double this is the one that all
/// libraries have: the lowest byte first.
pub(super) fn push_double(out: &mut Vec<u8>, distance: u8, number: f64) {
    out.push(head(distance, DOUBLE));
    out.extend_from_slice(&number.to_le_bytes());
}

/// A boolean is its field's type.
#[inline]
pub(super) fn push_bool(out: &mut Vec<u8>, distance: u8, yes: bool) {
    out.push(head(distance, if yes { TRUE } else { FALSE }));
}

/// Appends a string that `write` writes, of mostly less than 128 bytes.
#[inline]
pub(super) fn push_string(out: &mut Vec<u8>, distance: u8, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(head(distance, BINARY));
    varint::sized::<1>(out, write);
}

/// Appends a list of structs that `write` appends and counts.
#[inline]
pub(super) fn push_list(
    out: &mut Vec<u8>,
    distance: u8,
    write: impl FnOnce(&mut Vec<u8>) -> usize,
) {
    out.push(head(distance, LIST));
    let at = out.len();
    out.push(0);
    let count = write(out);
    if count < 15
        && let Some(place) = out.get_mut(at)
    {
        *place = head(count as u8, STRUCT);
    } else {
        make_long(out, at, count);
    }
}

/// Puts the long head of a list in the place of the short one.
#[cold]
fn make_long(out: &mut Vec<u8>, at: usize, count: usize) {
    let end = out.len();
    push_list_head(out, count);
    let extra = out.len() - end;
    if let Some(behind) = out.get_mut(at + 1..) {
        behind.rotate_right(extra);
    }
    out.remove(at);
}

/// Appends the head of a list of so many structs.
pub(super) fn push_list_head(out: &mut Vec<u8>, count: usize) {
    if count < 15 {
        out.push(head(count as u8, STRUCT));
    } else {
        out.push(head(15, STRUCT));
        varint::push(out, count as u64);
    }
}

/// Appends the head of the field that holds such a list.
pub(super) fn push_list_field(out: &mut Vec<u8>, distance: u8) {
    out.push(head(distance, LIST));
}
