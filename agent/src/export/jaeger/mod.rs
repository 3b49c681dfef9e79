//! Jaeger's agent protocol: `Agent.emitBatch` in compact thrift, one call a
//! datagram (`jaegertracing/jaeger-idl`, `agent.thrift`, `jaeger.thrift`;
//! `research/backends.md` 4).
//!
//! A call has one process, so the spans of a batch are sorted by workload, and
//! each workload's fill as many datagrams as they need. No call is answered:
//! what a datagram's loss means is the transport's business.
//!
//! The protocol knows no shared spans. If one comes all the same, its id is
//! that of the client's half, and Jaeger's query service tells the two apart
//! by `span.kind`; see [`Protocol::has_shared_spans`](super::Protocol).

mod compact;
mod span;
#[cfg(test)]
mod tests;

use self::compact::{STOP, STRUCT, head, push_list, push_list_field, push_list_head, push_string};
use self::span::{push_span, push_text};
use super::content::{Tag, Wording, of_pod};
use super::groups::{Group, Groups};
use super::known::Render;
use super::number::IpText;
use super::text::{self, MAX_NAME, MAX_VALUE};
use super::{Encoder, Refused, Span, datagrams};
use crate::identify::Workload;

/// Bytes of a datagram at most: what Jaeger's clients send, and its agent and
/// `jaegerreceiver` read. Lower it to the path's MTU where the agent is on
/// another node.
pub const MAX_DATAGRAM: usize = 65_000;

/// What stands behind the spans: the ends of `Batch` and of the arguments.
const END: [u8; 2] = [STOP, STOP];

/// The Jaeger encoder; a finished batch is a sequence of
/// [`datagrams`](super::datagrams).
///
/// Values are cut as in Zipkin's JSON. A span larger than a datagram is
/// refused, and nothing else with it.
#[derive(Debug)]
pub struct Jaeger {
    wording: Wording,
    /// Bytes of a datagram at most.
    limit: usize,
    spans: Groups<Process>,
    /// A datagram being put together.
    datagram: Vec<u8>,
}

impl Jaeger {
    /// An encoder that puts requests into words like this and makes datagrams of at most
    /// so many bytes.
    #[must_use]
    pub fn new(wording: impl Into<Wording>, limit: usize) -> Self {
        Self {
            wording: wording.into(),
            limit,
            spans: Groups::default(),
            datagram: Vec::new(),
        }
    }
}

impl Default for Jaeger {
    fn default() -> Self {
        Self::new(Wording::default(), MAX_DATAGRAM)
    }
}

impl Encoder for Jaeger {
    /// Nothing over UDP has one; this is what the bytes are.
    fn content_type(&self) -> &'static str {
        "application/vnd.apache.thrift.compact"
    }

    fn encode(&mut self, span: &Span, _: &mut Vec<u8>) -> Result<(), Refused> {
        let (wording, limit) = (self.wording, self.limit);
        self.spans.add(&span.workload, |process, out| {
            let start = out.len();
            push_span(out, span, &process.node, wording);
            let size = process.envelope.len() + list_head(1) + (out.len() - start) + END.len();
            if size > limit {
                return Err(Refused::TooLarge { limit });
            }
            Ok(())
        })
    }

    fn pending(&self) -> usize {
        self.spans.len()
    }

    fn finish(&mut self, batch: &mut Vec<u8>) {
        let Self {
            limit, datagram, ..
        } = self;
        self.spans
            .drain(|process, group| push_datagrams(batch, datagram, *limit, process, group));
    }
}

/// Bytes of the head of a list of so many structs.
const fn list_head(count: usize) -> usize {
    if count < 15 {
        1
    } else {
        1 + super::varint::len(count)
    }
}

/// Fills datagrams with the spans of a workload.
fn push_datagrams(
    batch: &mut Vec<u8>,
    datagram: &mut Vec<u8>,
    limit: usize,
    process: &Process,
    group: &Group<'_>,
) {
    let fixed = process.envelope.len() + END.len();
    let mut spans = group.spans().peekable();
    // How many of those that have not been sent fit.
    let mut sizes = group.spans().map(<[u8]>::len).peekable();
    while spans.peek().is_some() {
        let (mut count, mut size) = (0, 0);
        while let Some(next) =
            sizes.next_if(|next| count == 0 || fixed + list_head(count + 1) + size + next <= limit)
        {
            count += 1;
            size += next;
        }
        datagram.clear();
        datagram.extend_from_slice(&process.envelope);
        push_list_head(datagram, count);
        for span in spans.by_ref().take(count) {
            datagram.extend_from_slice(span);
        }
        datagram.extend_from_slice(&END);
        datagrams::push(batch, count as u32, datagram);
    }
}

/// What the spans of one workload have in common.
#[derive(Debug)]
struct Process {
    /// Everything before the list of spans.
    envelope: Vec<u8>,
    /// The tag of the workload's node.
    node: Vec<u8>,
}

impl Render for Process {
    fn render(workload: &Workload) -> Self {
        let mut tags = vec![(
            "nodespan.version",
            env!("CARGO_PKG_VERSION").as_bytes().to_vec(),
        )];
        if !workload.node.is_empty() {
            tags.push(("hostname", workload.node.as_bytes().to_vec()));
        }
        if let Some(ip) = workload.address {
            let mut text = Vec::new();
            IpText::new(ip).push(&mut text);
            tags.push(("ip", text));
        }
        let pod = of_pod(workload);
        tags.extend(pod.map(|(tag, value)| (tag.name(), value.as_bytes().to_vec())));
        let mut node = Vec::new();
        push_text(&mut node, Tag::NodeId.name(), |out| {
            text::push_text(out, workload.node.as_bytes(), MAX_VALUE);
        });
        Self {
            envelope: envelope(&workload.service, &tags),
            node,
        }
    }
}

/// Everything of a call before the head of its list of spans.
fn envelope(service: &str, tags: &[(&'static str, Vec<u8>)]) -> Vec<u8> {
    /// The protocol, its version, and the type of the message: a call that
    /// nobody answers. The number of the call is 0: nobody asks for it.
    const MESSAGE: [u8; 3] = [0x82, 0x81, 0];
    let mut out = MESSAGE.to_vec();
    super::varint::push_sized(&mut out, b"emitBatch");
    // The arguments' field 1 is the batch, whose field 1 is the process.
    out.extend_from_slice(&[head(1, STRUCT), head(1, STRUCT)]);
    push_string(&mut out, 1, |out| {
        text::push_text(out, service.as_bytes(), MAX_NAME);
    });
    if !tags.is_empty() {
        push_list(&mut out, 1, |out| {
            for (key, value) in tags {
                push_text(out, key, |out| text::push_text(out, value, MAX_VALUE));
            }
            tags.len()
        });
    }
    out.push(STOP);
    push_list_field(&mut out, 1);
    out
}
