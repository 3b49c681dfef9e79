//! Counts what passed and what did not. What was skipped did not pass.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;

use crate::sh;

/// The result of one check of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Ok,
    NotOk(String),
    Skipped(String),
}

/// All counts of one run.
#[derive(Debug, Default)]
pub(super) struct Tally {
    passed: u64,
    failures: Vec<(String, String)>,
}

impl Tally {
    /// Runs a step that passes or fails as a whole.
    pub(super) fn check(&mut self, name: &str, work: impl FnOnce() -> Result<()>) {
        match sh::step(name, work) {
            Ok(()) => self.pass(name),
            Err(error) => self.fail(name, &format!("{error:#}")),
        }
    }

    pub(super) fn pass(&mut self, _name: &str) {
        self.passed += 1;
    }

    pub(super) fn fail(&mut self, name: &str, why: &str) {
        self.failures.push((name.to_owned(), why.to_owned()));
    }

    pub(super) fn verdict(&mut self, name: &str, verdict: &Verdict) {
        match verdict {
            Verdict::Ok => self.pass(name),
            Verdict::NotOk(why) => self.fail(name, why),
            Verdict::Skipped(why) => self.fail(name, &format!("skipped: {why}")),
        }
    }

    /// Reads a line of libtest's output.
    pub(super) fn libtest_line(&mut self, line: &str) {
        if let Some((passed, _, _)) = libtest_counts(line) {
            self.passed += passed;
        } else if let Some(test) = line.strip_prefix("test ") {
            if let Some(name) = test.strip_suffix(" ... FAILED") {
                self.fail(name, "see above");
            } else if let Some((name, rest)) = test.split_once(" ... ignored") {
                self.fail(name, &format!("ignored{rest}"));
            } else if let Some((name, rest)) = test.split_once(" ... FAILED") {
                self.fail(name, rest); // With a duration or a reason.
            }
        }
    }

    pub(super) fn failed(&self) -> usize {
        self.failures.len()
    }

    pub(super) fn is_clean(&self) -> bool {
        self.failures.is_empty() && self.passed > 0
    }

    pub(super) fn print_failures(&self) {
        for (name, why) in &self.failures {
            println!("FAILED {name}: {why}");
        }
    }

    pub(super) fn summary(&self) -> String {
        format!("{} passed, {} failed", self.passed, self.failures.len())
    }
}

/// Checks by name, each with its verdict per kernel.
#[derive(Debug, Default)]
pub(super) struct Matrix {
    rows: BTreeMap<String, BTreeMap<String, Verdict>>,
    columns: BTreeSet<String>,
}

impl Matrix {
    pub(super) fn add(&mut self, column: &str, check: &str, verdict: Verdict) {
        self.columns.insert(column.to_owned());
        self.rows
            .entry(check.to_owned())
            .or_default()
            .insert(column.to_owned(), verdict);
    }

    pub(super) fn render(&self, columns: &[&str]) -> String {
        let width = self.rows.keys().map(String::len).max().unwrap_or(0);
        let mut text = format!("{:width$}", "");
        for column in columns {
            text.push_str(&format!(" {column:>5}"));
        }
        text.push('\n');
        for (name, verdicts) in &self.rows {
            text.push_str(&format!("{name:width$}"));
            for column in columns {
                let cell = match verdicts.get(*column) {
                    None => "-",
                    Some(Verdict::Ok) => "ok",
                    Some(Verdict::NotOk(_)) => "FAIL",
                    Some(Verdict::Skipped(_)) => "skip",
                };
                text.push_str(&format!(" {cell:>5}"));
            }
            text.push('\n');
        }
        text
    }
}

/// `ok NAME`, `not ok NAME: why` or `skip NAME: why`, as suites print them.
pub(super) fn suite_line(line: &str) -> Option<(String, Verdict)> {
    let reasoned = |rest: &str| {
        let (name, why) = rest.split_once(": ").unwrap_or((rest, "no reason given"));
        (name.trim().to_owned(), why.trim().to_owned())
    };
    let line = line.trim_end();
    if let Some(rest) = line.strip_prefix("not ok ") {
        let (name, why) = reasoned(rest);
        Some((name, Verdict::NotOk(why)))
    } else if let Some(rest) = line.strip_prefix("skip ") {
        let (name, why) = reasoned(rest);
        Some((name, Verdict::Skipped(why)))
    } else {
        line.strip_prefix("ok ")
            .map(|name| (name.trim().to_owned(), Verdict::Ok))
    }
}

/// Passed, failed and ignored of a line `test result: …`.
fn libtest_counts(line: &str) -> Option<(u64, u64, u64)> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let count = |word: &str| {
        counts
            .split(';')
            .find_map(|part| part.trim().strip_suffix(word)?.trim().parse().ok())
    };
    Some((count("passed")?, count("failed")?, count("ignored")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_libtest_and_blames_the_ignored() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test a::d ... ignored, needs root",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 4 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.10s",
        ] {
            tally.libtest_line(line);
        }
        assert_eq!(tally.summary(), "5 passed, 2 failed");
        assert_eq!(
            tally.failures[1],
            ("a::d".into(), "ignored, needs root".into())
        );
        assert!(!tally.is_clean());
    }

    #[test]
    fn nothing_run_is_not_clean() {
        assert!(!Tally::default().is_clean());
    }

    #[test]
    fn reads_suite_lines() {
        assert_eq!(
            suite_line("ok nginx keep-alive"),
            Some(("nginx keep-alive".into(), Verdict::Ok))
        );
        assert_eq!(
            suite_line("not ok a: b: c\n"),
            Some(("a".into(), Verdict::NotOk("b: c".into())))
        );
        assert_eq!(
            suite_line("skip a"),
            Some(("a".into(), Verdict::Skipped("no reason given".into())))
        );
        assert_eq!(suite_line("okay"), None);
    }

    #[test]
    fn matrix_shows_every_kernel() {
        let mut matrix = Matrix::default();
        matrix.add("5.10", "head", Verdict::Ok);
        matrix.add("7", "head", Verdict::NotOk("x".into()));
        matrix.add("7", "ids", Verdict::Skipped("y".into()));
        assert_eq!(
            matrix.render(&["5.10", "7"]),
            "      5.10     7\nhead    ok  FAIL\nids      -  skip\n"
        );
    }
}
