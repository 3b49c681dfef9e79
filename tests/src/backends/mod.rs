//! The same spans by every way out of the agent, into real servers and back.
//!
//! A capture with something of everything ([`scene`]) is replayed into each
//! server by each way ([`rows`]), beside JSON lines of the same spans. What a
//! server gives back must be these, fact by fact ([`fields`]), but for what it
//! is known to change.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, anyhow, ensure};

use crate::answer::Answer;
use crate::compare::same;
use crate::report::{Report, Verdict};
use crate::wait;
use crate::zipkin::Zipkin;

pub mod api;
pub mod asked;
pub mod fields;
pub mod jaeger;
pub mod links;
pub mod outage;
pub mod rows;
pub mod sampling;
pub mod scene;
pub mod shapes;
pub mod tap;

use fields::Fields;
use jaeger::Jaeger;
use links::{Link, Links};
use rows::{Ids, ROWS, Row, Store};
use scene::Scene;
use tap::Tap;

/// The real servers.
#[derive(Clone, Debug)]
pub struct Servers {
    /// A Zipkin.
    pub zipkin: Zipkin,
    /// A Jaeger.
    pub jaeger: Jaeger,
}

impl Servers {
    /// From the values of `NODESPAN_ZIPKIN` and `NODESPAN_JAEGER`.
    ///
    /// # Errors
    /// If one is missing or wrong.
    pub fn new(zipkin: Option<&str>, jaeger: Option<&str>) -> Result<Self> {
        Ok(Self {
            zipkin: Zipkin::new(zipkin.context("NODESPAN_ZIPKIN is not set")?)?,
            jaeger: Jaeger::new(jaeger.context("NODESPAN_JAEGER is not set")?)?,
        })
    }
}

/// Runs all checks; the jar is a Zipkin's that may be started and killed.
pub fn run(
    report: &mut Report,
    nodespan: &Path,
    servers: Result<Servers>,
    zipkin_jar: Option<&Path>,
    out: &Path,
) {
    let servers = match servers {
        Ok(servers) => servers,
        Err(error) => return report.check("backends/start", || Err(error)),
    };
    report.check("backends/jaeger/remote-sampling", || {
        sampling::follows_the_file(&servers.jaeger)
    });
    // These wait for a minute, beside the others; nobody else writes Jaeger's
    // file meanwhile.
    let asked = "backends/jaeger/remote-sampling-agent";
    let outages = outage::Outage::wanted(report);
    std::thread::scope(|scope| {
        let running = report
            .wants(asked)
            .then(|| scope.spawn(|| asked::follows_the_file(nodespan, &servers.jaeger, out)));
        let outage = (!outages.is_empty())
            .then(|| scope.spawn(|| outage::Outage::run(nodespan, zipkin_jar, out)));
        rows(report, nodespan, &servers, out);
        if let Some(running) = outage {
            let outage = running.join();
            let outage = outage.unwrap_or_else(|_| Err(anyhow!("it panicked")));
            outage::Outage::report(report, outage);
        }
        if let Some(running) = running {
            let result = running
                .join()
                .unwrap_or_else(|_| Err(anyhow!("it panicked")));
            report.result(asked, result);
        }
    });
}

/// The checks of each row.
fn rows(report: &mut Report, nodespan: &Path, servers: &Servers, out: &Path) {
    for row in ROWS {
        for kind in [Ids::Own, Ids::Shared, Ids::OneService] {
            if kind.shared() && !row.shared {
                continue;
            }
            let name = format!("backends/{}/{}", row.name, kind.name());
            if !report.wants(&name) {
                continue;
            }
            let run = Run {
                row,
                servers,
                name: name.replace('/', "-"),
                kind,
                out,
            };
            let replayed = match run.replay(nodespan) {
                Ok(replayed) => replayed,
                Err(error) => {
                    report.result(&name, Err(error));
                    continue;
                }
            };
            report.check(&name, || run.equal(&replayed.spans));
            // Jaeger looks for a caller by its id, which is the callee's, too.
            let has_links = match kind {
                Ids::Own => true,
                Ids::Shared => row.store == Store::Zipkin,
                Ids::OneService => false,
            };
            if has_links {
                report.check(&format!("{name}/links"), || run.links(&replayed.scene));
            }
        }
    }
}

/// For a server to store what it has taken.
const STORED: Duration = Duration::from_secs(60);

/// One row of the table, once.
struct Run<'a> {
    row: &'a Row,
    servers: &'a Servers,
    name: String,
    kind: Ids,
    out: &'a Path,
}

/// What was sent.
struct Replayed {
    scene: Scene,
    spans: Vec<Fields>,
}

impl Run<'_> {
    /// Replays a scene into the server, and reads what is printed of it.
    fn replay(&self, nodespan: &Path) -> Result<Replayed> {
        let scene = scene::write()?;
        let capture = self.file("pcap", &scene.capture)?;
        let server = (self.row.to)(self.servers)?;
        let tap = Tap::start(&server)?;
        let at = if self.row.post.is_some() {
            tap.authority()
        } else {
            server
        };
        let config = (self.row.config)(&at, self.kind);
        let config = self.file("toml", config.as_bytes())?;
        let mut replay = Command::new(nodespan);
        replay.arg("replay").arg(capture);
        replay.args(["--observe", "both", "--output", "jsonl", "--config"]);
        replay.arg(config);
        let answer = Answer {
            codes: &[0],
            says: &[],
            lines: 0,
        };
        let done = answer.of(&mut replay)?;
        self.file("jsonl", &done.stdout)?;
        let spans: Vec<Fields> = String::from_utf8(done.stdout)
            .context("the spans are no UTF-8")?
            .lines()
            .map(|line| Fields::from_zipkin(&serde_json::from_str(line)?))
            .collect::<Result<_>>()?;
        scene_is_whole(&scene, &spans, self.kind)?;
        if let Some((path, content_type)) = self.row.post {
            tap.heard_only(path, content_type)?;
        }
        Ok(Replayed { scene, spans })
    }

    /// The server gives back what was printed.
    fn equal(&self, printed: &[Fields]) -> Result<Verdict> {
        let mut traces: BTreeMap<String, Vec<Fields>> = BTreeMap::new();
        for span in printed {
            let mut span = span.clone();
            (self.row.shape)(&mut span);
            traces
                .entry(span.get("trace").to_owned())
                .or_default()
                .push(span);
        }
        let mut got: BTreeMap<&str, Vec<Fields>> = BTreeMap::new();
        // What a server has taken it stores a little later.
        let all = wait::until_true("all spans", STORED, || {
            for (trace, spans) in &traces {
                let have = got.get(trace.as_str()).map_or(0, Vec::len);
                if have < spans.len() {
                    got.insert(trace, self.row.store.trace(self.servers, trace)?);
                }
            }
            Ok(got.values().map(Vec::len).sum::<usize>() >= printed.len())
        });
        let got = got.into_values().flatten().collect();
        // What is missing says more than that something is.
        fields::equal(got, traces.values().flatten().cloned().collect())?;
        all?;
        Ok(Verdict::Passed)
    }

    /// The server's graph of services is who called whom.
    fn links(&self, scene: &Scene) -> Result<Verdict> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
        let lookback = Duration::from_secs(3600);
        let mut expected = scene.links.clone();
        let mut got = match self.row.store {
            Store::Zipkin => self.servers.zipkin.links(now, lookback)?,
            Store::Jaeger => self.servers.jaeger.links(now, lookback)?,
        };
        // Jaeger links a service with itself where Zipkin does not.
        got.retain(|link| link.parent != link.child);
        // The server has seen other scenes, too.
        got.retain(|link| {
            let of_this = |name: &String| {
                expected
                    .iter()
                    .any(|l| [&l.parent, &l.child].contains(&name))
            };
            of_this(&link.parent) || of_this(&link.child)
        });
        if self.row.store == Store::Jaeger {
            expected.iter_mut().for_each(|link| link.errors = 0);
        }
        let show = |links: Links| {
            links.into_iter().map(
                |Link {
                     parent,
                     child,
                     calls,
                     errors,
                 }| {
                    format!("{parent} -> {child}: {calls} calls, {errors} errors")
                },
            )
        };
        same("links", show(got), show(expected))?;
        Ok(Verdict::Passed)
    }

    fn file(&self, kind: &str, bytes: &[u8]) -> Result<PathBuf> {
        let file = self.out.join(format!("{}.{kind}", self.name));
        fs::write(&file, bytes)?;
        Ok(file)
    }
}

/// What was printed is the scene, so that a comparison with it says something.
fn scene_is_whole(scene: &Scene, printed: &[Fields], kind: Ids) -> Result<()> {
    let count = |what: &str, expected: usize, is: &dyn Fn(&Fields) -> bool| {
        let count = printed.iter().filter(|span| is(span)).count();
        ensure!(
            count == expected,
            "{count} {what} were printed, not {expected}"
        );
        Ok(())
    };
    let all = scene.exchanges;
    count("client spans", all, &|span| span.get("kind") == "CLIENT")?;
    count("server spans", all, &|span| span.get("kind") == "SERVER")?;
    count(
        "shared spans",
        if kind.shared() { all } else { 0 },
        &|span| span.get("shared") == "true",
    )?;
    let failed = scene.links.iter().map(|link| link.errors).sum::<u64>();
    count("failed calls", usize::try_from(failed)? * 2, &|span| {
        !span.get("tag error").is_empty()
    })?;
    for width in [16, 32] {
        let has = printed.iter().any(|span| span.get("trace").len() == width);
        ensure!(has, "no trace id of {width} digits");
    }
    Ok(())
}
