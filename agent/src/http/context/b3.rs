//! B3, single and multi (openzipkin/b3-propagation, README).

use super::{Decision, Format, Found, Headers, Name, hex};

/// `b3: {trace}-{span}[-{decision}[-{parent}]]`, or only a decision.
///
/// What is malformed says nothing, so that the siblings are asked, but for one
/// thing: ids that are zero or no ids at all do not take a `0` back.
pub(super) fn single(headers: &Headers<'_>) -> Found {
    match headers.get(Name::B3) {
        None => Found::default(),
        Some(b"0") => Found::bare(Decision::Deny),
        Some(b"1") => Found::bare(Decision::Accept),
        Some(b"d") => Found::bare(Decision::Debug),
        Some(value) => ids_and_decision(value).unwrap_or_default(),
    }
}

fn ids_and_decision(value: &[u8]) -> Option<Found> {
    let mut fields = value.split(|&byte| byte == b'-');
    let (trace, span) = (fields.next()?, fields.next()?);
    let decision = match fields.next() {
        None => Decision::Defer,
        Some(b"0") => Decision::Deny,
        Some(b"1") => Decision::Accept,
        Some(b"d") => Decision::Debug,
        Some(_) => return None,
    };
    let parent = fields.next();
    if fields.next().is_some() {
        return None;
    }
    Some(Found::with(
        Format::B3Single,
        hex::trace(trace),
        hex::span(span),
        parent.and_then(hex::span),
        decision,
    ))
}

/// `x-b3-traceid` and its siblings, where all that came was read at once.
#[inline(always)]
pub(super) fn read(headers: &Headers<'_>) -> Found {
    if headers.trace.is_none() && headers.span.is_none() {
        return Found::bare(headers.sampled);
    }
    Found::with(
        Format::B3Multi,
        headers.trace,
        headers.span,
        None,
        headers.sampled,
    )
}

/// `x-b3-traceid` and its siblings.
pub(super) fn multi(headers: &Headers<'_>) -> Found {
    let decision = if headers.get(Name::Flags) == Some(b"1") {
        Decision::Debug
    } else if headers.sampled == Decision::Defer {
        headers.get(Name::Sampled).map_or(Decision::Defer, sampled)
    } else {
        headers.sampled
    };
    if !headers.has(Name::TraceId) && !headers.has(Name::SpanId) {
        return Found::bare(decision);
    }
    Found::with(
        Format::B3Multi,
        headers.trace(),
        headers.span(),
        headers.get(Name::ParentSpanId).and_then(hex::span),
        decision,
    )
}

/// `X-B3-Sampled`; `true` and `false` of any case are what lenient readers
/// accept, anything else says nothing.
fn sampled(value: &[u8]) -> Decision {
    match value {
        b"1" => Decision::Accept,
        b"0" => Decision::Deny,
        word => sampled_word(word),
    }
}

#[cold]
fn sampled_word(value: &[u8]) -> Decision {
    if value.eq_ignore_ascii_case(b"true") {
        Decision::Accept
    } else if value.eq_ignore_ascii_case(b"false") {
        Decision::Deny
    } else {
        Decision::Defer
    }
}
