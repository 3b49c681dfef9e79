//! OpenTelemetry: `ExportTraceServiceRequest` as Protocol Buffers
//! (`open-telemetry/opentelemetry-proto`, `trace.proto` and
//! `trace_service.proto`), the body of a POST to `…/v1/traces`.
//!
//! Each workload is a `ResourceSpans`, so its spans are kept until the batch
//! ends. Attributes follow the stable HTTP semantic conventions
//! (`attributes.rs`); the span's name is `METHOD host` as in every other
//! encoding, so that a trace reads alike wherever it is stored, and not the
//! conventions' bare method. A 64-bit trace id is padded with zeros.
//!
//! `opentelemetry-proto` builds the same message, but from values that it owns:
//! several allocations for each attribute. The tests decode with it.

mod attributes;
mod resource;
#[cfg(test)]
mod tests;

use self::attributes::push_attributes;
use self::resource::Resource;
use super::content::{FIRST_BYTE, Request, Wording};
use super::cut::{self, Cut};
use super::groups::{Group, Groups};
use super::partial::{self, ReadPartial};
use super::proto::{
    push_bytes, push_fixed64, push_id, push_int, push_message, push_wide_id, sized,
};
use super::text::{is_plain, push_name};
use super::{Encoder, Refused, Span, varint};
use crate::assemble::Failure;
use crate::units::{Side, UnixMicros};

/// Field numbers of `Span`.
mod field {
    pub(super) const TRACE_ID: u8 = 1;
    pub(super) const SPAN_ID: u8 = 2;
    pub(super) const PARENT_SPAN_ID: u8 = 4;
    pub(super) const NAME: u8 = 5;
    pub(super) const KIND: u8 = 6;
    pub(super) const START: u8 = 7;
    pub(super) const END: u8 = 8;
    pub(super) const EVENTS: u8 = 11;
    pub(super) const STATUS: u8 = 15;
    /// Key of `flags`, number 16, four bytes.
    pub(super) const FLAGS: [u8; 2] = [0x85, 0x01];
}

/// `SpanFlags`: the trace flag "sampled", and whether the parent came over the
/// wire, which is known of every span.
const FLAGS: u32 = 0x101;
const PARENT_REMOTE: u32 = 0x200;

/// `StatusCode` ERROR.
const ERROR: u64 = 2;

/// The OTLP encoder.
///
/// Values are cut as in Zipkin's JSON. The debug flag of a carried context has
/// no place in OTLP and is left out; so has the mark of a shared span.
#[derive(Debug, Default)]
pub struct Otlp {
    wording: Wording,
    spans: Groups<Resource>,
}

impl Otlp {
    /// An encoder that puts requests into words like this.
    #[must_use]
    pub fn new(wording: impl Into<Wording>) -> Self {
        Self {
            wording: wording.into(),
            ..Self::default()
        }
    }
}

impl Encoder for Otlp {
    fn content_type(&self) -> &'static str {
        "application/x-protobuf"
    }

    fn encode(&mut self, span: &Span, _: &mut Vec<u8>) -> Result<(), Refused> {
        let wording = self.wording;
        self.spans.add(&span.workload, |_, out| {
            // `ScopeSpans.spans`; a span has 128 to 16,383 bytes.
            push_message::<2>(out, 2, |out| push_span(out, span, wording));
            Ok(())
        })
    }

    fn pending(&self) -> usize {
        self.spans.len()
    }

    fn finish(&mut self, batch: &mut Vec<u8>) {
        self.spans
            .drain(|resource, group| push_group(batch, resource, group));
    }

    fn cut(&self) -> Cut {
        cut::otlp
    }

    fn partial(&self) -> ReadPartial {
        partial::otlp
    }
}

/// Appends the spans of a workload: `ExportTraceServiceRequest.resource_spans`.
fn push_group(out: &mut Vec<u8>, resource: &Resource, group: &Group<'_>) {
    let spans = group.spans().map(<[u8]>::len).sum::<usize>();
    let scope_spans = resource.scope.len() + spans;
    let field = 1 + varint::len(scope_spans) + scope_spans;
    out.push(sized(1));
    varint::push(out, (resource.resource.len() + field) as u64);
    out.extend_from_slice(&resource.resource);
    out.push(sized(2));
    varint::push(out, scope_spans as u64);
    out.extend_from_slice(&resource.scope);
    for span in group.spans() {
        out.extend_from_slice(span);
    }
}

fn push_span(out: &mut Vec<u8>, span: &Span, wording: Wording) {
    let exchange = &*span.exchange;
    let request = Request::of(exchange, wording);
    let plain = is_plain(exchange);
    let (kind, remote) = match exchange.began.side {
        Side::Client => (3, 0),
        Side::Server => (2, PARENT_REMOTE),
    };
    let start = span.timestamp.0;
    let end = start.saturating_add(span.duration.max(1));

    push_wide_id(out, field::TRACE_ID, span.trace.high(), span.trace.low());
    push_id(out, field::SPAN_ID, span.id.get());
    let mut flags = FLAGS;
    if let Some(parent) = span.parent {
        push_id(out, field::PARENT_SPAN_ID, parent.get());
        flags |= remote;
    }
    push_message::<1>(out, field::NAME, |out| push_name(out, plain, &request));
    push_int(out, field::KIND, kind);
    push_fixed64(out, field::START, nanos(UnixMicros(start)));
    push_fixed64(out, field::END, nanos(UnixMicros(end)));
    push_attributes(out, span, &request, plain);
    if let Some(at) = span.first_byte {
        push_message::<1>(out, field::EVENTS, |out| {
            push_fixed64(out, 1, nanos(at));
            push_bytes(out, 2, FIRST_BYTE.as_bytes());
        });
    }
    let failure = exchange.failure.map(Failure::as_str);
    if failure.is_some() || super::content::error(exchange).is_some() {
        push_message::<1>(out, field::STATUS, |out| {
            if let Some(message) = failure {
                push_bytes(out, 2, message.as_bytes());
            }
            push_int(out, 3, ERROR);
        });
    }
    out.extend_from_slice(&field::FLAGS);
    out.extend_from_slice(&flags.to_le_bytes());
}

/// Times are nanoseconds here.
const fn nanos(micros: UnixMicros) -> u64 {
    micros.0.saturating_mul(1000)
}
