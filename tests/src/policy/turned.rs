//! A configuration that changes while a connection stays open: what it says
//! counts for the next request on it, whole.

use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};
use rustix::process::Signal;

use super::collector::Collector;
use super::node::{Node, SOON, replace};
use super::scene::{FIRST, Site};
use crate::raw::Client;
use crate::report::{Report, Verdict};
use crate::spans::Span;
use crate::wait;

/// Carries a trace in two formats.
const HEADERS: &str = "b3: 000000000000000a-000000000000000b-1\r\n\
     traceparent: 00-0000000000000000000000000000000c-000000000000000d-01\r\n";
/// Enough for the agent to see what has been, and to be told of a change.
const WHILE: Duration = Duration::from_millis(400);

pub(super) fn run(report: &mut Report, site: &Site<'_>) -> Result<()> {
    let server = site.server("turned", FIRST + 14)?;
    let collector = Collector::start(FIRST + 15)?;
    let folder = site.folder("turned")?;
    let (file, spare) = (folder.join("nodespan.toml"), folder.join("spare"));
    let config = |agent: &str, capture: &str| {
        let text = format!(
            "[agent]\n{agent}\n[capture]\n{capture}\n[export]\nzipkinEndpoint = '{}'\n",
            collector.url()
        );
        replace(&file, &text, &spare)
    };
    let other_port = "ports = [1]";
    config("service = 'none'", other_port)?;
    let agent = site.agent("turned", &["--config", &file.display().to_string()])?;
    let mut asking = Asking {
        client: Client::connect(server.addr)?,
        count: 0,
    };
    report.check("turned/ports", || {
        // The kernel side leaves the connection alone by now.
        for _ in 0..3 {
            asking.ask()?;
            thread::sleep(WHILE);
        }
        ensure!(collector.count() == 0, "{:?}", collector.spans());
        config("service = 'one'", "")?;
        told(&agent, 1)?;
        wait::until_true("a span of the open connection", SOON, || {
            asking.ask()?;
            thread::sleep(WHILE);
            Ok(collector.count() > 0)
        })?;
        Ok(Verdict::Passed)
    });
    report.check("turned/names-context-and-wording", || {
        let capture = "contextOrder = ['traceparent']\nredactQuery = false";
        config("service = 'two'\nnode = 'other'", capture)?;
        told(&agent, 2)?;
        for _ in 0..5 {
            asking.ask()?;
            thread::sleep(WHILE);
        }
        let last = format!("/turned/{}?", asking.count);
        let new = wait::until("the last request's span", SOON, || {
            let spans = collector.spans()?;
            Ok(spans
                .into_iter()
                .find(|span| span.tag("http.url").contains(&last)))
        })?;
        ensure!(state(&new)? == State::New, "the last one is {new:?}");
        for span in collector.spans()? {
            state(&span)?;
        }
        Ok(Verdict::Passed)
    });
    report.check("turned/ledger", || {
        agent.stop()?;
        Ok(Verdict::Passed)
    });
    Ok(())
}

/// Requests on one connection, each with a path of its own.
struct Asking {
    client: Client,
    count: u32,
}

impl Asking {
    fn ask(&mut self) -> Result<()> {
        self.count += 1;
        let target = format!("/small/turned/{}?token=secret", self.count);
        let answer = self.client.exchange("GET", &target, HEADERS)?;
        ensure!(answer.status == 200, "status {}", answer.status);
        Ok(())
    }
}

/// Has the agent read its configuration, which is the so-manieth change.
fn told(agent: &Node, changes: usize) -> Result<()> {
    agent.signal(Signal::HUP);
    wait::until_true("the change to be in force", SOON, || {
        Ok(agent.count_said("is in force") >= changes)
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Old,
    New,
}

/// Which configuration a span is of; it is an error if it is of both.
fn state(span: &Span) -> Result<State> {
    let url = span.tag("http.url");
    let all = [
        span.service == "two",
        span.trace.trim_start_matches('0') == "c",
        span.tag("node_id") == "other",
        url.ends_with("token=secret"),
    ];
    let new = all[0];
    ensure!(
        all.iter().all(|one| *one == new),
        "half of either: {span:?}"
    );
    Ok(if new { State::New } else { State::Old })
}
