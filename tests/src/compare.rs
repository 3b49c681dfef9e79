//! Spans against lines, and spans against each other.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use anyhow::{Result, bail, ensure};

use crate::lines::Line;
use crate::spans::{Kind, Span};

/// Everything one run of the agent has to be judged by, by the tags of cases.
#[derive(Debug, Default)]
pub struct Seen {
    spans: BTreeMap<String, Vec<Span>>,
    lines: BTreeMap<String, Vec<Line>>,
}

impl Seen {
    /// Sorts spans and lines by case.
    pub fn new(
        spans: impl IntoIterator<Item = Span>,
        lines: impl IntoIterator<Item = Line>,
    ) -> Self {
        let mut seen = Self::default();
        for span in spans {
            seen.spans
                .entry(span.case().to_owned())
                .or_default()
                .push(span);
        }
        for line in lines {
            seen.lines
                .entry(line.case().to_owned())
                .or_default()
                .push(line);
        }
        seen
    }

    /// Spans of one half of a case.
    #[must_use]
    pub fn spans(&self, tag: &str, kind: Kind) -> Vec<&Span> {
        self.spans
            .get(tag)
            .into_iter()
            .flatten()
            .filter(|span| span.kind == kind)
            .collect()
    }

    /// Spans of no case, such as those of `OPTIONS *`, by their user agent.
    #[must_use]
    pub fn spans_of_agent(&self, user_agent: &str) -> Vec<&Span> {
        let all = self.spans.values().flatten();
        all.filter(|span| span.tag("user_agent") == user_agent)
            .collect()
    }

    /// Spans of the cases whose tags `wanted` accepts, and of no case but with
    /// such a user agent.
    #[must_use]
    pub fn spans_where(&self, wanted: impl Fn(&str) -> bool) -> Vec<&Span> {
        let all = self.spans.values().flatten();
        all.filter(|span| {
            let case = span.case();
            wanted(if case.is_empty() {
                span.tag("user_agent").trim_start_matches("suite-")
            } else {
                case
            })
        })
        .collect()
    }

    /// Lines of a case.
    #[must_use]
    pub fn lines(&self, tag: &str) -> &[Line] {
        self.lines.get(tag).map_or(&[], Vec::as_slice)
    }

    /// Tags of cases with lines, that begin with `start`.
    #[must_use]
    pub fn tags_of(&self, start: &str) -> Vec<String> {
        self.lines
            .keys()
            .filter(|tag| tag.starts_with(start))
            .cloned()
            .collect()
    }

    /// The server spans of a case are the lines of its server's log.
    ///
    /// # Errors
    /// With what is missing and what is too much.
    pub fn servers_equal_log(&self, tag: &str) -> Result<()> {
        let spans = self.spans(tag, Kind::Server);
        same(
            "server spans",
            spans.iter().map(|span| span.line()),
            self.lines(tag).iter().cloned(),
        )
    }

    /// The client spans of a case are the lines of its server's log.
    ///
    /// # Errors
    /// With what is missing and what is too much.
    pub fn clients_equal_log(&self, tag: &str) -> Result<()> {
        let spans = self.spans(tag, Kind::Client);
        same(
            "client spans",
            spans.iter().map(|span| span.line()),
            self.lines(tag).iter().cloned(),
        )
    }

    /// Every server span of a case is the child of one client span that tells
    /// of the same request: both ends had the same Q and C.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn joined(&self, tag: &str) -> Result<()> {
        self.joined_but(tag, 0)
    }

    /// [`Self::joined`], but up to `unanswered` clients went away before the
    /// response that their servers sent.
    ///
    /// # Errors
    /// With the first that is not.
    pub fn joined_but(&self, tag: &str, unanswered: usize) -> Result<()> {
        let clients: BTreeMap<(&str, &str), &Span> = self
            .spans(tag, Kind::Client)
            .into_iter()
            .map(|span| ((span.trace.as_str(), span.id.as_str()), span))
            .collect();
        let (mut taken, mut gone) = (BTreeSet::new(), 0);
        for server in self.spans(tag, Kind::Server) {
            let parent = server.parent.as_deref().unwrap_or("none");
            let Some(client) = clients.get(&(server.trace.as_str(), parent)) else {
                bail!(
                    "no client half for {}: trace {}, parent {parent}",
                    server.line(),
                    server.trace
                );
            };
            let told = client.line();
            if told.status.is_none() && server.line().status.is_some() {
                gone += 1;
            }
            ensure!(
                told == server.line() || told.status.is_none() && gone <= unanswered,
                "the halves differ: client {told}, server {}",
                server.line()
            );
            ensure!(
                taken.insert(client.id.as_str()),
                "two server halves for {}",
                client.line()
            );
        }
        Ok(())
    }

    /// The spans of request N of a case say the Nth of these body sizes
    /// (request, response), or the last of them; or a size that is said to
    /// count chunk framing, too, and can be right.
    ///
    /// # Errors
    /// With the first that does not.
    pub fn sizes(&self, tag: &str, sizes: &[(u64, u64)]) -> Result<()> {
        for span in self.spans.get(tag).into_iter().flatten() {
            let n: usize = span.path().rsplit('/').next().unwrap_or_default().parse()?;
            let Some((request, response)) = sizes.get(n.max(1) - 1).or(sizes.last()) else {
                return Ok(());
            };
            for (part, exact) in [("request_size", request), ("response_size", response)] {
                let said = span.tag(part);
                // Of a chunked body, part of whose framing was not seen.
                let wire = span.tag(&format!("{part}.wire")) == "true";
                let close = wire && said.parse::<u64>().is_ok_and(|said| said >= *exact);
                ensure!(
                    close || said == exact.to_string(),
                    "{:?} {}: {part} {said:?}, not {exact}",
                    span.kind,
                    span.line()
                );
            }
        }
        Ok(())
    }

    /// Spans whose case is none of `tags`.
    #[must_use]
    pub fn strangers(&self, known: impl Fn(&Span) -> bool) -> Vec<String> {
        let all = self.spans.values().flatten().filter(|span| !known(span));
        all.map(|span| format!("{:?} {} of {}", span.kind, span.line(), span.service))
            .collect()
    }
}

/// Both sides hold the same, however often, in any order.
///
/// # Errors
/// With the counts and some of the differences.
pub fn same<T: Ord + Display>(
    what: &str,
    got: impl IntoIterator<Item = T>,
    expected: impl IntoIterator<Item = T>,
) -> Result<()> {
    let mut balance: BTreeMap<T, i64> = BTreeMap::new();
    let (mut gots, mut expecteds) = (0, 0);
    for one in got {
        gots += 1;
        *balance.entry(one).or_default() += 1;
    }
    for one in expected {
        expecteds += 1;
        *balance.entry(one).or_default() -= 1;
    }
    let list = |sign: i64| {
        let odd = balance.iter().filter(|(_, n)| n.signum() == sign);
        let odd: Vec<String> = odd.map(|(one, n)| format!("{one} x{}", n.abs())).collect();
        let more = odd.len().saturating_sub(4);
        let shown = odd.into_iter().take(4).collect::<Vec<_>>().join(", ");
        if more > 0 {
            format!("{shown}, and {more} more")
        } else {
            shown
        }
    };
    let (missing, extra) = (list(-1), list(1));
    if missing.is_empty() && extra.is_empty() {
        return Ok(());
    }
    bail!("{gots} {what}, {expecteds} expected; missing [{missing}], too much [{extra}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_named_and_counted() {
        assert!(same("x", ["b", "a", "a"], ["a", "b", "a"]).is_ok());
        let error = same("x", ["a", "c"], ["a", "a"]).unwrap_err().to_string();
        assert_eq!(error, "2 x, 2 expected; missing [a x1], too much [c x1]");
    }

    fn span(kind: &str, id: &str, parent: Option<&str>, status: &str) -> Span {
        let mut json = serde_json::json!({
            "traceId": "1", "id": id, "timestamp": 1, "kind": kind,
            "tags": {
                "http.url": "http://h/small/case/1", "http.method": "GET",
                "http.status_code": status, "request_size": "0", "response_size": "6",
            },
        });
        if let Some(parent) = parent {
            json["parentId"] = parent.into();
        }
        Span::from_json(&json).unwrap()
    }

    #[test]
    fn halves_must_be_joined_and_equal() {
        let line = || Line::parse("GET /small/case/1 200");
        let good = [
            span("CLIENT", "a", None, "200"),
            span("SERVER", "b", Some("a"), "200"),
        ];
        let seen = Seen::new(good.clone(), line());
        seen.servers_equal_log("case").unwrap();
        seen.clients_equal_log("case").unwrap();
        seen.joined("case").unwrap();
        seen.sizes("case", &[(0, 6)]).unwrap();
        assert!(seen.sizes("case", &[(0, 7)]).is_err());
        assert!(seen.strangers(|span| span.case() == "case").is_empty());
        assert_eq!(seen.strangers(|_| false).len(), 2);

        let alone = Seen::new(good[1..].to_vec(), line());
        assert!(alone.joined("case").is_err());
        assert!(alone.clients_equal_log("case").is_err());
        let other = [good[0].clone(), span("SERVER", "b", Some("a"), "204")];
        let other = Seen::new(other, line());
        assert!(other.joined("case").is_err());
        assert!(other.servers_equal_log("case").is_err());
        let twice = [good[0].clone(), good[1].clone(), good[1].clone()];
        let twice = Seen::new(twice, line());
        assert!(twice.joined("case").is_err());
        assert!(twice.servers_equal_log("case").is_err());
    }
}
