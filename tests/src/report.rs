//! One line per check, and what became of all of them.

use std::io::Write as _;
use std::time::Instant;

use anyhow::Result;

/// What a check that did not fail has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Shown.
    Passed,
    /// This kernel or machine cannot have it.
    Skipped(String),
}

/// Prints the lines and remembers the outcome.
#[derive(Debug)]
pub struct Report {
    only: Vec<String>,
    except: Vec<String>,
    started: Instant,
    passed: usize,
    failed: usize,
    skipped: usize,
}

impl Report {
    /// A report on the checks whose names contain one of `only`; on all of
    /// them if that is empty.
    #[must_use]
    pub fn new(only: Vec<String>) -> Self {
        Self {
            only,
            except: Vec::new(),
            started: Instant::now(),
            passed: 0,
            failed: 0,
            skipped: 0,
        }
    }

    /// Leaves out the checks and groups whose names begin so.
    pub fn leave_out(&mut self, except: Vec<String>) {
        self.except = except;
    }

    /// Whether a check, or a group whose checks begin with `name`, is wanted.
    #[must_use]
    pub fn wants(&self, name: &str) -> bool {
        let is_wanted = |only: &String| name.contains(only) || only.starts_with(name);
        let is_left_out = self.except.iter().any(|except| name.starts_with(except));
        !is_left_out && (self.only.is_empty() || self.only.iter().any(is_wanted))
    }

    /// Runs a check and prints its line.
    pub fn check(&mut self, name: &str, check: impl FnOnce() -> Result<Verdict>) {
        if self.wants(name) {
            self.result(name, check());
        }
    }

    /// Prints the line of a check that has run.
    pub fn result(&mut self, name: &str, result: Result<Verdict>) {
        match result {
            Ok(Verdict::Passed) => {
                self.passed += 1;
                self.line(&format!("ok {name}"));
            }
            Ok(Verdict::Skipped(why)) => {
                self.skipped += 1;
                self.line(&format!("skip {name}: {why}"));
            }
            Err(error) => {
                self.failed += 1;
                let why = format!("{error:#}").replace('\n', " | ");
                self.line(&format!("not ok {name}: {why}"));
            }
        }
    }

    /// A line for people: what takes time, with the time since the start.
    pub fn note(&self, text: &str) {
        self.line(&format!(
            "# {:5.1} s {text}",
            self.started.elapsed().as_secs_f32()
        ));
    }

    /// Prints the sum; true if nothing failed and something ran.
    #[must_use]
    pub fn finish(&self) -> bool {
        let Self {
            passed,
            failed,
            skipped,
            ..
        } = self;
        self.note(&format!("{passed} ok, {failed} not ok, {skipped} skipped"));
        *failed == 0 && *passed > 0
    }

    #[expect(clippy::unused_self, reason = "all lines go through the report")]
    fn line(&self, text: &str) {
        // Nobody is left to tell if standard output is gone.
        let _ = writeln!(std::io::stdout(), "{text}");
    }
}
