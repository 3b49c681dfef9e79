//! Jaeger's `uber-trace-id` (jaegertracing documentation 1.21, client
//! libraries, "Propagation Format").

use super::{Decision, Format, Found, Headers, Name, hex};

/// `{trace}:{span}:{parent}:{flags}`, whose colons may be URL-encoded.
pub(super) fn read(headers: &Headers<'_>) -> Found {
    headers.get(Name::Uber).and_then(parse).unwrap_or_default()
}

fn parse(value: &[u8]) -> Option<Found> {
    let (trace, rest) = field(value)?;
    let (span, rest) = field(rest)?;
    let (parent, flags) = field(rest)?;
    if flags.len() > 2 {
        return None;
    }
    let flags = hex::number(flags)?;
    let decision = if flags & 2 != 0 {
        Decision::Debug
    } else if flags & 1 != 0 {
        Decision::Accept
    } else {
        Decision::Deny
    };
    let (trace, span) = (hex::trace(trace)?, hex::span(span)?);
    Some(Found::with(
        Format::Uber,
        Some(trace),
        Some(span),
        hex::span(parent),
        decision,
    ))
}

/// What comes before the next separator, and what behind it.
fn field(value: &[u8]) -> Option<(&[u8], &[u8])> {
    let at = value.iter().position(|&b| b == b':' || b == b'%')?;
    let (field, rest) = value.split_at_checked(at)?;
    let rest = rest
        .strip_prefix(b":")
        .or_else(|| rest.strip_prefix(b"%3A"))
        .or_else(|| rest.strip_prefix(b"%3a"))?;
    Some((field, rest))
}
