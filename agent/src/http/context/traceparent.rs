//! W3C `traceparent` (Trace Context, section 3.2).

use super::{Decision, Format, Found, Headers, Name, hex};

/// `{version}-{trace}-{span}-{flags}`.
///
/// The flags are part of the whole: they decide only where the ids are valid
/// (section 3.2.2.3: a vendor must ignore the header otherwise).
pub(super) fn read(headers: &Headers<'_>) -> Found {
    headers
        .get(Name::TraceParent)
        .and_then(parse)
        .unwrap_or_default()
}

fn parse(value: &[u8]) -> Option<Found> {
    let (version, rest) = field(value, 2)?;
    let (trace, rest) = field(rest.strip_prefix(b"-")?, 32)?;
    let (span, rest) = field(rest.strip_prefix(b"-")?, 16)?;
    let (flags, rest) = field(rest.strip_prefix(b"-")?, 2)?;
    match hex::number(version)? {
        // Invalid by section 3.2.2.1.
        0xff => return None,
        0 if !rest.is_empty() => return None,
        // A later version may go on behind another dash (section 3.2.4).
        _ if !(rest.is_empty() || rest.starts_with(b"-")) => return None,
        _ => {}
    }
    let decision = if hex::number(flags)? & 1 == 0 {
        Decision::Deny
    } else {
        Decision::Accept
    };
    let (trace, span) = (hex::trace(trace)?, hex::span(span)?);
    Some(Found::with(
        Format::TraceParent,
        Some(trace),
        Some(span),
        None,
        decision,
    ))
}

fn field(bytes: &[u8], len: usize) -> Option<(&[u8], &[u8])> {
    bytes.split_at_checked(len)
}
