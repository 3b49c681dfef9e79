use super::*;

const T: &str = "463ac35c9f6413ad48485a3953bb6124";
const T64: &str = "48485a3953bb6124";
const S: &str = "a2fb4a1d1a96d312";
const P: &str = "0020000000000001";

/// What the headers `name: value; name: value` say. `T`, `U`, `S` and `P` as
/// whole words stand for ids; `Z` and `z` for zeros.
fn context(headers: &str) -> TraceContext {
    context_in(headers, Order::default())
}

fn context_in(headers: &str, order: Order) -> TraceContext {
    let mut head = String::from("GET / HTTP/1.1\r\n");
    for header in headers.split("; ").filter(|header| !header.is_empty()) {
        head.push_str(&expand(header));
        head.push_str("\r\n");
    }
    head.push_str("\r\n");
    match crate::http::head::parse_request(head.as_bytes(), order) {
        crate::http::head::Parsed::Complete(head) => head.context,
        other => panic!("{other:?}"),
    }
}

fn expand(header: &str) -> String {
    let (name, value) = header.split_once(':').unwrap();
    let value = value
        .replace('T', T)
        .replace('U', T64)
        .replace('S', S)
        .replace('P', P)
        .replace('Z', "00000000000000000000000000000000")
        .replace('z', "0000000000000000");
    format!("{name}:{value}")
}

/// Ids and decision in short: `trace/span[/parent] decision`.
fn short(context: TraceContext) -> String {
    let decision = match context.decision {
        Decision::Defer => "?",
        Decision::Deny => "0",
        Decision::Accept => "1",
        Decision::Debug => "d",
    };
    let Some(ids) = context.ids else {
        return format!("none {decision}");
    };
    let parent = ids.parent.map(|id| format!("/{id}")).unwrap_or_default();
    format!("{}/{}{parent} {decision}", ids.trace, ids.span)
        .replace(T, "T")
        .replace(T64, "U")
        .replace(S, "S")
        .replace(P, "P")
}

#[test]
fn what_headers_say() {
    let up = "463AC35C9F6413AD48485A3953BB6124";
    let upper_single = format!("b3: {up}-A2FB4A1D1A96D312-1");
    let upper_multi = format!("x-b3-traceid: {up}; X-B3-SPANID: A2FB4A1D1A96D312");
    let upper_parent = format!("traceparent: 00-{up}-A2FB4A1D1A96D312-01");
    let cases: &[(&str, &str)] = &[
        ("", "none ?"),
        // B3 single.
        ("b3: T-S", "T/S ?"),
        ("b3: T-S-1", "T/S 1"),
        ("b3: T-S-0", "T/S 0"),
        ("b3: T-S-d", "T/S d"),
        ("b3: T-S-1-P", "T/S/P 1"),
        ("b3: U-S-1", "U/S 1"),
        ("B3: T-S-1", "T/S 1"),
        ("b3:   T-S-1  ", "T/S 1"),
        (&upper_single, "T/S 1"),
        ("b3: 1", "none 1"),
        ("b3: 0", "none 0"),
        ("b3: d", "none d"),
        ("b3: true", "none ?"),
        ("b3: D", "none ?"),
        ("b3: ", "none ?"),
        ("b3: T", "none ?"),
        ("b3: T-", "none ?"),
        ("b3: -S-1", "none ?"),
        ("b3: T-S-true", "none ?"),
        ("b3: T-S-2", "none ?"),
        ("b3: T-S-1-P-x", "none ?"),
        ("b3: T-S-1-nothex", "T/S 1"),
        ("b3: T-S-1-z", "T/S 1"),
        ("b3: Z-S-1", "none ?"),
        ("b3: T-z-1", "none ?"),
        ("b3: Z-z-0", "none 0"),
        ("b3: xyz-S-0", "none 0"),
        ("b3: T0-S-1", "none ?"),
        ("b3: T-S0-1", "none ?"),
        ("b3: 1-2-1", "0000000000000001/0000000000000002 1"),
        ("b3: 1U-S-1", "0000000000000001U/S 1"),
        ("b3: zU-S-1", "U/S 1"),
        ("b3: T-S-1; b3: U-S-0", "T/S 1"),
        ("b3: junk; b3: T-S-1", "none ?"),
        // B3 multi.
        ("X-B3-TraceId: T; X-B3-SpanId: S", "T/S ?"),
        ("x-b3-traceid: T; x-b3-spanid: S; x-b3-sampled: 1", "T/S 1"),
        ("x-b3-traceid: T; x-b3-spanid: S; x-b3-sampled: 0", "T/S 0"),
        (
            "x-b3-traceid: T; x-b3-spanid: S; x-b3-sampled: tRuE",
            "T/S 1",
        ),
        (
            "x-b3-traceid: T; x-b3-spanid: S; x-b3-sampled: False",
            "T/S 0",
        ),
        ("x-b3-traceid: T; x-b3-spanid: S; x-b3-sampled: 2", "T/S ?"),
        ("x-b3-traceid: T; x-b3-spanid: S; x-b3-sampled: ", "T/S ?"),
        ("x-b3-traceid: T; x-b3-spanid: S; x-b3-flags: 1", "T/S d"),
        ("x-b3-traceid: T; x-b3-spanid: S; x-b3-flags: 0", "T/S ?"),
        (
            "x-b3-traceid: T; x-b3-spanid: S; x-b3-flags: 1; x-b3-sampled: 0",
            "T/S d",
        ),
        (
            "x-b3-traceid: T; x-b3-spanid: S; x-b3-parentspanid: P",
            "T/S/P ?",
        ),
        (
            "x-b3-traceid: T; x-b3-spanid: S; x-b3-parentspanid: junk",
            "T/S ?",
        ),
        (&upper_multi, "T/S ?"),
        ("x-b3-traceid: T; x-b3-sampled: 1", "none ?"),
        ("x-b3-traceid: T; x-b3-sampled: 0", "none 0"),
        ("x-b3-spanid: S; x-b3-sampled: 1", "none ?"),
        ("x-b3-traceid: ; x-b3-spanid: S", "none ?"),
        ("x-b3-traceid: Z; x-b3-spanid: S; x-b3-sampled: 1", "none ?"),
        (
            "x-b3-traceid: junk; x-b3-spanid: S; x-b3-flags: 1",
            "none ?",
        ),
        ("x-b3-sampled: 1", "none 1"),
        ("x-b3-sampled: 0", "none 0"),
        ("x-b3-flags: 1", "none d"),
        ("x-b3-sampled: 0; x-b3-flags: 1", "none d"),
        ("x-b3-traceid: T; x-b3-traceid: U; x-b3-spanid: S", "T/S ?"),
        ("x-b3-sampled: 0; x-b3-sampled: 1", "none 0"),
        // traceparent.
        ("traceparent: 00-T-S-01", "T/S 1"),
        ("traceparent: 00-T-S-00", "T/S 0"),
        ("traceparent: 00-T-S-03", "T/S 1"),
        ("traceparent: 00-T-S-02", "T/S 0"),
        ("traceparent: 00-T-S-01-x", "none ?"),
        ("traceparent: 00-T-S-01-", "none ?"),
        ("traceparent: ff-T-S-01", "none ?"),
        ("traceparent: FF-T-S-01", "none ?"),
        ("traceparent: 01-T-S-01", "T/S 1"),
        ("traceparent: cc-T-S-01-what-comes", "T/S 1"),
        ("traceparent: cc-T-S-01.what", "none ?"),
        ("traceparent: 00-Z-S-01", "none ?"),
        ("traceparent: 00-T-z-00", "none ?"),
        ("traceparent: 00-U-S-01", "none ?"),
        ("traceparent: 00-T-S-1", "none ?"),
        ("traceparent: 00-T-S", "none ?"),
        ("traceparent: 0-T-S-01", "none ?"),
        ("traceparent: 00-T-S-0x", "none ?"),
        ("traceparent: ", "none ?"),
        (&upper_parent, "T/S 1"),
        // uber-trace-id.
        ("uber-trace-id: T:S:0:1", "T/S 1"),
        ("uber-trace-id: T:S:P:1", "T/S/P 1"),
        ("uber-trace-id: T:S:0:0", "T/S 0"),
        ("uber-trace-id: T:S:0:3", "T/S d"),
        ("uber-trace-id: T:S:0:2", "T/S d"),
        ("uber-trace-id: T:S:0:9", "T/S 1"),
        ("uber-trace-id: T:S:0:08", "T/S 0"),
        ("uber-trace-id: T%3AS%3a0%3A1", "T/S 1"),
        (
            "uber-trace-id: 1:2:0:1",
            "0000000000000001/0000000000000002 1",
        ),
        ("uber-trace-id: U:S:0:1", "U/S 1"),
        ("uber-trace-id: T:S:0", "none ?"),
        ("uber-trace-id: T:S:0:1:1", "none ?"),
        ("uber-trace-id: Z:S:0:1", "none ?"),
        ("uber-trace-id: T:0:0:1", "none ?"),
        ("uber-trace-id: T:S:0:", "none ?"),
        ("uber-trace-id: T:S:0:100", "none ?"),
        ("uber-trace-id: T%3BS%3B0%3B1", "none ?"),
        ("Uber-Trace-Id: T:S:0:1", "T/S 1"),
        // Several formats.
        (
            "x-b3-traceid: U; x-b3-spanid: P; x-b3-sampled: 1; b3: T-S-1",
            "T/S 1",
        ),
        (
            "b3: junk; x-b3-traceid: T; x-b3-spanid: S; x-b3-sampled: 1",
            "T/S 1",
        ),
        ("b3: ; x-b3-traceid: T; x-b3-spanid: S", "T/S ?"),
        ("b3: Z-S-1; x-b3-traceid: T; x-b3-spanid: S", "T/S ?"),
        ("b3: 1; x-b3-traceid: T; x-b3-spanid: S", "T/S ?"),
        ("b3: T-S; x-b3-sampled: 1", "T/S ?"),
        ("b3: T-S; x-b3-sampled: 0", "T/S 0"),
        ("b3: T-S-1; x-b3-sampled: 0", "T/S 0"),
        ("b3: T-S-d; x-b3-sampled: 0", "T/S d"),
        ("b3: 0; traceparent: 00-T-S-01", "T/S 0"),
        ("b3: 0; uber-trace-id: T:S:0:1", "T/S 0"),
        ("b3: 0; x-b3-flags: 1", "none d"),
        ("b3: 1; x-b3-sampled: 0", "none 0"),
        ("b3: T-S-1; traceparent: 00-T-P-00", "T/S 1"),
        ("b3: T-S; traceparent: 00-T-P-00", "T/S 0"),
        ("b3: T-S; traceparent: 00-T-P-01", "T/S ?"),
        ("b3: junk; traceparent: 00-T-S-01", "T/S 1"),
        ("traceparent: 00-Z-S-01; uber-trace-id: T:S:0:1", "T/S 1"),
        ("traceparent: 00-T-S-01; uber-trace-id: U:P:0:0", "T/S 1"),
    ];
    assert!(cases.len() >= 60);
    for (headers, expected) in cases {
        assert_eq!(short(context(headers)), *expected, "{headers}");
    }
}

#[test]
fn the_order_is_a_choice() {
    let both = "b3: T-S-1; traceparent: 00-T-P-01; uber-trace-id: U:S:0:1";
    let first = |formats: &[Format]| short(context_in(both, Order::preferring(formats)));
    assert_eq!(first(&[]), "T/S 1");
    assert_eq!(first(&[Format::TraceParent]), "T/P 1");
    assert_eq!(first(&[Format::Uber, Format::TraceParent]), "U/S 1");
    assert_eq!(first(&[Format::B3Multi, Format::B3Multi]), "T/S 1");
}
