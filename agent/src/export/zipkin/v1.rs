//! Zipkin v1 JSON (`openzipkin/zipkin-api`, `zipkin-api.yaml`; read the way
//! `V1JsonSpanReader` and `V1SpanConverter` do, `research/backends.md` 2.3).
//!
//! Kind and times are annotations `cs` and `cr`, or `sr` and `ss`; tags are
//! binary annotations, and so is the remote endpoint (`sa`, `ca`). The server's
//! half of a shared span has no timestamp and no duration: they are the
//! client's, and by that the reader knows which half it is.

use std::net::IpAddr;
use std::sync::Arc;

use super::super::content::{FIRST_BYTE, Request, Tag, Visitor, Wording, of_pod, visit_tags};
use super::super::cut::{self, Cut};
use super::super::known::{Known, Render};
use super::super::number::{IpText, hex, push_display, push_u64};
use super::super::text::{MAX_NAME, MAX_VALUE};
use super::super::{Encoder, Refused, Span};
use super::ip_key;
use super::json::{Value, end_value, is_clean};
use crate::identify::Workload;
use crate::units::{Endpoint, Side};

/// The Zipkin v1 JSON encoder.
///
/// Values are cut as in v2 JSON, see [`Zipkin`](super::Zipkin). Every
/// annotation carries the local endpoint, because core annotations mean
/// nothing without and because Zipkin 1 found services by it.
#[derive(Debug, Default)]
pub struct ZipkinV1 {
    wording: Wording,
    known: Known<Fragment>,
    /// The local endpoint of a workload that has no address of its own.
    scratch: Vec<u8>,
}

impl ZipkinV1 {
    /// An encoder that puts requests into words like this.
    #[must_use]
    pub fn new(wording: impl Into<Wording>) -> Self {
        Self {
            wording: wording.into(),
            ..Self::default()
        }
    }

    fn object(&mut self, span: &Span, out: &mut Vec<u8>) {
        let exchange = &*span.exchange;
        let began = &exchange.began;
        let request = Request::of(exchange, self.wording);
        let text = exchange.text.all();
        let plain = text.len() <= MAX_NAME && is_clean(text);
        let fragment = self.known.of(&span.workload);
        let scratch = &mut self.scratch;
        let local = fragment.local(scratch, began.local.map(|local| local.ip));

        push_ids(out, span);
        if plain {
            request.name(|piece| out.extend_from_slice(piece));
            end_value(out);
        } else {
            let mut name = Value::new(out, MAX_NAME);
            request.name(|piece| name.put(piece));
            name.end();
        }
        out.push(b'"');
        if !(span.shared && began.side == Side::Server) {
            if span.timestamp.0 != 0 {
                out.extend_from_slice(b",\"timestamp\":");
                push_u64(out, span.timestamp.0);
            }
            out.extend_from_slice(b",\"duration\":");
            push_u64(out, span.duration.max(1));
        }
        push_annotations(out, span, local);
        out.extend_from_slice(b",\"binaryAnnotations\":[");
        if let Some(peer) = began.peer {
            push_remote(out, began.side, peer, span.remote.as_deref());
        }
        let first = began.peer.is_none();
        let mut tags = Tags {
            out,
            local,
            plain,
            fragment,
            first,
        };
        visit_tags(span, &request, &mut tags);
        out.extend_from_slice(if span.debug {
            b"],\"debug\":true}"
        } else {
            b"]}"
        });
    }
}

impl Encoder for ZipkinV1 {
    fn content_type(&self) -> &'static str {
        "application/json"
    }

    fn encode(&mut self, span: &Span, batch: &mut Vec<u8>) -> Result<(), Refused> {
        batch.push(if batch.is_empty() { b'[' } else { b',' });
        self.object(span, batch);
        Ok(())
    }

    fn finish(&mut self, batch: &mut Vec<u8>) {
        batch.push(b']');
    }

    fn cut(&self) -> Cut {
        cut::json
    }
}

/// When the core annotations happened: start and end.
pub(super) fn core_times(span: &Span) -> [u64; 2] {
    let start = span.timestamp.0;
    [start, start.saturating_add(span.duration.max(1))]
}

/// Names of the core annotations at start and end, and of the peer's address.
pub(super) const fn core_names(side: Side) -> ([&'static str; 2], &'static str) {
    match side {
        Side::Client => (["cs", "cr"], "sa"),
        Side::Server => (["sr", "ss"], "ca"),
    }
}

/// Appends everything up to the name.
fn push_ids(out: &mut Vec<u8>, span: &Span) {
    out.extend_from_slice(b"{\"traceId\":\"");
    if span.trace.high() != 0 {
        out.extend_from_slice(&hex(span.trace.high()));
    }
    out.extend_from_slice(&hex(span.trace.low()));
    if let Some(parent) = span.parent {
        out.extend_from_slice(b"\",\"parentId\":\"");
        out.extend_from_slice(&hex(parent.get()));
    }
    out.extend_from_slice(b"\",\"id\":\"");
    out.extend_from_slice(&hex(span.id.get()));
    out.extend_from_slice(b"\",\"name\":\"");
}

fn push_annotations(out: &mut Vec<u8>, span: &Span, local: &[u8]) {
    let [start, end] = core_times(span);
    let ([at_start, at_end], _) = core_names(span.exchange.began.side);
    out.extend_from_slice(b",\"annotations\":[");
    push_annotation(out, start, at_start, local);
    if let Some(at) = span.first_byte {
        out.push(b',');
        push_annotation(out, at.0, FIRST_BYTE, local);
    }
    out.push(b',');
    push_annotation(out, end, at_end, local);
    out.push(b']');
}

fn push_annotation(out: &mut Vec<u8>, at: u64, value: &'static str, local: &[u8]) {
    out.extend_from_slice(b"{\"timestamp\":");
    push_u64(out, at);
    out.extend_from_slice(b",\"value\":\"");
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
    out.extend_from_slice(local);
    out.push(b'}');
}

fn push_remote(out: &mut Vec<u8>, side: Side, peer: Endpoint, service: Option<&str>) {
    let (_, name) = core_names(side);
    out.extend_from_slice(b"{\"key\":\"");
    out.extend_from_slice(name.as_bytes());
    // `true` as text, which Zipkin takes for the same: Jaeger's receiver refuses
    // a whole batch for a boolean (collector-contrib, `zipkinv1/json.go`).
    // `serviceName` is required, and empty where it is not known.
    out.extend_from_slice(b"\",\"value\":\"true\",\"endpoint\":{\"serviceName\":\"");
    push_text(out, service.unwrap_or_default().as_bytes(), MAX_NAME);
    out.extend_from_slice(b"\",");
    push_ip(out, peer.ip);
    if peer.port != 0 {
        out.extend_from_slice(b",\"port\":");
        push_u64(out, u64::from(peer.port));
    }
    out.extend_from_slice(b"}}");
}

fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    out.extend_from_slice(ip_key(ip));
    IpText::new(ip).push(out);
    out.push(b'"');
}

/// Writes tags as binary annotations.
struct Tags<'a> {
    out: &'a mut Vec<u8>,
    /// `,"endpoint":{…}`
    local: &'a [u8],
    plain: bool,
    fragment: &'a Fragment,
    /// Nothing stands before the next one.
    first: bool,
}

impl Tags<'_> {
    #[inline]
    fn tag(&mut self, tag: Tag, write: impl FnOnce(&mut Vec<u8>)) {
        if !std::mem::take(&mut self.first) {
            self.out.push(b',');
        }
        push_key(self.out, tag);
        write(self.out);
        self.out.push(b'"');
        self.out.extend_from_slice(self.local);
        self.out.push(b'}');
    }
}

fn push_key(out: &mut Vec<u8>, tag: Tag) {
    out.extend_from_slice(b"{\"key\":\"");
    out.extend_from_slice(tag.name().as_bytes());
    out.extend_from_slice(b"\",\"value\":\"");
}

impl Visitor for Tags<'_> {
    #[inline]
    fn text(&mut self, tag: Tag, value: &[u8]) {
        let plain = self.plain;
        self.tag(tag, |out| {
            if plain {
                out.extend_from_slice(value);
                end_value(out);
            } else {
                push_text(out, value, MAX_VALUE);
            }
        });
    }

    #[inline]
    fn url(&mut self, tag: Tag, request: &Request<'_>) {
        let plain = self.plain;
        self.tag(tag, |out| {
            if plain {
                request.url(|piece| out.extend_from_slice(piece));
                end_value(out);
            } else {
                let mut url = Value::new(out, MAX_VALUE);
                request.url(|piece| url.put(piece));
                url.end();
            }
        });
    }

    #[inline]
    fn number(&mut self, tag: Tag, value: u64) {
        self.tag(tag, |out| push_u64(out, value));
    }

    #[inline]
    fn word(&mut self, tag: Tag, value: &'static str) {
        self.tag(tag, |out| out.extend_from_slice(value.as_bytes()));
    }

    fn boolean(&mut self, tag: Tag, value: bool) {
        self.word(tag, if value { "true" } else { "false" });
    }

    fn double(&mut self, tag: Tag, value: f64) {
        self.tag(tag, |out| push_display(out, value));
    }

    #[inline]
    fn address(&mut self, tag: Tag, value: IpAddr) {
        self.tag(tag, |out| IpText::new(value).push(out));
    }

    #[inline]
    fn node(&mut self, tag: Tag, _: &Arc<Workload>) {
        let Fragment { node, pod, .. } = self.fragment;
        self.tag(tag, |out| out.extend_from_slice(node));
        for (tag, value) in pod {
            self.tag(*tag, |out| out.extend_from_slice(value));
        }
    }
}

fn push_text(out: &mut Vec<u8>, text: &[u8], limit: usize) {
    let mut value = Value::new(out, limit);
    value.put(text);
    value.end();
}

/// What the spans of one workload have in common.
#[derive(Debug)]
struct Fragment {
    /// `,"endpoint":{…}`, without the brace if the address is missing.
    local: Vec<u8>,
    address_missing: bool,
    /// The node's name, escaped.
    node: Vec<u8>,
    /// Tags of a pod, likewise.
    pod: Vec<(Tag, Vec<u8>)>,
}

impl Render for Fragment {
    fn render(workload: &Workload) -> Self {
        // A name is required, and may be empty.
        let mut local = b",\"endpoint\":{\"serviceName\":\"".to_vec();
        push_text(&mut local, workload.service.as_bytes(), MAX_NAME);
        local.push(b'"');
        if let Some(ip) = workload.address {
            local.push(b',');
            push_ip(&mut local, ip);
            local.push(b'}');
        }
        let mut node = Vec::new();
        push_text(&mut node, workload.node.as_bytes(), MAX_VALUE);
        let pod = of_pod(workload).map(|(tag, value)| {
            let mut text = Vec::new();
            push_text(&mut text, value.as_bytes(), MAX_VALUE);
            (tag, text)
        });
        Self {
            local,
            address_missing: workload.address.is_none(),
            node,
            pod: pod.collect(),
        }
    }
}

impl Fragment {
    /// The local endpoint: without a port, as in v2 JSON, and with the
    /// connection's address if the workload has none of its own.
    fn local<'a>(&'a self, scratch: &'a mut Vec<u8>, connection: Option<IpAddr>) -> &'a [u8] {
        if !self.address_missing {
            return &self.local;
        }
        scratch.clear();
        scratch.extend_from_slice(&self.local);
        if let Some(ip) = connection {
            scratch.push(b',');
            push_ip(scratch, ip);
        }
        scratch.push(b'}');
        scratch
    }
}

#[cfg(test)]
pub(super) mod tests;
