//! Heads that the parser refuses and servers may still serve.
//!
//! Only the start line must be readable. Of the header lines, those with a
//! colon count, as far as their names can be read. A line that begins with a
//! blank goes on with the value before it (RFC 9112 section 5.2), of which the
//! first line counts: it is no header, whatever it looks like.

use super::fields::Fields;
use super::start::{StartLine, start_line};

/// A head read line by line.
pub(super) struct Lenient<'a> {
    pub(super) line: StartLine<'a>,
    pub(super) fields: Fields<'a>,
}

/// Reads a complete head, `None` if its start line is not HTTP/1.
pub(super) fn read(head: &[u8]) -> Option<Lenient<'_>> {
    let mut lines = head.split(|&byte| byte == b'\n');
    let line = start_line(lines.next()?)?;
    let mut fields = Fields::default();
    for header in lines {
        if let [b' ' | b'\t', ..] = header {
            continue;
        }
        let Some(colon) = header.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let Some((name, value)) = header.split_at_checked(colon) else {
            continue;
        };
        let name = name.trim_ascii();
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        fields.header(name, value);
    }
    Some(Lenient { line, fields })
}
