//! Fields of Protocol Buffers messages, written straight into a buffer.
//!
//! A field is a key byte (number and wire type; all numbers here are below 16,
//! so one byte, except where two are given) and its value. `sized` messages
//! are written first and measured afterwards.

use std::net::IpAddr;

use super::varint;

/// Key of a field with a variable-length integer.
pub(super) const fn int(field: u8) -> u8 {
    field << 3
}

/// Key of a field of eight bytes.
pub(super) const fn fixed64(field: u8) -> u8 {
    field << 3 | 1
}

/// Key of a field with a length: bytes, strings, messages.
pub(super) const fn sized(field: u8) -> u8 {
    field << 3 | 2
}

/// Appends an integer field.
#[inline]
pub(super) fn push_int(out: &mut Vec<u8>, field: u8, number: u64) {
    out.push(int(field));
    varint::push(out, number);
}

/// Appends a `fixed64` field.
#[inline]
pub(super) fn push_fixed64(out: &mut Vec<u8>, field: u8, number: u64) {
    let mut bytes = [fixed64(field), 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[1..].copy_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends an id of eight bytes, the highest first.
#[inline]
pub(super) fn push_id(out: &mut Vec<u8>, field: u8, id: u64) {
    let mut bytes = [sized(field), 8, 0, 0, 0, 0, 0, 0, 0, 0];
    bytes[2..].copy_from_slice(&id.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends an id of sixteen bytes, the highest first.
#[inline]
pub(super) fn push_wide_id(out: &mut Vec<u8>, field: u8, high: u64, low: u64) {
    let mut bytes = [0; 18];
    bytes[..2].copy_from_slice(&[sized(field), 16]);
    bytes[2..10].copy_from_slice(&high.to_be_bytes());
    bytes[10..].copy_from_slice(&low.to_be_bytes());
    out.extend_from_slice(&bytes);
}

/// Appends bytes or a string.
#[inline]
pub(super) fn push_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    out.push(sized(field));
    varint::push_sized(out, bytes);
}

/// Appends a message or a string that `write` writes. `W` is how many bytes
/// its length mostly has.
#[inline]
pub(super) fn push_message<const W: usize>(
    out: &mut Vec<u8>,
    field: u8,
    write: impl FnOnce(&mut Vec<u8>),
) {
    out.push(sized(field));
    varint::sized::<W>(out, write);
}

/// Appends an address as four or sixteen bytes, each kind in its own field.
#[inline]
pub(super) fn push_ip(out: &mut Vec<u8>, v4: u8, v6: u8, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => push_bytes(out, v4, &ip.octets()),
        IpAddr::V6(ip) => push_bytes(out, v6, &ip.octets()),
    }
}
