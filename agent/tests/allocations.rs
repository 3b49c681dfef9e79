//! Encoding allocates nothing in the steady state, whatever the encoding.

mod spans;

use nodespan::export::protocol::Limits;
use nodespan::export::{Encoder, Protocol, Refused, Span, Wording};

const ALL: [Protocol; 6] = [
    Protocol::ZipkinV1Json,
    Protocol::ZipkinV1Thrift,
    Protocol::ZipkinJson,
    Protocol::ZipkinProto,
    Protocol::Otlp,
    Protocol::JaegerCompact,
];

/// Spans of several workloads, mixed, one of them without an address; some with
/// strings that are replaced or cut, and one with an error.
fn mixed() -> Option<Vec<Span>> {
    let mut workloads: Vec<_> = (0..7).map(spans::workload).collect();
    if let Some(first) = workloads.first_mut().and_then(std::sync::Arc::get_mut) {
        first.address = None;
    }
    let long = format!("/long?{}", "k=v&".repeat(2000));
    let targets = [
        "/api/orders/4711?limit=20&token=secret",
        "/ä\"\\\u{1}",
        &long,
        "*",
    ];
    (0..140)
        .map(|n| spans::span(n, targets[n * 7 / 3 % 4], &workloads[n % 7]))
        .collect()
}

fn batch(encoder: &mut dyn Encoder, spans: &[Span], out: &mut Vec<u8>) -> Result<(), Refused> {
    out.clear();
    for span in spans {
        encoder.encode(span, out)?;
    }
    encoder.finish(out);
    Ok(())
}

#[test]
fn nothing_is_allocated_after_the_first_batch() {
    let spans = mixed().unwrap();
    for protocol in ALL {
        let mut encoder = protocol.encoder(Wording::default(), Limits::default());
        let mut out = Vec::new();
        // Buffers grow until a batch of this size fits.
        let cold = allocation_counter::measure(|| batch(&mut *encoder, &spans, &mut out).unwrap());
        let first = out.clone();
        let warm = allocation_counter::measure(|| batch(&mut *encoder, &spans, &mut out).unwrap());
        assert!(cold.count_total > 0, "{protocol:?}: the counter counts");
        assert_eq!(warm.count_total, 0, "{protocol:?}: {warm:?}");
        assert!(out == first, "{protocol:?}: both batches are the same");
    }
}
