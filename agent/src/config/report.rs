//! What is wrong with a file, shown where it is wrong.

use std::cmp::Reverse;
use std::fmt::{self, Write as _};
use std::ops::Range;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Severity {
    /// It works, but most likely not as meant.
    Warning,
    /// The file is refused.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// Path of the field, `capture.ports[1]`; empty if it is the file itself.
    pub field: String,
    /// What is wrong, with the value.
    pub message: String,
    /// What to do.
    pub hint: Option<String>,
    /// Which bytes of the file.
    pub span: Range<usize>,
}

/// Findings about a file that are told about.
const MAX_FINDINGS: usize = 100;

/// The findings in the order of their places; of very many, some.
pub(super) fn in_order(mut findings: Vec<Finding>) -> Vec<Finding> {
    let more = findings.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        // Errors first: a warning must not push out what refuses the file.
        findings.sort_by_key(|finding| (Reverse(finding.severity), finding.span.start));
        findings.truncate(MAX_FINDINGS);
    }
    findings.sort_by_key(|finding| finding.span.start);
    if more > 0
        && let Some(last) = findings.last_mut()
    {
        let hint = last.hint.take().unwrap_or_default();
        let separator = if hint.is_empty() { "" } else { "; " };
        last.hint = Some(format!(
            "{hint}{separator}{more} more findings are not shown"
        ));
    }
    findings
}

/// All findings about one file. `Display` draws them:
///
/// ```text
/// error: unknown key `exlude`
///   --> nodespan.toml:3:1, field capture.exlude
///    |
///  3 | exlude = ["db"]
///    | ^^^^^^
///    = help: did you mean `exclude`?
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Name of the file as the user gave it.
    pub file: String,
    /// Its text.
    pub text: String,
    /// The findings, in the order of their places.
    pub findings: Vec<Finding>,
}

/// A place in a text for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
}

impl Report {
    /// Whether the file is refused.
    #[must_use]
    pub fn has_errors(&self) -> bool {
        self.findings.iter().any(|f| f.severity == Severity::Error)
    }

    /// Line and column of a byte.
    #[must_use]
    pub fn place(&self, at: usize) -> Place {
        let before = self.before(at);
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        Place {
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        }
    }

    fn before(&self, at: usize) -> &str {
        let mut at = at.min(self.text.len());
        while !self.text.is_char_boundary(at) {
            at -= 1;
        }
        &self.text[..at]
    }

    fn draw(&self, finding: &Finding, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding {
            severity,
            field,
            message,
            hint,
            span,
        } = finding;
        let Place { line, column } = self.place(span.start);
        let (message, file) = (harmless(message), harmless(&self.file));
        write!(f, "{severity}: {message}\n  --> {file}")?;
        // A file of which nothing is known has no places.
        if !self.text.is_empty() {
            write!(f, ":{line}:{column}")?;
        }
        if !field.is_empty() {
            write!(f, ", field {}", harmless(field))?;
        }
        f.write_char('\n')?;
        let number = line.to_string();
        let margin = " ".repeat(number.len());
        let text = self.text.lines().nth(line - 1).unwrap_or_default();
        let start = self.before(span.start).len();
        let marked = self.before(span.end).get(start..).unwrap_or_default();
        let marked = marked.lines().next().unwrap_or_default().chars().count();
        // Of a long line, what is around the place.
        let end = column.saturating_add(marked.max(1));
        if !self.text.is_empty() {
            let skipped = match end <= DRAWN {
                true => 0,
                false => column.saturating_sub(BEFORE),
            };
            let cut = if skipped > 0 { "\u{2026}" } else { "" };
            let text = without_credentials(text);
            let shown = text.chars().skip(skipped).take(DRAWN);
            let drawn: String = shown.map(printable).collect();
            let before = column - 1 - skipped + usize::from(skipped > 0);
            let marks = (end - column).min(DRAWN - before);
            writeln!(f, " {margin} |\n {number} | {cut}{}", drawn.trim_end())?;
            writeln!(f, " {margin} | {}{}", " ".repeat(before), "^".repeat(marks))?;
        }
        if let Some(hint) = hint {
            writeln!(f, " {margin} = help: {}", harmless(hint))?;
        }
        Ok(())
    }
}

/// Characters of a line that are drawn.
const DRAWN: usize = 160;
/// So many of them before the place, if it is further right.
const BEFORE: usize = 40;

/// A text in which a value of the file may stand.
fn harmless(text: &str) -> String {
    let line = |line: &str| line.chars().map(printable).collect::<String>();
    text.split('\n').map(line).collect::<Vec<_>>().join("\n")
}

/// The line with stars for user and password of each URL, one for each
/// character, so that what is marked stays under its mark.
fn without_credentials(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(scheme) = rest.find("://") {
        let (before, after) = rest.split_at(scheme + 3);
        shown.push_str(before);
        // A password may have what ends a URL's host: better too many stars.
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'');
        let url = after.find(is_end).unwrap_or(after.len());
        let at = after[..url].rfind('@').unwrap_or(0);
        shown.extend(after[..at].chars().map(|_| '*'));
        rest = &after[at..];
    }
    shown.push_str(rest);
    shown
}

/// One column for each character, and no escape sequence for the terminal.
fn printable(c: char) -> char {
    match c {
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, finding) in self.findings.iter().enumerate() {
            if n > 0 {
                f.write_char('\n')?;
            }
            self.draw(finding, f)?;
        }
        Ok(())
    }
}
