//! `uber-trace-id` under another name (Traefik's `traceContextHeaderName`).

use super::{Headers, Name, Order, TraceContext};

/// The context of a head in which the header `uber`, in any case, stands in
/// place of `uber-trace-id`.
///
/// Reads the headers a second time, because hardly anybody has another name,
/// and the parser shall not ask every header whether it is it.
#[must_use]
pub fn context_with(head: &[u8], order: Order, uber: &[u8]) -> TraceContext {
    let mut headers = Headers::default();
    let lines = head.split(|&byte| byte == b'\n').skip(1);
    for line in lines {
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        let (name, value) = line.split_at(colon);
        let name = name.trim_ascii_end();
        let named = |known: &[u8]| name.eq_ignore_ascii_case(known);
        let known = if named(uber) {
            Name::Uber
        } else if let Some((_, known)) = OTHERS.iter().find(|(known, _)| named(known)) {
            *known
        } else {
            continue;
        };
        headers.insert(known, value.get(1..).unwrap_or_default().trim_ascii());
    }
    headers.context(order)
}

/// The headers of the other formats.
const OTHERS: [(&[u8], Name); 7] = [
    (b"b3", Name::B3),
    (b"x-b3-traceid", Name::TraceId),
    (b"x-b3-spanid", Name::SpanId),
    (b"x-b3-parentspanid", Name::ParentSpanId),
    (b"x-b3-sampled", Name::Sampled),
    (b"x-b3-flags", Name::Flags),
    (b"traceparent", Name::TraceParent),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::context::Format;
    use crate::http::head::{Parsed, parse_request};

    fn head(headers: &str) -> Vec<u8> {
        let headers = headers.replace('|', "\r\n");
        format!("GET /b3:0 HTTP/1.1\r\nHost: b3\r\n{headers}\r\n\r\n").into_bytes()
    }

    fn parsed(head: &[u8], order: Order) -> TraceContext {
        match parse_request(head, order) {
            Parsed::Complete(head) => head.context,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn it_says_what_the_parser_says_of_the_usual_name() {
        let orders = [Order::default(), Order::preferring(&[Format::Uber])];
        for headers in [
            "X-Y: 1",
            "uber-trace-id: 1:2:0:1",
            "UBER-Trace-ID:   a1:2:0:3  ",
            "uber-trace-id: 1:2:0:0|b3: 0",
            "b3: 00000000000000aa-00000000000000bb-1|uber-trace-id: 1:2:0:1",
            "X-B3-TraceId: 0000000000000001|x-b3-spanid: 0000000000000002|x-b3-parentspanid: 0000000000000003|X-B3-Sampled: 1|X-B3-Flags: 1",
            "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "uber-trace-id: 1:2:0:1|uber-trace-id: 3:4:0:1",
            "uber-trace-id: broken|b3: 1",
            "b3:|uber-trace-id:",
        ] {
            for order in orders {
                let usual = head(headers);
                let wanted = parsed(&usual, order);
                assert_eq!(context_with(&usual, order, b"uber-trace-id"), wanted);
                // The same under another name, in any case.
                for name in ["my-trace", "My-Trace", "x-b3"] {
                    let own = head(&headers.to_ascii_lowercase().replace("uber-trace-id", name));
                    let own_name = name.to_ascii_lowercase();
                    assert_eq!(
                        context_with(&own, order, own_name.as_bytes()),
                        wanted,
                        "{headers}"
                    );
                }
                // And then the usual one is none.
                let without = headers
                    .to_ascii_lowercase()
                    .replace("uber-trace-id", "x-other");
                let wanted = parsed(&head(&without), order);
                assert_eq!(context_with(&usual, order, b"my-trace"), wanted);
            }
        }
    }

    #[test]
    fn any_bytes_are_read() {
        for bytes in [&b""[..], b"\n", b":", b"\n:\n", b"x\nb3", b"x\r\nB3 : 0\n"] {
            let context = context_with(bytes, Order::default(), b"t");
            assert_eq!(context.ids, None);
        }
    }
}
