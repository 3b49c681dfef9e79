//! Cases that need more than one function: heads, contexts, old connections.

use anyhow::{Context as _, Result, ensure};

use crate::cases::Go;
use crate::compare::{Seen, same};
use crate::lines::Line;
use crate::raw::{Client, head};
use crate::report::Report;
use crate::run::{Cases, whole};
use crate::spans::{Kind, Span};
use crate::targets::Target;

/// A trace id of 32 digits and a span id of 16 that belong to `n`.
fn ids(series: u16, n: usize) -> (String, String) {
    (
        format!("5eed{series:04x}00000000{n:016x}"),
        format!("5eed{series:04x}{n:08x}"),
    )
}

/// A head split at every offset gives the span of the unsplit one.
pub fn split(cases: &mut Cases, report: &Report, target: &Target, fresh: bool) {
    let kind = if fresh { "split-fresh" } else { "split-kept" };
    let tag = format!("{}-{kind}", target.name);
    let go = Go::at(target.addr(), tag.clone());
    let series = target.port;
    let request = |n: usize| {
        let (trace, span) = ids(series, n);
        let ids = format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {span}\r\nX-B3-Sampled: 1\r\n");
        head("GET", &format!("/small/{tag}/{n:04}"), &ids)
    };
    let length = request(0).len();
    let drive = || {
        let mut client = Client::connect(go.addr)?;
        for n in 0..length {
            if fresh {
                client = Client::connect(go.addr)?;
            }
            let bytes = request(n);
            match n {
                0 => client.send(bytes)?,
                n => client.send_split(bytes.as_bytes(), n)?,
            }
            let status = client.response("GET")?.status;
            ensure!(status == 200, "status {status} for a head split at {n}");
        }
        Ok(())
    };
    let verify = {
        let tag = tag.clone();
        move |seen: &Seen| {
            whole(seen, &tag)?;
            seen.sizes(&tag, &[(0, 6)])?;
            for kind in [Kind::Client, Kind::Server] {
                let spans = seen.spans(&tag, kind);
                let of = |n: usize| {
                    let end = format!("/{n:04}");
                    spans
                        .iter()
                        .find(|span| span.path().ends_with(&end))
                        .context("no span")
                };
                let unsplit = alike(of(0)?);
                for n in 0..length {
                    let span = of(n)?;
                    ensure!(
                        span.trace == ids(series, n).0,
                        "trace id lost when split at {n}"
                    );
                    ensure!(alike(span) == unsplit, "another span when split at {n}");
                }
            }
            Ok(())
        }
    };
    cases.drive(
        report,
        &format!("{}/{kind}", target.name),
        &tag,
        Some(length),
        drive,
        verify,
    );
}

/// A head is whole however many pieces of memory its call takes it from, and
/// the server reads it into.
pub fn pieces(cases: &mut Cases, report: &Report, target: &Target) {
    let tag = format!("{}-pieces", target.name);
    let go = Go::at(target.addr(), tag.clone());
    let series = target.port ^ 0x1e5;
    let ids_of = |n: usize| {
        let (trace, span) = ids(series, n);
        format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {span}\r\nX-B3-Sampled: 1\r\n")
    };
    let path = {
        let tag = tag.clone();
        move |n: usize| format!("/small/{tag}/{n:04}")
    };
    let length = head("GET", &path(0), &ids_of(0)).len();
    // So many bytes of cookies in front of the ids, in pieces of that size; the
    // last have 1,000 to 1,024 pieces, which is as many as there may be.
    let long = [
        (600, 1),
        (8_000, 10),
        (24_000, 25),
        (40_000, 40),
        (64_200, 63),
    ];
    let drive = || {
        let mut client = Client::connect(go.addr)?;
        let mut ask = |bytes: &[u8], parts: &[&[u8]]| {
            client.send_pieces(parts)?;
            let status = client.response("GET")?.status;
            ensure!(status == 200, "status {status} to {} bytes", bytes.len());
            Ok(())
        };
        for n in 0..length {
            let bytes = head("GET", &path(n), &ids_of(n));
            let (first, second) = bytes.as_bytes().split_at(n);
            ask(bytes.as_bytes(), &[first, &[], second])?;
        }
        for (n, (size, piece)) in (length..).zip(long) {
            let headers = format!("Cookie: {}\r\n{}", "c".repeat(size), ids_of(n));
            let bytes = head("GET", &path(n), &headers);
            let parts: Vec<&[u8]> = bytes.as_bytes().chunks(piece).collect();
            ask(bytes.as_bytes(), &parts)?;
        }
        Ok(())
    };
    let all = length + long.len();
    let verify = {
        let tag = tag.clone();
        move |seen: &Seen| {
            whole(seen, &tag)?;
            for kind in [Kind::Client, Kind::Server] {
                for span in seen.spans(&tag, kind) {
                    let n: usize = span.path().rsplit('/').next().unwrap_or_default().parse()?;
                    ensure!(span.trace == ids(series, n).0, "trace id of {n} lost");
                }
            }
            seen.sizes(&tag, &[(0, 6)])
        }
    };
    cases.drive(
        report,
        &format!("{}/pieces", target.name),
        &tag,
        Some(all),
        drive,
        verify,
    );
}

/// An answer that is read when the connection has been reset behind it, also
/// by a client that has failed to send something since.
pub fn reset_behind(cases: &mut Cases, report: &Report, target: &Target, sends: bool) {
    let name = if sends {
        "reset-behind-sent"
    } else {
        "reset-behind"
    };
    let tag = format!("{}-{name}", target.name);
    let go = Go::at(target.addr(), tag.clone());
    let drive = || {
        let mut client = Client::connect(go.addr)?;
        // Behind another, so that it is known where its answer must begin.
        client.exchange("GET", &go.path("small"), "")?;
        client.request("GET", &go.path("behind"), "")?;
        client.wait_reset()?;
        if sends {
            let failed = client.request("GET", &go.path("small"), "").is_err();
            ensure!(
                failed,
                "a request could be sent on a connection that is gone"
            );
        }
        let response = client.response("GET")?;
        ensure!(response.status == 200, "status {}", response.status);
        Ok(())
    };
    let verify = {
        let tag = tag.clone();
        move |seen: &Seen| {
            whole(seen, &tag)?;
            for client in seen.spans(&tag, Kind::Client) {
                let error = client.tag("error");
                ensure!(error.is_empty(), "error {error:?} though it was answered");
            }
            seen.sizes(&tag, &[(0, 6)])
        }
    };
    cases.drive(
        report,
        &format!("{}/{name}", target.name),
        &tag,
        Some(2),
        drive,
        verify,
    );
}

/// What must not depend on how a head was split.
fn alike(span: &Span) -> Vec<(String, String)> {
    let same = ["http.url", "peer.address"];
    let tags = span
        .tags
        .iter()
        .filter(|(key, _)| !same.contains(&key.as_str()));
    let mut all: Vec<_> = tags
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect();
    all.push(("name".to_owned(), span.name.clone()));
    all
}

/// B3 behind many cookies is read.
pub fn cookies(cases: &mut Cases, report: &Report, target: &Target, kilobytes: usize) {
    let tag = format!("{}-cookies-{kilobytes}k", target.name);
    let (trace, span) = ids(target.port, 0xc00c + kilobytes);
    let mut headers = String::new();
    for n in 0..kilobytes / 4 {
        headers += &format!("Cookie: c{n}={}\r\n", "k".repeat(4096));
    }
    headers += &format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {span}\r\nX-B3-Sampled: 1\r\n");
    let go = Go::at(target.addr(), tag.clone());
    let drive = || {
        let response = Client::connect(go.addr)?.exchange("GET", &go.path("small"), &headers)?;
        ensure!(response.status == 200, "status {}", response.status);
        Ok(())
    };
    let verify = {
        let tag = tag.clone();
        move |seen: &Seen| {
            whole(seen, &tag)?;
            for client in seen.spans(&tag, Kind::Client) {
                ensure!(
                    client.trace == trace,
                    "trace {} instead of {trace}",
                    client.trace
                );
                ensure!(
                    client.parent.as_ref() == Some(&span),
                    "parent {:?}",
                    client.parent
                );
            }
            Ok(())
        }
    };
    let name = format!("{}/cookies-{kilobytes}k", target.name);
    cases.drive(report, &name, &tag, Some(1), drive, verify);
}

/// A carried decision: headers, whether a span is expected, and its debug flag.
/// `{T}` and `{S}` in the headers stand for ids.
const DECISIONS: &[(&str, bool, bool)] = &[
    ("X-B3-Sampled: 0", false, false),
    ("b3: 0", false, false),
    (
        "X-B3-TraceId: {T}\r\nX-B3-SpanId: {S}\r\nX-B3-Sampled: 0",
        false,
        false,
    ),
    ("b3: {T}-{S}-0", false, false),
    ("traceparent: 00-{T}-{S}-00", false, false),
    ("X-B3-Sampled: 1", true, false),
    ("b3: 1", true, false),
    ("b3: d", true, true),
    (
        "X-B3-TraceId: {T}\r\nX-B3-SpanId: {S}\r\nX-B3-Sampled: 1",
        true,
        false,
    ),
    (
        "X-B3-TraceId: {T}\r\nX-B3-SpanId: {S}\r\nX-B3-Flags: 1",
        true,
        true,
    ),
    (
        "X-B3-TraceId: {T}\r\nX-B3-SpanId: {S}\r\nX-B3-Sampled: 0\r\nX-B3-Flags: 1",
        true,
        true,
    ),
    ("b3: {T}-{S}-1", true, false),
    ("b3: {T}-{S}-d", true, true),
    ("b3: {T}-{S}", true, false),
    ("traceparent: 00-{T}-{S}-01", true, false),
    (
        "x-b3-traceid: {T}\r\nx-b3-spanid: {S}\r\nx-b3-sampled: 1",
        true,
        false,
    ),
];

/// Carried decisions are obeyed, carried ids are kept.
pub fn decisions(cases: &mut Cases, report: &Report, target: &Target) {
    let tag = format!("{}-decisions", target.name);
    let (addr, series) = (target.addr(), target.port);
    let drive = || {
        let mut client = Client::connect(addr)?;
        for (n, (headers, ..)) in DECISIONS.iter().enumerate() {
            let (trace, span) = ids(series, 0xdec0 + n);
            let headers = headers.replace("{T}", &trace).replace("{S}", &span);
            client.exchange(
                "GET",
                &format!("/small/{tag}/{n}"),
                &format!("{headers}\r\n"),
            )?;
        }
        Ok(())
    };
    let verify = {
        let tag = tag.clone();
        move |seen: &Seen| {
            let expected = |n: &usize| DECISIONS[*n].1;
            let lines = || {
                let path = |n| format!("/small/{tag}/{n}");
                let all = (0..DECISIONS.len()).filter(expected);
                all.map(move |n| Line {
                    method: "GET".into(),
                    path: path(n),
                    status: Some(200),
                })
            };
            for kind in [Kind::Client, Kind::Server] {
                let spans = seen.spans(&tag, kind);
                same("spans", spans.iter().map(|span| span.line()), lines())?;
                for span in spans {
                    let n: usize = span.path().rsplit('/').next().unwrap_or_default().parse()?;
                    let (headers, _, debug) = DECISIONS[n];
                    ensure!(span.debug == debug, "debug {} for {headers:?}", span.debug);
                    let (trace, id) = ids(series, 0xdec0 + n);
                    let carried = headers.contains("{T}");
                    ensure!(
                        !carried || span.trace == trace,
                        "trace {} for {headers:?}",
                        span.trace
                    );
                    let parent = (kind == Kind::Client && carried).then_some(&id);
                    ensure!(
                        kind == Kind::Server || span.parent.as_ref() == parent,
                        "parent {:?} for {headers:?}",
                        span.parent
                    );
                }
            }
            seen.joined(&tag)
        }
    };
    let name = format!("{}/decisions", target.name);
    cases.drive(report, &name, &tag, Some(DECISIONS.len()), drive, verify);
}

/// Methods and targets beyond `GET /path`.
pub fn methods(cases: &mut Cases, report: &Report, target: &Target) {
    let tag = format!("{}-methods", target.name);
    let agent = format!("suite-{tag}");
    let addr = target.addr();
    let paths = [
        ("PROPFIND", format!("/small/{tag}/1")),
        ("GET", format!("http://suite.test/small/{tag}/2")),
        ("X-SUITE!", format!("/small/{tag}/3")),
        ("OPTIONS", "*".to_owned()),
        ("CONNECT", "suite.test:443".to_owned()),
    ];
    let urls = paths
        .clone()
        .map(|(method, target)| match target.strip_prefix('/') {
            Some(path) => format!("{method} http://suite.test/{path}"),
            None => format!("{method} {target}"),
        });
    let drive = || {
        let mut client = Client::connect(addr)?;
        for (method, target) in paths {
            let headers = format!("User-Agent: suite-{tag}\r\n");
            let response = client.exchange(method, &target, &headers)?;
            ensure!(
                response.status == 200,
                "{method} {target}: status {}",
                response.status
            );
        }
        // Behind CONNECT, what looks like a request is none.
        let inside = head("GET", &format!("/small/{tag}-inside/1"), "");
        client.send(&inside)?;
        ensure!(
            client.bytes(inside.len())? == inside.as_bytes(),
            "wrong echo"
        );
        Ok(())
    };
    let verify = move |seen: &Seen| {
        let spans = seen.spans_of_agent(&agent);
        for kind in [Kind::Client, Kind::Server] {
            let half = spans.iter().filter(|span| span.kind == kind);
            let half =
                half.map(|span| format!("{} {}", span.tag("http.method"), span.tag("http.url")));
            same("spans", half, urls.clone())?;
        }
        let failed = spans
            .iter()
            .find(|span| span.tag("http.status_code") != "200");
        ensure!(failed.is_none(), "a span without its status: {failed:?}");
        Ok(())
    };
    cases.drive(
        report,
        &format!("{}/methods", target.name),
        &tag,
        Some(3),
        drive,
        verify,
    );
}

/// A connection that is opened, and used once, before the agent starts.
pub struct Older {
    client: Client,
    name: &'static str,
}

impl Older {
    /// Opens it.
    ///
    /// # Errors
    /// If the server does not answer.
    pub fn open(target: &Target) -> Result<Self> {
        let mut client = Client::connect(target.addr())?;
        client.exchange("GET", &format!("/small/{}-before/1", target.name), "")?;
        Ok(Self {
            client,
            name: target.name,
        })
    }

    /// Uses it while the agent looks.
    pub fn drive(mut self, cases: &mut Cases, report: &Report) {
        let (tag, before) = (
            format!("{}-older", self.name),
            format!("{}-before", self.name),
        );
        let path = |n: u32| format!("/small/{tag}/{n}");
        let drive = || {
            for n in 1..3 {
                let status = self.client.exchange("GET", &path(n), "")?.status;
                ensure!(status == 200, "status {status}");
            }
            // The io_uring server reads one request at a time.
            if self.name != "uring" {
                self.client
                    .send(head("GET", &path(3), "") + &head("GET", &path(4), ""))?;
                self.client.response("GET")?;
                self.client.response("GET")?;
            }
            Ok(())
        };
        let verify = {
            let tag = tag.clone();
            move |seen: &Seen| {
                whole(seen, &tag)?;
                let early = seen.spans(&before, Kind::Server).len();
                ensure!(early == 0, "{early} spans of before the agent started");
                seen.sizes(&tag, &[(0, 6)])
            }
        };
        let lines = if self.name == "uring" { 2 } else { 4 };
        cases.drive(
            report,
            &format!("{}/older", self.name),
            &tag,
            Some(lines),
            drive,
            verify,
        );
    }
}

/// What a proxy forwards to the origin is seen at both of its sides.
pub fn forwarded(cases: &mut Cases, report: &Report, proxy: &'static str) {
    let tag = format!("via-{proxy}");
    let verify = move |seen: &Seen| {
        let mut tags = seen.tags_of(&format!("via-{proxy}-"));
        // Before the agent started, or to an origin that was blocked by then.
        tags.retain(|tag| !tag.ends_with("-before") && !tag.ends_with("-older"));
        ensure!(tags.len() > 3, "nothing was forwarded");
        for tag in tags {
            whole(seen, &tag).with_context(|| tag.clone())?;
        }
        Ok(())
    };
    cases.drive(
        report,
        &format!("{proxy}/forwarded"),
        &tag,
        None,
        || Ok(()),
        verify,
    );
}
