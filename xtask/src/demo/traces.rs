//! Traces as Zipkin gives them back. Pure.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use serde_json::Value;

/// One trace's spans, in no order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trace {
    pub(super) id: String,
    pub(super) spans: Vec<Span>,
}

/// What is shown of a span.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) id: String,
    pub(super) parent: Option<String>,
    pub(super) shared: bool,
    pub(super) kind: Kind,
    pub(super) service: String,
    pub(super) name: String,
    /// Path and query of `http.url`.
    pub(super) path: String,
    pub(super) status: Option<String>,
    pub(super) error: Option<String>,
    /// Microseconds.
    pub(super) start: u64,
    /// Microseconds.
    pub(super) duration: u64,
}

/// Which end of a call.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Kind {
    Client,
    Server,
    #[default]
    Local,
}

impl Trace {
    /// The span that all others are below, if there is just one.
    pub(super) fn root(&self) -> Option<usize> {
        let mut roots = (0..self.spans.len()).filter(|n| self.parent_of(*n).is_none());
        let root = roots.next()?;
        roots.next().is_none().then_some(root)
    }

    /// The span above, if it is in the trace.
    pub(super) fn parent_of(&self, n: usize) -> Option<usize> {
        let span = self.spans.get(n)?;
        let halves = |id: &str| {
            let all = self.spans.iter().enumerate();
            let id = id.to_owned();
            all.filter(move |(m, other)| *m != n && other.id == id)
                .map(|(m, _)| m)
                .collect::<Vec<_>>()
        };
        // The half of a call that shares its id is below the other half.
        if span.shared
            && let Some(client) = halves(&span.id)
                .into_iter()
                .find(|m| !self.spans[*m].shared)
        {
            return Some(client);
        }
        let above = halves(span.parent.as_deref()?);
        let of_same_service = |m: &&usize| self.spans[**m].service == span.service;
        above
            .iter()
            .find(of_same_service)
            .or_else(|| above.last())
            .copied()
    }

    /// The spans directly below one, in the order of their beginnings.
    pub(super) fn children_of(&self, n: usize) -> Vec<usize> {
        let mut children: Vec<usize> = (0..self.spans.len())
            .filter(|m| self.parent_of(*m) == Some(n))
            .collect();
        children.sort_by_key(|m| (self.spans[*m].start, *m));
        children
    }

    /// One tree, no parent missing, and both halves of every call.
    pub(super) fn is_whole(&self) -> bool {
        let Some(root) = self.root() else {
            return false;
        };
        let mut reached = BTreeSet::from([root]);
        let mut next = vec![root];
        while let Some(n) = next.pop() {
            for child in self.children_of(n) {
                if reached.insert(child) {
                    next.push(child);
                }
            }
        }
        let all_answered = self.spans.iter().enumerate().all(|(n, span)| {
            // What begins a trace here calls somebody, too.
            let calls = span.kind == Kind::Client || n == root;
            let mut children = self.children_of(n).into_iter();
            !calls || children.any(|m| self.spans[m].kind == Kind::Server)
        });
        let none_missing = self
            .spans
            .iter()
            .enumerate()
            .all(|(n, span)| span.parent.is_none() || self.parent_of(n).is_some());
        reached.len() == self.spans.len() && all_answered && none_missing
    }

    pub(super) fn has_error(&self) -> bool {
        self.spans.iter().any(|span| span.error.is_some())
    }

    /// First start and last end of its spans.
    pub(super) fn extent(&self) -> (u64, u64) {
        let start = self.spans.iter().map(|span| span.start).min();
        let end = self.spans.iter().map(|span| span.start + span.duration);
        (start.unwrap_or(0), end.max().unwrap_or(0))
    }

    /// Of the services that call nobody, the longest time that one took.
    fn slowest_leaf(&self) -> Option<u64> {
        let leaves = (0..self.spans.len()).filter(|n| self.children_of(*n).is_empty());
        leaves.map(|n| self.spans[n].duration).max()
    }

    fn duration(&self) -> u64 {
        let (start, end) = self.extent();
        end - start
    }
}

/// Reads the answer of `/api/v2/traces`.
///
/// # Errors
/// If it is something else.
pub(super) fn parse(text: &str) -> Result<Vec<Trace>> {
    let value: Value = serde_json::from_str(text).context("Zipkin's answer is no JSON")?;
    value
        .as_array()
        .context("Zipkin's answer is no list of traces")?
        .iter()
        .map(|trace| {
            let spans = trace.as_array().context("a trace is no list of spans")?;
            let id = spans
                .first()
                .and_then(|span| span["traceId"].as_str())
                .context("a trace without an id")?;
            Ok(Trace {
                id: id.to_owned(),
                spans: spans.iter().map(span).collect(),
            })
        })
        .collect()
}

fn span(value: &Value) -> Span {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let tag = |name: &str| text(&value["tags"][name]);
    let url = tag("http.url").unwrap_or_default();
    let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
    let path = rest.find('/').map_or("", |slash| &rest[slash..]);
    Span {
        id: text(&value["id"]).unwrap_or_default(),
        parent: text(&value["parentId"]),
        shared: value["shared"] == true,
        kind: match value["kind"].as_str() {
            Some("CLIENT") => Kind::Client,
            Some("SERVER") => Kind::Server,
            _ => Kind::Local,
        },
        service: text(&value["localEndpoint"]["serviceName"]).unwrap_or_default(),
        name: text(&value["name"]).unwrap_or_default(),
        path: path.to_owned(),
        status: tag("http.status_code"),
        error: tag("error"),
        start: value["timestamp"].as_u64().unwrap_or(0),
        duration: value["duration"].as_u64().unwrap_or(0),
    }
}

/// A few traces that show what there is, and what each of them shows.
pub(super) fn handful(traces: &[Trace]) -> Vec<(&'static str, &Trace)> {
    let mut by_duration: Vec<&Trace> = traces.iter().collect();
    by_duration.sort_by_key(|trace| trace.duration());
    let (failed, fine): (Vec<&Trace>, Vec<&Trace>) =
        by_duration.into_iter().partition(|trace| trace.has_error());
    let sizes = || fine.iter().map(|trace| trace.spans.len());
    let (fewest, most) = (sizes().min(), sizes().max());
    // Neither the quickest nor the slowest of its kind.
    let typical = |size: Option<usize>| {
        let alike = || fine.iter().filter(|t| Some(t.spans.len()) == size).copied();
        alike().nth(alike().count() / 2)
    };
    let ordinary = typical(fewest);
    let larger = typical(most).filter(|_| most != fewest);
    let rest = fine.iter().copied();
    let slow = rest
        .filter(|trace| ![ordinary, larger].contains(&Some(*trace)))
        .max_by_key(|trace| trace.slowest_leaf());
    [
        ("a request", ordinary),
        ("one with more calls", larger),
        ("one with a slow service", slow),
        ("one that failed", failed.get(failed.len() / 2).copied()),
    ]
    .into_iter()
    .filter_map(|(what, trace)| Some((what, trace?)))
    .collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// A page that makes two calls, one of which fails.
    pub(in crate::demo) const ANSWER: &str = r#"[[
      {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"a1","name":"click buy",
       "timestamp":1000000,"duration":100000,"localEndpoint":{"serviceName":"browser"}},
      {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"b1","parentId":"a1","kind":"SERVER",
       "name":"post shop","timestamp":1010000,"duration":80000,"localEndpoint":{"serviceName":"shop"},
       "tags":{"http.url":"http://shop/buy/4?x=_","http.status_code":"500","error":"true"}},
      {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"c2","parentId":"b1","kind":"CLIENT",
       "name":"post payment","timestamp":1060000,"duration":20000,"localEndpoint":{"serviceName":"shop"},
       "tags":{"http.url":"http://payment/pay/4","http.status_code":"500","error":"true"}},
      {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"c1","parentId":"b1","kind":"CLIENT",
       "name":"get stock","timestamp":1020000,"duration":30000,"localEndpoint":{"serviceName":"shop"},
       "tags":{"http.url":"http://stock/stock/4","http.status_code":"200"}},
      {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"d1","parentId":"c1","kind":"SERVER",
       "name":"get stock","timestamp":1021000,"duration":28000,"localEndpoint":{"serviceName":"stock"},
       "tags":{"http.url":"http://stock/stock/4","http.status_code":"200"}},
      {"traceId":"463ac35c9f6413ad48485a3953bb6124","id":"d2","parentId":"c2","kind":"SERVER",
       "name":"post payment","timestamp":1061000,"duration":18000,"localEndpoint":{"serviceName":"payment"},
       "tags":{"http.url":"http://payment/pay/4","http.status_code":"500","error":"true"}}
    ]]"#;

    pub(in crate::demo) fn example() -> Trace {
        parse(ANSWER).unwrap().remove(0)
    }

    #[test]
    fn zipkins_answer_is_read() {
        let trace = example();
        assert_eq!(trace.spans.len(), 6);
        let shop = &trace.spans[1];
        assert_eq!(
            (shop.kind, shop.path.as_str(), shop.status.as_deref()),
            (Kind::Server, "/buy/4?x=_", Some("500"))
        );
        assert!(trace.has_error());
        assert!(parse("{}").is_err());
        assert_eq!(parse("[]").unwrap(), []);
    }

    #[test]
    fn a_whole_tree_has_all_its_halves_and_parents() {
        let whole = example();
        assert!(whole.is_whole());
        assert_eq!(whole.children_of(1), [3, 2], "by their beginnings");
        for lost in 0..whole.spans.len() {
            let mut trace = whole.clone();
            trace.spans.remove(lost);
            assert!(!trace.is_whole(), "without span {lost}");
        }
        let mut circle = whole;
        circle.spans[1].parent = Some("d1".into());
        assert!(!circle.is_whole());
    }

    #[test]
    fn shared_halves_are_told_apart() {
        let span = |service: &str, id: &str, parent: Option<&str>, kind, shared| Span {
            id: id.into(),
            parent: parent.map(str::to_owned),
            shared,
            kind,
            service: service.into(),
            ..Span::default()
        };
        let trace = Trace {
            id: "t".into(),
            spans: vec![
                span("a", "1", None, Kind::Client, false),
                span("b", "1", None, Kind::Server, true),
                span("b", "2", Some("1"), Kind::Client, false),
                span("c", "2", Some("1"), Kind::Server, true),
            ],
        };
        assert!(trace.is_whole());
        assert_eq!(trace.parent_of(2), Some(1), "the half of the same service");
        assert_eq!(trace.parent_of(3), Some(2));
    }

    #[test]
    fn a_handful_shows_no_trace_twice() {
        let trace = example();
        let chosen = handful(std::slice::from_ref(&trace));
        assert_eq!(chosen, [("one that failed", &trace)]);
        assert_eq!(handful(&[]), []);

        let fine = |id: &str, spans: usize, duration: u64| Trace {
            id: id.into(),
            spans: vec![
                Span {
                    duration,
                    ..Span::default()
                };
                spans
            ],
        };
        let all = [
            fine("slow", 1, 900),
            fine("quick", 1, 1),
            fine("usual", 1, 5),
            fine("long", 2, 7),
            trace,
        ];
        let ids: Vec<&str> = handful(&all).iter().map(|(_, t)| t.id.as_str()).collect();
        assert_eq!(ids, ["usual", "long", "slow", &all[4].id]);
    }
}
