//! A server that took a batch but not all of its spans.

use super::cut::{Field, field, varint};

/// What a 2xx answer says was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// Spans refused.
    pub rejected: u64,
    /// Why, in the server's words.
    pub message: String,
}

/// Reads the body of a 2xx answer. `None` if all spans were taken.
pub type ReadPartial = fn(answer: &[u8]) -> Option<Partial>;

/// An answer that says nothing of the kind.
pub fn none(_: &[u8]) -> Option<Partial> {
    None
}

/// OTLP's `ExportTraceServiceResponse`: `partial_success` (1) with
/// `rejected_spans` (1) and `error_message` (2)
/// (`opentelemetry/proto/collector/trace/v1/trace_service.proto`). A message
/// with no rejected span is a warning and none of our business.
pub fn otlp(answer: &[u8]) -> Option<Partial> {
    let mut partial = Partial::default();
    for_each_field(answer, |number, field| {
        if let (1, Field::Bytes(success)) = (number, field) {
            for_each_field(success, |number, field| match (number, field) {
                (1, Field::Number(rejected)) => partial.rejected = rejected,
                (2, Field::Bytes(text)) => {
                    partial.message = String::from_utf8_lossy(text).into_owned();
                }
                _ => {}
            });
        }
    });
    (partial.rejected > 0).then_some(partial)
}

fn for_each_field(mut message: &[u8], mut see: impl FnMut(u64, Field<'_>)) {
    while let Some((key, rest)) = varint(message) {
        let Some((value, rest)) = field(rest, key) else {
            return;
        };
        see(key >> 3, value);
        message = rest;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::proptest;

    #[test]
    fn otlp_says_how_many_spans_were_refused() {
        let answer = b"\x0a\x08\x08\x83\x01\x12\x03odd";
        let wanted = Partial {
            rejected: 131,
            message: "odd".to_owned(),
        };
        assert_eq!(otlp(answer), Some(wanted));
        assert_eq!(otlp(b""), None);
        assert_eq!(otlp(b"\x0a\x05\x12\x03odd"), None);
        assert_eq!(otlp(b"{}"), None);
    }

    proptest! {
        #[test]
        fn any_answer_is_survived(answer: Vec<u8>) {
            let _ = otlp(&answer);
        }
    }
}
