//! What a suite is started with: `--out DIR [--kernel NAME] [--only NAME]…
//! [--except NAME]…`, and variables that `cargo xtask test` sets.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::report::Report;
use crate::targets::Places;

/// A kernel that nobody has named.
pub const UNKNOWN: &str = "unknown";

/// The arguments of a suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arguments {
    /// A folder for what the checks leave behind; it exists.
    pub out: PathBuf,
    /// What the kernel is called, for people and for what is known of each.
    pub kernel: String,
    only: Vec<String>,
    except: Vec<String>,
}

impl Arguments {
    /// From the words behind the suite's name.
    ///
    /// # Errors
    /// They are others than a suite has, or the folder cannot be made.
    pub fn of(words: &[String]) -> Result<Self> {
        let arguments = Self::parse(words.iter().cloned())?;
        std::fs::create_dir_all(&arguments.out)
            .with_context(|| format!("making {}", arguments.out.display()))?;
        Ok(arguments)
    }

    fn parse(mut words: impl Iterator<Item = String>) -> Result<Self> {
        let mut out = None;
        let mut kernel = UNKNOWN.to_owned();
        let (mut only, mut except) = (Vec::new(), Vec::new());
        while let Some(word) = words.next() {
            let mut value = || {
                let value = words.next();
                value.with_context(|| format!("{word} needs a value"))
            };
            match word.as_str() {
                "--out" => out = Some(std::path::absolute(value()?)?),
                "--kernel" => kernel = value()?,
                "--only" => only.push(value()?),
                "--except" => except.push(value()?),
                other => bail!("unknown argument {other}"),
            }
        }
        Ok(Self {
            out: out.context("--out DIR is needed")?,
            kernel,
            only,
            except,
        })
    }

    /// A report on the checks that are asked for.
    #[must_use]
    pub fn report(&self) -> Report {
        let mut report = Report::new(self.only.clone());
        report.leave_out(self.except.clone());
        report
    }

    /// Where servers and programs of these tests are.
    #[must_use]
    pub fn places(&self) -> Places {
        Places {
            scenarios: concat!(env!("CARGO_MANIFEST_DIR"), "/scenarios").into(),
            programs: env!("OUT_DIR").into(),
            out: self.out.clone(),
            envoy: std::env::var_os("NODESPAN_ENVOY").map(PathBuf::from),
        }
    }
}

/// A variable that a suite cannot do without.
///
/// # Errors
/// It is not set.
pub fn needed(variable: &str) -> Result<String> {
    std::env::var(variable).with_context(|| format!("{variable} is not set"))
}

/// The agent that is tested.
///
/// # Errors
/// `NODESPAN_BIN` is not set.
pub fn agent() -> Result<PathBuf> {
    needed("NODESPAN_BIN").map(PathBuf::from)
}

/// Prints the sum; what the process ends with.
#[must_use]
pub fn finish(report: &Report) -> ExitCode {
    match report.finish() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Result<Arguments> {
        Arguments::parse(words.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn what_is_asked_for_is_checked() {
        let given = parse("--only a/ --out /o --only b --except a/slow --kernel 6.1").unwrap();
        assert_eq!(given.out, PathBuf::from("/o"));
        assert_eq!(given.kernel, "6.1");
        assert_eq!(given.places().out, given.out);
        let report = given.report();
        let wanted = |name: &str| report.wants(name);
        assert!(wanted("a/x") && wanted("b/y"));
        assert!(!wanted("a/slower") && !wanted("c/z"));
        let all = parse("--out o").unwrap();
        assert!(all.out.is_absolute() && all.report().wants("c/z"));
        assert_eq!(all.kernel, "unknown");
    }

    #[test]
    fn wrong_arguments_are_named() {
        for (words, says) in [
            ("", "--out DIR is needed"),
            ("--only x", "--out DIR is needed"),
            ("--out", "--out needs a value"),
            ("--out o --only", "--only needs a value"),
            ("--out o --olny x", "unknown argument --olny"),
            ("x --out o", "unknown argument x"),
        ] {
            assert_eq!(parse(words).unwrap_err().to_string(), says, "{words}");
        }
    }
}
