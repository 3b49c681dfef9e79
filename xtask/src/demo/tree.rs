//! A trace as a tree of text. Pure.

use std::fmt::Write as _;

use super::traces::{Kind, Span, Trace};

/// Columns of the time bar.
const BAR: usize = 24;

/// How it looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Plain,
    Colour,
}

impl Style {
    pub(super) const fn of_terminal(is_terminal: bool) -> Self {
        if is_terminal {
            Self::Colour
        } else {
            Self::Plain
        }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Plain => text.to_owned(),
            Self::Colour => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

const BOLD: &str = "1";
const RED: &str = "31";
const CYAN: &str = "36";

/// One line of the tree before the columns are aligned.
struct Row<'a> {
    branch: String,
    span: &'a Span,
}

/// The tree with a title; the last line has no end.
pub(super) fn render(trace: &Trace, what: &str, style: Style) -> String {
    let (start, end) = trace.extent();
    let title = format!(
        "{what}: {} spans in {}, trace {}",
        trace.spans.len(),
        time(end - start),
        trace.id
    );
    let mut rows = Vec::new();
    let mut roots: Vec<usize> = (0..trace.spans.len())
        .filter(|n| trace.parent_of(*n).is_none())
        .collect();
    roots.sort_by_key(|n| trace.spans[*n].start);
    for root in roots {
        branch(trace, root, String::new(), "", &mut rows);
    }
    let what_was_called =
        |span: &Span| format!("{} {}", span.name, span.path).trim_end().to_owned();
    let width = |of: &dyn Fn(&Row<'_>) -> usize| rows.iter().map(of).max().unwrap_or(0);
    let tree = width(&|row| row.branch.chars().count() + row.span.service.chars().count());
    let call = width(&|row| what_was_called(row.span).chars().count());

    let mut text = style.paint(BOLD, &title);
    for row in &rows {
        let span = row.span;
        let kind = match span.kind {
            Kind::Client => "client",
            Kind::Server => "server",
            Kind::Local => "",
        };
        let status = match (&span.status, &span.error) {
            (Some(status), None) => status.clone(),
            (Some(status), Some(_)) => format!("{status} error"),
            (None, Some(_)) => "error".to_owned(),
            (None, None) => String::new(),
        };
        let colour = if span.error.is_some() { RED } else { CYAN };
        let tree = pad(&format!("{}{}", row.branch, visible(&span.service)), tree);
        let call = pad(&visible(&what_was_called(span)), call);
        let status = pad(&status, 9);
        let status = if span.error.is_some() {
            style.paint(RED, &status)
        } else {
            status
        };
        let duration = time(span.duration);
        let bar = style.paint(colour, &bar(span, start, end));
        // Writing to a string does not fail.
        let _ = write!(
            text,
            "\n  {tree}  {kind:6}  {call}  {status} {duration:>9}  {bar}"
        );
        let trimmed = text.trim_end().len();
        text.truncate(trimmed);
    }
    text
}

/// A span and what is below it, each with the lines that lead to it.
fn branch<'a>(trace: &'a Trace, n: usize, own: String, below: &str, rows: &mut Vec<Row<'a>>) {
    rows.push(Row {
        branch: own,
        span: &trace.spans[n],
    });
    // A circle of parents has no root, so this ends.
    let children = trace.children_of(n);
    for (place, child) in children.iter().enumerate() {
        let (own, rest) = if place + 1 == children.len() {
            ("└ ", "  ")
        } else {
            ("├ ", "│ ")
        };
        branch(
            trace,
            *child,
            format!("{below}{own}"),
            &format!("{below}{rest}"),
            rows,
        );
    }
}

/// Where in the trace's time a span lies.
fn bar(span: &Span, start: u64, end: u64) -> String {
    let whole = (end - start).max(1) as f64;
    let column = |at: u64| ((at - start) as f64 / whole * BAR as f64).round() as usize;
    let from = column(span.start).min(BAR - 1);
    let to = column(span.start + span.duration).clamp(from + 1, BAR);
    let mut bar = " ".repeat(from);
    bar.push_str(&"█".repeat(to - from));
    bar
}

fn time(microseconds: u64) -> String {
    match microseconds {
        0..1_000_000 => format!("{:.1} ms", microseconds as f64 / 1e3),
        _ => format!("{:.2} s", microseconds as f64 / 1e6),
    }
}

fn pad(text: &str, width: usize) -> String {
    let missing = width.saturating_sub(text.chars().count());
    format!("{text}{}", " ".repeat(missing))
}

/// What came over the wire gets no say over the terminal.
fn visible(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{fffd}' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::traces::tests::example;
    use super::*;

    #[test]
    fn a_tree() {
        let expected = "\
one that failed: 6 spans in 100.0 ms, trace 463ac35c9f6413ad48485a3953bb6124
  browser                click buy                        100.0 ms  ████████████████████████
  └ shop         server  post shop /buy/4?x=_  500 error   80.0 ms    ████████████████████
    ├ shop       client  get stock /stock/4    200         30.0 ms       ███████
    │ └ stock    server  get stock /stock/4    200         28.0 ms       ███████
    └ shop       client  post payment /pay/4   500 error   20.0 ms                █████
      └ payment  server  post payment /pay/4   500 error   18.0 ms                 ████";
        let text = render(&example(), "one that failed", Style::Plain);
        assert_eq!(text, expected);
        let colour = render(&example(), "x", Style::Colour);
        assert!(colour.contains("\u{1b}[31m500 error"));
    }

    #[test]
    fn bars_stay_within_their_columns() {
        for (start, duration) in [(0, 0), (99, 1), (0, 100), (50, 50), (100, 0)] {
            let span = Span {
                start,
                duration,
                ..Span::default()
            };
            let bar = bar(&span, 0, 100);
            assert!(bar.chars().count() <= BAR && bar.contains('█'), "{bar}");
        }
    }

    #[test]
    fn a_name_cannot_move_the_cursor() {
        let mut trace = example();
        trace.spans[0].name = "\u{1b}[2J".into();
        assert!(!render(&trace, "x", Style::Plain).contains('\u{1b}'));
    }
}
