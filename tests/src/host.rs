//! Replay and the command line, on any machine.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::answer::Answer;
use crate::children::command;
use crate::compare::{Seen, same};
use crate::pcap::{Conversation, From};
use crate::raw::head;
use crate::report::{Report, Verdict};
use crate::spans::{self, Kind, Span};
use crate::tree::is_chain;
use crate::wrong::{has_kprobes, no_kprobes};
use crate::zipkin::{Zipkin, callers_span};

/// A response with a body of two bytes.
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

/// Runs all checks.
pub fn run(report: &mut Report, nodespan: &Path, zipkin: Option<&str>, out: &Path) {
    let host = Host { nodespan, out };
    report.check("replay/server", || host.server());
    report.check("replay/client-and-server", || host.both());
    report.check("replay/carried-ids", || host.carried());
    report.check("replay/open-at-the-end", || host.open());
    report.check("replay/cut-record", || host.cut_record());
    let whole = two_exchanges().into_bytes();
    let damaged: [(&str, &[u8]); 4] = [
        ("empty", &[]),
        (
            "bad-magic",
            b"GET / HTTP/1.1\r\n\r\nthis is no capture at all",
        ),
        ("cut-header", &whole[..20]),
        ("zeros", &[0; 4096]),
    ];
    for (name, bytes) in damaged {
        report.check(&format!("replay/{name}"), || host.refused(name, bytes));
    }
    report.check("replay/missing", || host.missing());
    report.check("replay/a-folder", || {
        host.answer(&[1], &["replay".as_ref(), out.as_os_str()])
    });
    let commands: [(&str, &[&str], &[i32]); 7] = [
        ("help", &["--help"], &[0]),
        ("version", &["--version"], &[0]),
        ("no-command", &[], &[2]),
        ("unknown-command", &["rnu"], &[2]),
        ("unknown-option", &["replay", "--no-such", "x"], &[2]),
        ("bad-port", &["run", "--port", "many"], &[2]),
        ("status-without-agent", &["status"], &[1]),
    ];
    for (name, words, codes) in commands {
        let words: Vec<_> = words.iter().map(OsStr::new).collect();
        report.check(&format!("cli/{name}"), || host.answer(codes, &words));
    }
    // A kernel that has them has nothing to say here; the guests' have.
    let verbs = ["probe", "run"];
    for verb in verbs.into_iter().filter(|_| !has_kprobes()) {
        let name = format!("cli/{verb}-without-kprobes");
        report.check(&name, || no_kprobes(nodespan, verb));
    }
    report.check("export/zipkin", || {
        let url = zipkin.context("NODESPAN_ZIPKIN is not set")?;
        host.export(&Zipkin::new(url)?)
    });
}

struct Host<'a> {
    nodespan: &'a Path,
    out: &'a Path,
}

impl Host<'_> {
    /// By default a capture is what the servers saw.
    fn server(&self) -> Result<Verdict> {
        let seen = self.replay("server", &two_exchanges().into_bytes(), &[])?;
        let lines = seen.iter().map(|span| {
            format!(
                "{:?} {} {}",
                span.kind,
                span.line(),
                span.tag("request_size")
            )
        });
        same(
            "spans",
            lines,
            [
                "Server GET /small/host/1 200 0".to_owned(),
                "Server POST /small/host/2 200 5".to_owned(),
            ],
        )?;
        let odd = seen
            .iter()
            .find(|span| span.parent.is_some() || span.shared);
        ensure!(odd.is_none(), "parents without context: {odd:?}");
        Ok(Verdict::Passed)
    }

    fn both(&self) -> Result<Verdict> {
        let spans = self.replay(
            "both",
            &two_exchanges().into_bytes(),
            &["--observe", "both"],
        )?;
        ensure!(spans.len() == 4, "{} spans, not 4", spans.len());
        let seen = Seen::new(spans, []);
        seen.joined("host")?;
        seen.sizes("host", &[(0, 2), (5, 2)])?;
        Ok(Verdict::Passed)
    }

    fn carried(&self) -> Result<Verdict> {
        let (trace, span) = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331");
        let capture = carrying(trace, span).into_bytes();
        let spans = self.replay("carried", &capture, &["--observe", "both"])?;
        let of = |kind| {
            spans
                .iter()
                .find(|span| span.kind == kind)
                .context("a half is missing")
        };
        let (client, server) = (of(Kind::Client)?, of(Kind::Server)?);
        ensure!(
            client.trace == trace && server.trace == trace,
            "another trace"
        );
        ensure!(
            client.parent.as_deref() == Some(span),
            "client below {:?}",
            client.parent
        );
        ensure!(
            server.parent.as_ref() == Some(&client.id),
            "server below {:?}",
            server.parent
        );
        Ok(Verdict::Passed)
    }

    fn open(&self) -> Result<Verdict> {
        let capture = Conversation::new().send(From::Client, get("/small/host/1"));
        let spans = self.replay("open", &capture.into_bytes(), &[])?;
        ensure!(spans.len() == 1, "{} spans, not 1", spans.len());
        let (error, status) = (spans[0].tag("error"), spans[0].line().status);
        ensure!(
            error == "capture ended" && status.is_none(),
            "error {error:?}, status {status:?}"
        );
        Ok(Verdict::Passed)
    }

    /// The spans so far, a warning, and no failure.
    fn cut_record(&self) -> Result<Verdict> {
        let mut bytes = two_exchanges()
            .send(From::Client, get("/small/host/3"))
            .into_bytes();
        bytes.truncate(bytes.len() - 7);
        let file = self.file("cut-record.pcap", &bytes)?;
        let answer = Answer {
            codes: &[0],
            says: &[&["cut", "truncated", "short"]],
            lines: 3,
        };
        let mut replay = self.replay_command(&file);
        let done = answer.of(replay.args(["--output", "jsonl"]))?;
        let spans = String::from_utf8_lossy(&done.stdout).lines().count();
        ensure!(spans == 2, "{spans} spans, not 2");
        Ok(Verdict::Passed)
    }

    fn refused(&self, name: &str, bytes: &[u8]) -> Result<Verdict> {
        let name = format!("{name}.pcap");
        let file = self.file(&name, bytes)?;
        Answer {
            codes: &[1],
            says: &[&[&name]],
            lines: 1,
        }
        .of(&mut self.replay_command(&file))?;
        Ok(Verdict::Passed)
    }

    fn missing(&self) -> Result<Verdict> {
        let file = self.out.join("no-such.pcap");
        let answer = Answer {
            codes: &[1, 2],
            says: &[&["no-such.pcap"]],
            lines: 1,
        };
        answer.of(&mut self.replay_command(&file))?;
        Ok(Verdict::Passed)
    }

    fn answer(&self, codes: &[i32], arguments: &[&OsStr]) -> Result<Verdict> {
        let answer = Answer {
            codes,
            says: &[],
            lines: 60,
        };
        answer.of(command([self.nodespan]).args(arguments))?;
        Ok(Verdict::Passed)
    }

    /// A replay is exported like a live run.
    fn export(&self, zipkin: &Zipkin) -> Result<Verdict> {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
        let started = u64::try_from(now.as_micros())?;
        let (trace, span) = (
            format!("{started:032x}"),
            format!("{:016x}", started ^ 0x5eed),
        );
        let capture = self.file("export.pcap", &carrying(&trace, &span).into_bytes())?;
        let url = zipkin.spans_url();
        let config = format!(
            "[tracing]\nbackend = \"zipkin\"\n[tracing.zipkin]\nhttpEndpoint = \"{url}\"\n"
        );
        let config = self.file("export.toml", config.as_bytes())?;
        let answer = Answer {
            codes: &[0],
            says: &[],
            lines: 10,
        };
        let mut replay = self.replay_command(&capture);
        replay
            .args(["--observe", "both", "--output", "none", "--config"])
            .arg(config);
        answer.of(&mut replay)?;
        zipkin.post(&[callers_span(&trace, &span, None, started)])?;
        let spans = zipkin.trace_of(&trace, 3)?;
        is_chain(&spans, Some(&span), 1, false)?;
        Ok(Verdict::Passed)
    }

    fn replay(&self, name: &str, capture: &[u8], arguments: &[&str]) -> Result<Vec<Span>> {
        let file = self.file(&format!("{name}.pcap"), capture)?;
        let mut replay = self.replay_command(&file);
        replay.args(["--output", "jsonl"]).args(arguments);
        let done = Answer {
            codes: &[0],
            says: &[],
            lines: 10,
        }
        .of(&mut replay)?;
        spans::read(&self.file(&format!("{name}.jsonl"), &done.stdout)?)
    }

    fn replay_command(&self, capture: &Path) -> Command {
        let mut replay = Command::new(self.nodespan);
        replay.arg("replay").arg(capture);
        replay
    }

    fn file(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        let file = self.out.join(name);
        fs::write(&file, bytes)?;
        Ok(file)
    }
}

fn get(path: &str) -> String {
    head("GET", path, "")
}

fn two_exchanges() -> Conversation {
    Conversation::new()
        .send(From::Client, get("/small/host/1"))
        .send(From::Server, OK)
        .send(
            From::Client,
            head("POST", "/small/host/2?secret=1", "Content-Length: 5\r\n"),
        )
        .send(From::Client, "12345")
        .send(From::Server, OK)
}

fn carrying(trace: &str, span: &str) -> Conversation {
    let ids = format!("X-B3-TraceId: {trace}\r\nX-B3-SpanId: {span}\r\nX-B3-Sampled: 1\r\n");
    Conversation::new()
        .send(From::Client, head("GET", "/small/host/1", &ids))
        .send(From::Server, OK)
        .close()
}
