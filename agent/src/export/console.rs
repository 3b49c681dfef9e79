//! Spans for people: one line each, in colour on a terminal.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use super::content::{Request, error};
use super::output::Output;
use super::{Exporter, Queries, Span};
use crate::ledger::BackendLedger;
use crate::units::Side;

/// Characters of a URL that are shown.
const MAX_URL: usize = 200;

/// Prints one line per span: time (UTC), trace id, service, which end it is
/// and who is at the other, method, URL, status, duration, sizes, error.
#[derive(Debug)]
pub struct Console<W: Write> {
    queries: Queries,
    colour: bool,
    output: Output<W>,
}

impl<W: Write> Console<W> {
    /// Lines for this writer, counted here. `colour` is for terminals.
    #[must_use]
    pub fn new(writer: W, colour: bool, queries: Queries, ledger: Arc<BackendLedger>) -> Self {
        Self {
            queries,
            colour,
            output: Output::new(writer, ledger),
        }
    }
}

impl<W: Write + Send> Exporter for Console<W> {
    fn export(&mut self, span: &Span) {
        let (colour, queries) = (self.colour, self.queries);
        self.output.push(|text| line(text, span, colour, queries));
    }

    fn tick(&mut self, _: Instant) {
        self.output.flush();
    }

    fn flush(&mut self) {
        self.output.flush();
    }

    fn stopped(&self) -> bool {
        self.output.stopped()
    }
}

const DIM: &str = "\u{1b}[2m";
const BOLD: &str = "\u{1b}[1m";
const RED: &str = "\u{1b}[31m";
const GREEN: &str = "\u{1b}[32m";
const YELLOW: &str = "\u{1b}[33m";
const CYAN: &str = "\u{1b}[36m";
const RESET: &str = "\u{1b}[0m";

fn line(out: &mut Vec<u8>, span: &Span, colour: bool, queries: Queries) {
    let exchange = &*span.exchange;
    let request = Request::of(exchange, queries);
    let failed = error(exchange);
    let mut part = |style: &str, text: &str| {
        if colour && !style.is_empty() {
            out.extend_from_slice(style.as_bytes());
            push_visible(out, text);
            out.extend_from_slice(RESET.as_bytes());
        } else {
            push_visible(out, text);
        }
        out.push(b' ');
    };
    part(DIM, &time_of_day(span.timestamp.0));
    part(DIM, &span.trace.to_string());
    part(CYAN, &span.workload.service);
    let arrow = match exchange.began.side {
        Side::Client => "→",
        Side::Server => "←",
    };
    match exchange.began.peer {
        Some(peer) => part("", &format!("{arrow} {peer}")),
        None => part("", arrow),
    }
    part(BOLD, &String::from_utf8_lossy(request.method));
    let mut url = Vec::new();
    request.url(|piece| url.extend_from_slice(piece));
    part("", &shortened(&String::from_utf8_lossy(&url)));
    match exchange.status {
        Some(status) => part(status_style(status), &status.to_string()),
        None => part(RED, "-"),
    }
    part("", &duration(span.duration));
    let (sent, received) = (exchange.request_body.bytes, exchange.response_body.bytes);
    part(DIM, &format!("{}/{}", size(sent), size(received)));
    if let Some(text) = failed.filter(|text| *text != "true") {
        part(RED, &format!("error: {text}"));
    }
    out.pop();
    out.push(b'\n');
}

/// Appends text without the control characters it may carry: what came over
/// the wire does not get to move the cursor.
fn push_visible(out: &mut Vec<u8>, text: &str) {
    for c in text.chars() {
        let shown = if c.is_control() {
            char::REPLACEMENT_CHARACTER
        } else {
            c
        };
        out.extend_from_slice(shown.encode_utf8(&mut [0; 4]).as_bytes());
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(MAX_URL) {
        Some((end, _)) => text.get(..end).unwrap_or_default().to_owned() + "…",
        None => text.to_owned(),
    }
}

fn status_style(status: u16) -> &'static str {
    match status {
        0..400 => GREEN,
        400..500 => YELLOW,
        500.. => RED,
    }
}

fn time_of_day(micros: u64) -> String {
    let seconds = micros / 1_000_000;
    let (h, m, s) = (seconds / 3600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}Z", micros / 1000 % 1000)
}

fn duration(micros: u64) -> String {
    match micros {
        0..1000 => format!("{micros}µs"),
        1000..1_000_000 => format!("{}.{}ms", micros / 1000, micros / 100 % 10),
        _ => format!("{}.{:02}s", micros / 1_000_000, micros / 10_000 % 100),
    }
}

fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut tenths, mut unit) = (bytes.saturating_mul(10), 0);
    while tenths >= 10_240 && unit + 1 < UNITS.len() {
        tenths /= 1024;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes}B")
    } else {
        format!("{}.{}{}", tenths / 10, tenths % 10, UNITS[unit])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::Failure;
    use crate::export::testing::{span_of, typical};
    use crate::ledger::Ledger;

    fn print(span: &Span, colour: bool) -> String {
        let mut text = Vec::new();
        let ledger = Ledger::new().backend("console");
        let mut console = Console::new(&mut text, colour, Queries::Redacted, ledger);
        console.export(span);
        console.flush();
        drop(console);
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn a_line_says_what_happened() {
        assert_eq!(
            print(&typical(), false),
            "21:20:00.123Z 5af7183fb1d4cf5f6b221d5bc9e6496c orders ← 10.244.2.9:51234 GET \
             http://orders.shop.svc:8080/api/orders/4711?limit=***&token=*** 200 1.4ms 0B/1.7KiB\n"
        );
    }

    #[test]
    fn failures_are_said_in_words() {
        let mut span = span_of("GET", "/", "h");
        (span.exchange.status, span.exchange.failure) = (None, Some(Failure::Reset));
        assert!(
            print(&span, false)
                .ends_with(" GET http://h/ - 1.4ms 0B/1.7KiB error: connection reset\n")
        );
    }

    #[test]
    fn colour_is_for_terminals_and_escapes_from_the_wire_are_not() {
        let span = span_of("GET", "/\u{1b}[2Jx\n", "h");
        assert!(!print(&span, false).contains('\u{1b}'));
        let coloured = print(&span, true);
        assert!(coloured.contains("\u{1b}[32m200\u{1b}[0m"));
        assert!(!coloured.contains("[2Jx\n") && !coloured.contains("\u{1b}[2J"));
    }

    #[test]
    fn long_urls_are_shortened() {
        let span = span_of("GET", &format!("/{}", "ä".repeat(500)), "h");
        let line = print(&span, false);
        assert!(line.contains("ä… 200 ") && line.chars().count() < 320);
    }

    #[test]
    fn units_fit_the_number() {
        assert_eq!(
            [0, 999, 1000, 59_949, 1_500_000].map(duration),
            ["0µs", "999µs", "1.0ms", "59.9ms", "1.50s"]
        );
        assert_eq!(
            [0, 1023, 1024, 1_572_864, u64::MAX].map(size),
            ["0B", "1023B", "1.0KiB", "1.5MiB", "1677721.5TiB"]
        );
        assert_eq!(time_of_day(0), "00:00:00.000Z");
    }
}
