//! What a person gets to see when something is wrong.

use std::process::{Command, Output};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};

use crate::children::output;

/// What must become of a command.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// Exit codes that are right.
    pub codes: &'a [i32],
    /// Of each list, one word must stand in the answer, in any case.
    pub says: &'a [&'a [&'a str]],
    /// Lines on standard error, at most.
    pub lines: usize,
}

impl Answer<'_> {
    /// Runs the command and judges its end.
    ///
    /// # Errors
    /// If it ends in another way, or says something else.
    pub fn of(&self, command: &mut Command) -> Result<Output> {
        // With it set, a backtrace would show where one can come at all.
        command.env("RUST_BACKTRACE", "1");
        let done = output(command, Duration::from_secs(60))?;
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        self.judge(&done, &said)
            .with_context(|| format!("{} and said {said:?}", done.status))?;
        Ok(done)
    }

    fn judge(&self, done: &Output, said: &str) -> Result<()> {
        let code = done.status.code().context("killed")?;
        ensure!(
            self.codes.contains(&code),
            "it ended with {code}, not {:?}",
            self.codes
        );
        let low = said.to_lowercase();
        for trace in ["panicked", "backtrace", "rust_backtrace"] {
            ensure!(!low.contains(trace), "{trace} in the answer");
        }
        ensure!(
            code == 0 || !(said.is_empty() && done.stdout.is_empty()),
            "no answer at all"
        );
        let lines = said.lines().count();
        ensure!(
            lines <= self.lines,
            "{lines} lines, not at most {}",
            self.lines
        );
        let all = low + &String::from_utf8_lossy(&done.stdout).to_lowercase();
        for words in self.says {
            let any = words.iter().any(|word| all.contains(&word.to_lowercase()));
            ensure!(any, "not a word of {}", words.join(" or "));
        }
        Ok(())
    }
}
