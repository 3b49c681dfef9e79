//! Which end is the client, where no handshake says so.

use super::table::{End, Key};

/// What a segment reads like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looks {
    Request,
    Response,
    Neither,
}

/// Longest method that is looked for.
const MAX_METHOD: usize = 32;

/// Whether these bytes read like the start of an HTTP/1 message (RFC 9112
/// sections 3 and 4): a method in capitals, a space and the start of a target,
/// or `HTTP/1.`.
pub(super) fn looks(head: &[u8]) -> Looks {
    if head.starts_with(b"HTTP/1.") {
        return Looks::Response;
    }
    let method = head
        .iter()
        .take(MAX_METHOD)
        .take_while(|&&byte| byte.is_ascii_uppercase() || byte == b'-' || byte == b'_')
        .count();
    match (head.get(method), head.get(method + 1)) {
        (Some(b' '), Some(b'/' | b'*' | b'0'..=b'9' | b'a'..=b'z' | b'[')) if method >= 3 => {
            Looks::Request
        }
        _ => Looks::Neither,
    }
}

/// The end with the higher port; of equal ones that of the lower address.
pub(super) const fn client_by_port(key: &Key) -> End {
    let (low, high) = key.ports();
    if high > low { End::High } else { End::Low }
}
