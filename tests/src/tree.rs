//! The shape a trace must have.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};

use crate::spans::{Kind, Span};

/// A trace has exactly the spans of a chain of `hops` calls below the span
/// `outer` (which is one more, if there is any), each hop's halves joined, and
/// each hop below the one before.
///
/// # Errors
/// With the first thing that is not so, and the whole trace.
pub fn is_chain(spans: &[Span], outer: Option<&str>, hops: usize, shared: bool) -> Result<()> {
    chain(spans, outer, hops, shared).with_context(|| show(spans))
}

fn chain(spans: &[Span], outer: Option<&str>, hops: usize, shared: bool) -> Result<()> {
    let expected = 2 * hops + usize::from(outer.is_some());
    ensure!(
        spans.len() == expected,
        "{} spans, not {expected}",
        spans.len()
    );
    let mut above = outer.map(str::to_owned);
    let mut service = None;
    for hop in 0..hops {
        let client = only(spans, Kind::Client, above.as_deref())
            .with_context(|| format!("client of hop {hop}, below {above:?}"))?;
        let server = if shared {
            let of = |span: &&Span| span.kind == Kind::Server && span.id == client.id;
            let server = spans.iter().find(of);
            let server = server.with_context(|| format!("server of hop {hop}"))?;
            ensure!(
                server.shared,
                "the server half of hop {hop} is not marked as shared"
            );
            // It cannot know more than what the request carries; Zipkin puts it
            // below its client half.
            ensure!(
                server.parent.as_deref() == outer,
                "parent of the server half of hop {hop}"
            );
            server
        } else {
            only(spans, Kind::Server, Some(&client.id))
                .with_context(|| format!("server of hop {hop}"))?
        };
        ensure!(
            client.line() == server.line(),
            "the halves of hop {hop} differ: {} and {}",
            client.line(),
            server.line()
        );
        if let Some(service) = service {
            ensure!(
                client.service == service,
                "hop {hop} is called by {}",
                client.service
            );
        }
        service = Some(server.service.clone());
        above = Some(server.id.clone());
    }
    Ok(())
}

/// The one span of a kind below `parent`; the caller's own span is of no kind.
fn only<'a>(spans: &'a [Span], kind: Kind, parent: Option<&str>) -> Result<&'a Span> {
    let mut found = spans
        .iter()
        .filter(|span| span.kind == kind && span.parent.as_deref() == parent);
    let one = found.next().context("none")?;
    ensure!(found.next().is_none(), "more than one");
    Ok(one)
}

/// A trace is one tree: one root, every parent present, no circle.
///
/// # Errors
/// With the first thing that is not so, and the whole trace.
pub fn is_one_tree(spans: &[Span]) -> Result<()> {
    let ids: BTreeSet<&str> = spans.iter().map(|span| span.id.as_str()).collect();
    let roots: BTreeSet<&str> = spans
        .iter()
        .filter(|span| span.parent.is_none())
        .map(|span| span.id.as_str())
        .collect();
    let check = || {
        ensure!(roots.len() == 1, "{} roots", roots.len());
        for span in spans {
            let mut above = span;
            for _ in 0..2 * spans.len() {
                let Some(parent) = &above.parent else { break };
                ensure!(ids.contains(parent.as_str()), "parent {parent} is missing");
                // A server half is below its client half, as in Zipkin.
                let client = |span: &&Span| span.id == above.id && span.kind == Kind::Client;
                let joined = above.shared.then(|| spans.iter().find(client)).flatten();
                // Of a parent, either half is as good.
                let of = |span: &&Span| &span.id == parent;
                above = match joined {
                    Some(client) => client,
                    None => spans.iter().find(of).context("parent")?,
                };
            }
            ensure!(above.parent.is_none(), "a circle above {}", span.id);
        }
        Ok(())
    };
    check().with_context(|| show(spans))
}

/// A trace in one line.
#[must_use]
pub fn show(spans: &[Span]) -> String {
    let mut text = String::from("the trace:");
    for span in spans {
        let kind = match span.kind {
            Kind::Client => "C",
            Kind::Server => "S",
            Kind::Local => "-",
        };
        let parent = span.parent.as_deref().unwrap_or("root");
        let shared = if span.shared { " shared" } else { "" };
        let (id, service, path) = (&span.id, &span.service, span.path());
        // Writing to a string does not fail.
        let _ = write!(text, " [{kind} {id} < {parent}{shared} {service} {path}]");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn span(kind: Option<&str>, id: &str, parent: Option<&str>, shared: bool) -> Span {
        let mut json = json!({ "traceId": "1", "id": id, "timestamp": 1, "shared": shared });
        if let Some(kind) = kind {
            json["kind"] = kind.into();
        }
        if let Some(parent) = parent {
            json["parentId"] = parent.into();
        }
        Span::from_json(&json).unwrap()
    }

    fn chain(shared: bool) -> Vec<Span> {
        let (client, server) = (Some("CLIENT"), Some("SERVER"));
        if shared {
            return vec![
                span(None, "0", None, false),
                span(client, "1", Some("0"), false),
                span(server, "1", Some("0"), true),
                span(client, "2", Some("1"), false),
                span(server, "2", Some("0"), true),
            ];
        }
        vec![
            span(None, "0", None, false),
            span(client, "1", Some("0"), false),
            span(server, "2", Some("1"), false),
            span(client, "3", Some("2"), false),
            span(server, "4", Some("3"), false),
        ]
    }

    #[test]
    fn chains_are_recognised() {
        for shared in [false, true] {
            is_chain(&chain(shared), Some("0"), 2, shared).unwrap();
            is_one_tree(&chain(shared)).unwrap();
            assert!(is_chain(&chain(shared), Some("0"), 2, !shared).is_err());
            for missing in 0..5 {
                let mut spans = chain(shared);
                spans.remove(missing);
                assert!(is_chain(&spans, Some("0"), 2, shared).is_err(), "{missing}");
            }
        }
    }

    #[test]
    fn trees_have_one_root_and_no_circle() {
        let server = Some("SERVER");
        let dangling = [
            span(None, "0", None, false),
            span(server, "1", Some("9"), false),
        ];
        assert!(format!("{:#}", is_one_tree(&dangling).unwrap_err()).contains("9 is missing"));
        let two = [span(None, "0", None, false), span(None, "1", None, false)];
        assert!(format!("{:#}", is_one_tree(&two).unwrap_err()).contains("2 roots"));
        let circle = [
            span(None, "0", None, false),
            span(server, "1", Some("2"), false),
            span(server, "2", Some("1"), false),
        ];
        assert!(format!("{:#}", is_one_tree(&circle).unwrap_err()).contains("circle"));
    }
}
