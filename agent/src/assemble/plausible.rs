//! Whether a message may start where none must: at the start of a call on a
//! connection that is picked up.

/// Whether these bytes begin like a response, or with a method that is known.
///
/// A body's text often begins with a word and a space, and what is left of a
/// head that was cut with what is left of its method. Where a message must
/// start any token is a method.
pub(super) fn is_plausible(bytes: &[u8]) -> bool {
    let first = bytes
        .split_inclusive(|&byte| byte == b' ')
        .next()
        .unwrap_or_default();
    first.starts_with(STARTS[0]) || STARTS.iter().any(|start| start.starts_with(first))
}

/// Methods of the IANA registry and a few others that are common, behind what
/// begins a response.
const STARTS: [&[u8]; 34] = [
    b"HTTP/1.",
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PROPFIND ",
    b"PROPPATCH ",
    b"MKCOL ",
    b"COPY ",
    b"MOVE ",
    b"LOCK ",
    b"UNLOCK ",
    b"REPORT ",
    b"SEARCH ",
    b"ACL ",
    b"MKCALENDAR ",
    b"LINK ",
    b"UNLINK ",
    b"CHECKIN ",
    b"CHECKOUT ",
    b"MERGE ",
    b"MKACTIVITY ",
    b"QUERY ",
    b"PURGE ",
    b"BAN ",
    b"M-SEARCH ",
    b"NOTIFY ",
    b"SUBSCRIBE ",
    b"UNSUBSCRIBE ",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts() {
        for (bytes, plausible) in [
            ("GET / HTTP/1.1", true),
            ("PROPFIND /", true),
            ("G", true),
            ("GET", true),
            ("HTTP/1.1 200", true),
            ("HTTP", true),
            ("EAD / HTTP/1.1", false),
            ("FROBNICATE /x", false),
            ("Hello world", false),
            ("TTP/1.1 200", false),
            ("{}", false),
            ("GETS /", false),
        ] {
            assert_eq!(is_plausible(bytes.as_bytes()), plausible, "{bytes:?}");
        }
    }
}
