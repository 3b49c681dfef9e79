//! The pipeline's ends: which exporters a span goes to.

use std::time::Instant;

use crate::export::{Exporter, Span};
use crate::ledger::Ledger;
use crate::link::Backend;

/// Exporters, some for all spans and some for those of one backend.
///
/// A backend that a reload has taken out stays until the last exchange that
/// was decided for it is over, so that a change loses no span.
#[derive(Default)]
pub struct Exits {
    /// What prints; takes all spans.
    printed: Option<Box<dyn Exporter>>,
    backends: Vec<Exit>,
    /// What printed before a reload: takes what nothing else takes, spans that
    /// were decided when there was no backend.
    last: Option<Box<dyn Exporter>>,
}

struct Exit {
    backend: Backend,
    exporter: Box<dyn Exporter>,
    /// Exchanges that were decided for it and are not over.
    held: u64,
    retired: bool,
}

impl Exits {
    /// An end that takes all spans, if there is one.
    #[must_use]
    pub fn new(printed: Option<Box<dyn Exporter>>) -> Self {
        Self {
            printed,
            ..Self::default()
        }
    }

    /// Prints all spans like this from now on, or no longer.
    pub fn print(&mut self, printed: Option<Box<dyn Exporter>>) {
        let nothing = printed.is_none();
        if let Some(mut before) = std::mem::replace(&mut self.printed, printed) {
            before.flush();
            self.last = nothing.then_some(before);
        }
    }

    /// Opens the end of a backend.
    pub fn open(&mut self, backend: Backend, exporter: Box<dyn Exporter>) {
        self.backends.push(Exit {
            backend,
            exporter,
            held: 0,
            retired: false,
        });
    }

    /// Closes the end of a backend once nothing on its way needs it. Dropping
    /// the exporter then ends its worker.
    pub fn retire(&mut self, backend: Backend) {
        if let Some(exit) = self.of(backend) {
            exit.retired = true;
        }
        self.close_idle();
    }

    /// An exchange is on its way to this backend.
    pub fn hold(&mut self, backend: Backend) {
        if let Some(exit) = self.of(backend) {
            exit.held += 1;
        }
    }

    /// The span of such an exchange.
    pub fn export(&mut self, backend: Backend, span: &Span, ledger: &Ledger) {
        ledger.exchanges.spans.add(1);
        let mut takers = 0_u64;
        if let Some(exporter) = &mut self.printed {
            exporter.export(span);
            takers += 1;
        }
        let mut over = false;
        if let Some(exit) = self.of(backend) {
            exit.exporter.export(span);
            exit.held = exit.held.saturating_sub(1);
            over = exit.retired && exit.held == 0;
            takers += 1;
        }
        if takers == 0
            && let Some(last) = &mut self.last
        {
            last.export(span);
        }
        if takers > 1 {
            ledger.exchanges.copies.add(takers - 1);
        }
        if over {
            self.close_idle();
        }
    }

    /// Tells the wall time: batches that waited long enough go out.
    pub fn tick(&mut self, now: Instant) {
        for exporter in self.all() {
            exporter.tick(now);
        }
    }

    /// Lets go of everything.
    pub fn flush(&mut self) {
        for exporter in self.all() {
            exporter.flush();
        }
    }

    /// Whether nobody will ever see a span again: the output's reader has gone
    /// away, and there is no backend.
    #[must_use]
    pub fn stopped(&self) -> bool {
        let printed = self.printed.as_ref();
        self.backends.is_empty() && printed.is_some_and(|exporter| exporter.stopped())
    }

    fn close_idle(&mut self) {
        self.backends.retain_mut(|exit| {
            let stays = !exit.retired || exit.held > 0;
            if !stays {
                exit.exporter.flush();
            }
            stays
        });
    }

    // There are few, most often one.
    fn of(&mut self, backend: Backend) -> Option<&mut Exit> {
        self.backends
            .iter_mut()
            .find(|exit| exit.backend == backend)
    }

    fn all(&mut self) -> impl Iterator<Item = &mut Box<dyn Exporter>> {
        let backends = self.backends.iter_mut().map(|exit| &mut exit.exporter);
        let others = self.printed.iter_mut().chain(&mut self.last);
        others.chain(backends)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;
    use crate::export::testing;

    /// Notes what it is told, and its end.
    struct Noted(&'static str, Arc<Mutex<Vec<String>>>);

    impl Noted {
        fn note(&self, what: &str) {
            self.1.lock().unwrap().push(format!("{} {what}", self.0));
        }
    }

    impl Exporter for Noted {
        fn export(&mut self, _: &Span) {
            self.note("span");
        }
        fn tick(&mut self, _: Instant) {}
        fn flush(&mut self) {
            self.note("flush");
        }
    }

    impl Drop for Noted {
        fn drop(&mut self) {
            self.note("end");
        }
    }

    #[test]
    fn spans_go_to_their_backend_and_a_retired_one_waits_for_its_last() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let noted = |name| Box::new(Noted(name, Arc::clone(&notes)));
        let (one, two) = (Backend(1), Backend(2));
        let ledger = Ledger::new();
        let mut exits = Exits::new(Some(noted("all")));
        exits.open(one, noted("one"));
        exits.hold(one);
        exits.hold(one);
        exits.open(two, noted("two"));
        exits.hold(two);
        exits.retire(one);
        let span = testing::span_of("GET", "/", "x");
        for backend in [two, one, one] {
            exits.export(backend, &span, &ledger);
        }
        exits.retire(two);
        // Of no backend: there is only what prints.
        exits.export(Backend(9), &span, &ledger);
        assert_eq!(
            *notes.lock().unwrap(),
            [
                "all span",
                "two span",
                "all span",
                "one span",
                "all span",
                "one span",
                "one flush",
                "one end",
                "two flush",
                "two end",
                "all span",
            ]
        );
        assert_eq!(ledger.exchanges.spans.get(), 4);
        assert_eq!(ledger.exchanges.copies.get(), 3);
    }

    #[test]
    fn what_prints_may_change_and_no_span_is_left_without_an_end() {
        let notes = Arc::new(Mutex::new(Vec::new()));
        let noted = |name| -> Box<dyn Exporter> { Box::new(Noted(name, Arc::clone(&notes))) };
        let (ledger, span) = (Ledger::new(), testing::span_of("GET", "/", "x"));
        let mut exits = Exits::new(Some(noted("console")));
        exits.print(Some(noted("jsonl")));
        exits.export(Backend(0), &span, &ledger);
        // A backend instead: what was decided before has none.
        exits.open(Backend(1), noted("one"));
        exits.print(None);
        exits.export(Backend(0), &span, &ledger);
        exits.export(Backend(1), &span, &ledger);
        exits.print(None);
        exits.export(Backend(0), &span, &ledger);
        // And without one again.
        exits.retire(Backend(1));
        exits.print(Some(noted("console")));
        exits.export(Backend(0), &span, &ledger);
        let said = notes.lock().unwrap().join(", ");
        assert_eq!(
            said,
            "console flush, console end, jsonl span, jsonl flush, jsonl span, one span, \
             jsonl span, one flush, one end, console span"
        );
        assert_eq!(ledger.exchanges.spans.get(), 5);
        assert_eq!(ledger.exchanges.copies.get(), 0);
    }
}
