//! What prints spans.

use std::io::{self, IsTerminal};

use super::load::Loaded;
use super::plan;
use crate::config::Output;
use crate::export::{Console, Discard, Exporter, JsonLines, Wording};
use crate::ledger::Ledger;

/// What a configuration wants printed of each span, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Printing {
    what: What,
    wording: Wording,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A line for people.
    Console,
    /// A JSON object in a line.
    Jsonl,
    /// Nothing; spans go to backends.
    Nothing,
    /// Nothing, and there is no backend either: spans are only counted.
    Discarded,
}

impl Printing {
    /// As it was asked for, else on the console if spans would go nowhere.
    pub(super) fn of(loaded: &Loaded) -> Self {
        let settings = &loaded.settings;
        let nowhere = plan::goes_nowhere(loaded);
        let what = match settings.export.printed {
            Some(Output::Console) => What::Console,
            Some(Output::Jsonl) => What::Jsonl,
            Some(Output::None) if nowhere => What::Discarded,
            None if nowhere => What::Console,
            Some(Output::None) | None => What::Nothing,
        };
        Self {
            what,
            wording: plan::wording(settings),
        }
    }

    /// What does it, counted in this ledger.
    pub(super) fn open(self, ledger: &Ledger) -> Option<Box<dyn Exporter>> {
        let (out, wording) = (io::stdout(), self.wording);
        Some(match self.what {
            What::Console => {
                let (colour, account) = (out.is_terminal(), ledger.backend("console"));
                Box::new(Console::new(out, colour, wording.queries, account))
            }
            What::Jsonl => Box::new(JsonLines::new(out, wording, ledger.backend("jsonl"))),
            What::Discarded => Box::new(Discard::new(ledger.backend("none"))),
            What::Nothing => return None,
        })
    }
}
