//! One Zipkin v2 JSON span per line, exactly as the Zipkin exporter sends it.

use std::io::Write;
use std::sync::Arc;
use std::time::Instant;

use super::output::Output;
use super::zipkin::Zipkin;
use super::{Exporter, Span, Wording};
use crate::ledger::BackendLedger;

/// Writes spans as JSON lines; a broken pipe ends it quietly.
#[derive(Debug)]
pub struct JsonLines<W: Write> {
    encoder: Zipkin,
    output: Output<W>,
}

impl<W: Write> JsonLines<W> {
    /// Lines for this writer, counted here.
    #[must_use]
    pub fn new(writer: W, wording: impl Into<Wording>, ledger: Arc<BackendLedger>) -> Self {
        Self {
            encoder: Zipkin::new(wording),
            output: Output::new(writer, ledger),
        }
    }
}

impl<W: Write + Send> Exporter for JsonLines<W> {
    fn export(&mut self, span: &Span) {
        let encoder = &mut self.encoder;
        self.output.push(|text| {
            encoder.object(span, text);
            text.push(b'\n');
        });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing::{span_of, typical};
    use crate::ledger::Ledger;

    #[test]
    fn each_line_is_what_zipkin_gets() {
        let ledger = Ledger::new().backend("jsonl");
        let mut text = Vec::new();
        let spans = [typical(), span_of("GET", "/line\nbreak", "h"), typical()];
        let mut lines = JsonLines::new(&mut text, Wording::default(), Arc::clone(&ledger));
        for span in &spans {
            lines.export(span);
        }
        lines.flush();
        drop(lines);
        let mut encoder = Zipkin::default();
        for (line, span) in text.split(|&b| b == b'\n').zip(&spans) {
            let mut wanted = Vec::new();
            encoder.object(span, &mut wanted);
            assert_eq!(line, wanted);
        }
        assert_eq!(text.iter().filter(|&&b| b == b'\n').count(), 3);
        assert_eq!(ledger.sent.get(), 3);
    }
}
