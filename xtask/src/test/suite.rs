//! Suites: programs that print one line per check, on this machine or in a
//! guest of each kernel.

use std::{
    fs,
    path::PathBuf,
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, anyhow};

use super::tally::{Matrix, Tally, Verdict, suite_line};
use crate::{
    cache::Cache,
    kernel::Kernel,
    servers::{Jaeger, Kubernetes, Zipkin},
    setup::{runtime, servers},
    vm::{Guest, Idle, Output, Stream},
};

/// Where a suite runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// On this machine.
    Host,
    /// In a guest of each kernel.
    Guest,
    /// In a guest of this kernel, if it is one of those that are asked for:
    /// what it shows is not the kernel's to decide.
    OneGuest(Kernel),
    /// The same, but its time is counted in instructions: what it is to reach
    /// in a second is not for whoever else uses this machine to decide.
    Counted(Kernel),
}

/// One of those that the program `suites` of the package `nodespan-tests` has. It
/// prints `ok NAME`, `not ok NAME: why` or `skip NAME: why` for each of its checks.
/// It gets `--out DIR`, in a guest also `--kernel K`,
/// and in its environment `NODESPAN_BIN`, `NODESPAN_ENVOY`, and the servers for
/// all suites of a run: `NODESPAN_ZIPKIN` (a URL) and `NODESPAN_JAEGER`
/// ([`Jaeger::places`]). On this machine it also gets `NODESPAN_ZIPKIN_JAR`, to
/// start a server of its own. If it asks for one it gets `NODESPAN_ZIPKIN_2`, a
/// server that no other suite sends to, and `NODESPAN_KUBERNETES`
/// ([`Kubernetes::places`]), an API that no other suite uses; guests that run at
/// the same time share it. For containers it gets
/// `NODESPAN_RUNTIME`, the root folder of a container runtime's packages, and
/// `NODESPAN_IMAGE`, the agent's image as `cargo xtask dist` makes it.
#[derive(Debug)]
pub(super) struct Suite {
    /// What it is called.
    pub(super) name: &'static str,
    pub(super) place: Place,
    /// Whether it wants a Zipkin that no other suite sends to.
    pub(super) second_zipkin: bool,
    /// Whether it wants a Kubernetes API.
    pub(super) kubernetes: bool,
    /// Whether it makes containers, the agent's own among them.
    pub(super) containers: bool,
    /// The kernel on which it does most, if it does not do the same on all.
    pub(super) longest: Option<Kernel>,
    /// What else it is told.
    pub(super) arguments: &'static [&'static str],
    /// Guests that it has besides, for what changes a whole machine.
    pub(super) others: &'static [Other],
}

/// Another guest of a suite, with the same servers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Other {
    /// What its place is called after the kernel.
    pub(super) name: &'static str,
    /// On which kernels.
    pub(super) kernels: &'static [Kernel],
    /// What the suite is told in it.
    pub(super) arguments: &'static [&'static str],
}

/// What most suites are like.
const SUITE: Suite = Suite {
    name: "",
    place: Place::Host,
    second_zipkin: false,
    kubernetes: false,
    containers: false,
    longest: None,
    arguments: &[],
    others: &[],
};

/// The package of the suites, and their program.
pub(super) const PACKAGE: &str = "nodespan-tests";
pub(super) const PROGRAM: &str = "suites";

/// All suites.
pub(super) const SUITES: &[Suite] = &[
    Suite {
        name: "host",
        place: Place::Host,
        ..SUITE
    },
    Suite {
        name: "kubernetes",
        place: Place::Host,
        kubernetes: true,
        ..SUITE
    },
    Suite {
        name: "guest",
        place: Place::Guest,
        ..SUITE
    },
    Suite {
        name: "policy",
        place: Place::OneGuest(Kernel::V6_12),
        second_zipkin: true,
        arguments: &["--except", "reload/"],
        ..SUITE
    },
    Suite {
        name: "policy",
        place: Place::Counted(Kernel::V6_12),
        arguments: &["--only", "reload/"],
        ..SUITE
    },
    Suite {
        name: "node",
        place: Place::OneGuest(Kernel::V6_12),
        kubernetes: true,
        ..SUITE
    },
    Suite {
        name: "pods",
        place: Place::Guest,
        kubernetes: true,
        containers: true,
        longest: Some(Kernel::V6_12),
        arguments: &["--except", "pods/v1/", "--except", "pods/hybrid/"],
        others: &[Other {
            name: "v1",
            kernels: &V1,
            arguments: &["--only", "pods/v1/", "--only", "pods/hybrid/"],
        }],
        ..SUITE
    },
];

/// Where cgroup v1 is tried: the oldest kernel, and one that has lost parts of it.
const V1: [Kernel; 2] = [Kernel::V5_10, Kernel::V6_12];

/// Guests at a time. Each uses about one processor.
const AT_ONCE: usize = 2;

/// For a whole suite in one place.
const TIMEOUT: Duration = Duration::from_secs(40 * 60);

/// What a suite is run with.
#[derive(Debug)]
pub(super) struct Site<'a> {
    pub(super) program: PathBuf,
    pub(super) agent: PathBuf,
    pub(super) zipkin: &'a Zipkin,
    pub(super) jaeger: &'a Jaeger,
    /// For a suite that needs two.
    pub(super) second_zipkin: Option<Zipkin>,
    /// For a suite that wants it.
    pub(super) kubernetes: Option<Kubernetes>,
    /// The image's root file system, for a suite that makes containers.
    pub(super) image: Option<PathBuf>,
    pub(super) out: PathBuf,
}

/// Runs suites on this machine, all at once: most of the time they wait, each for
/// servers of its own.
pub(super) fn on_host(suites: &[(&Suite, Site<'_>)], tally: &mut Tally) {
    let runs: Vec<Run> = thread::scope(|scope| {
        let all: Vec<_> = suites
            .iter()
            .map(|(suite, site)| scope.spawn(|| on_this_host(suite, site)))
            .collect();
        let all = all.into_iter().zip(suites);
        all.map(|(run, (suite, _))| {
            run.join().unwrap_or_else(|_| {
                let mut run = Run::new(suite.name, HOST);
                run.end(Err(anyhow!("its thread has panicked")));
                run
            })
        })
        .collect()
    });
    for run in runs {
        run.report(tally);
    }
}

/// The place that is no guest.
const HOST: &str = "host";

fn on_this_host(suite: &Suite, site: &Site<'_>) -> Run {
    let mut run = Run::new(suite.name, HOST);
    let result = start_on_host(suite, site, &mut run);
    run.end(result);
    run
}

fn start_on_host(suite: &Suite, site: &Site<'_>, run: &mut Run) -> Result<i32> {
    let out = run.out_dir(site)?;
    let mut command = Command::new("timeout");
    command
        .args(["--kill-after=10", &TIMEOUT.as_secs().to_string()])
        .arg(&site.program)
        .args([suite.name, "--out"])
        .arg(out)
        .args(suite.arguments)
        .env("NODESPAN_BIN", &site.agent)
        .env("NODESPAN_ENVOY", servers::find(&Cache::open()?)?.envoy)
        .env("NODESPAN_ZIPKIN", site.zipkin.url())
        .env("NODESPAN_JAEGER", site.jaeger.places())
        .env(
            "NODESPAN_ZIPKIN_JAR",
            servers::find_zipkin(&Cache::open()?)?,
        )
        .stdin(Stdio::null());
    if let Some(kubernetes) = &site.kubernetes {
        command.env("NODESPAN_KUBERNETES", kubernetes.places());
    }
    let succeeded = super::tee(&mut command, |line| run.line(line))?;
    Ok(i32::from(!succeeded))
}

/// Those of the kernels on which a suite runs.
pub(super) const fn kernels<'a>(suite: &'a Suite, all: &'a [Kernel]) -> &'a [Kernel] {
    match &suite.place {
        Place::OneGuest(kernel) | Place::Counted(kernel) => std::slice::from_ref(kernel),
        Place::Host | Place::Guest => all,
    }
}

/// Runs suites in guests of these kernels, two guests at a time, and prints a
/// matrix for each suite.
pub(super) fn in_guests(suites: &[(&Suite, Site<'_>, &[Kernel])], tally: &mut Tally) {
    let mut all: Vec<(usize, &Suite, &Site<'_>, Kernel, Option<&Other>)> = Vec::new();
    for (place, (suite, site, kernels)) in suites.iter().enumerate() {
        let order = order(suite, kernels).into_iter();
        all.extend(order.map(|(kernel, other)| (place, *suite, site, kernel, other)));
    }
    let next = AtomicUsize::new(0);
    let runs = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..AT_ONCE.min(all.len()) {
            // A guest dies with the thread that started it: this one stays
            // until its guests are done.
            scope.spawn(|| {
                while let Some((place, suite, site, kernel, other)) =
                    all.get(next.fetch_add(1, Ordering::Relaxed))
                {
                    let run = in_guest(suite, site, *kernel, *other);
                    lock(&runs).push((*place, *kernel, run));
                }
            });
        }
    });
    let mut runs = runs.into_inner().unwrap_or_else(PoisonError::into_inner);
    runs.sort_by_key(|(place, kernel, _)| (*place, *kernel));
    for (place, (suite, _, kernels)) in suites.iter().enumerate() {
        let mut matrix = Matrix::default();
        for (_, kernel, run) in runs.iter().filter(|(its, _, _)| *its == place) {
            for (name, verdict) in &run.checks {
                matrix.add(kernel.name(), name, verdict.clone());
            }
            run.report(tally);
        }
        let columns: Vec<&str> = kernels.iter().map(|kernel| kernel.name()).collect();
        let matrix = matrix.render(&columns);
        println!("\nsuite {} on real kernels\n{matrix}", suite.name);
    }
}

/// The guests of a suite. Who has most to do begins, and what is short fills the
/// gaps at the end.
fn order<'a>(suite: &'a Suite, kernels: &[Kernel]) -> Vec<(Kernel, Option<&'a Other>)> {
    let mut usual = kernels.to_vec();
    usual.sort_by_key(|kernel| suite.longest != Some(*kernel));
    let others = suite.others.iter().flat_map(|other| {
        let on = other.kernels.iter().filter(|on| kernels.contains(on));
        on.map(move |on| (*on, Some(other)))
    });
    let usual = usual.into_iter().map(|kernel| (kernel, None));
    usual.chain(others).collect()
}

fn in_guest(suite: &Suite, site: &Site<'_>, kernel: Kernel, other: Option<&Other>) -> Run {
    let place = match (suite.place, other) {
        (_, Some(other)) => format!("{}-{}", kernel.name(), other.name),
        (Place::Counted(_), _) => format!("{}-counted", kernel.name()),
        _ => kernel.name().to_owned(),
    };
    let arguments = other.map_or(suite.arguments, |other| other.arguments);
    let run = Arc::new(Mutex::new(Run::new(suite.name, &place)));
    let result = attend(suite, site, kernel, arguments, &run);
    let mut run = lock(&run).clone();
    run.flush();
    run.end(result);
    run
}

fn attend(
    suite: &Suite,
    site: &Site<'_>,
    kernel: Kernel,
    arguments: &[&str],
    run: &Arc<Mutex<Run>>,
) -> Result<i32> {
    let out = lock(run).out_dir(site)?;
    let sink = {
        let run = Arc::clone(run);
        move |stream: Stream, bytes: &[u8]| lock(&run).bytes(stream, bytes)
    };
    let mut command = vec![
        site.program.clone().into_os_string(),
        suite.name.into(),
        "--kernel".into(),
        kernel.name().into(),
        "--out".into(),
        out.clone().into_os_string(),
    ];
    command.extend(arguments.iter().map(Into::into));
    let mut guest = Guest::new(kernel)
        .with_net()
        .share(&out)
        .timeout(TIMEOUT)
        .console(out.join("console.log"))
        .env("NODESPAN_BIN", &site.agent)
        .env("NODESPAN_ENVOY", servers::find(&Cache::open()?)?.envoy)
        .env("NODESPAN_ZIPKIN", site.zipkin.url_from_guest())
        .env("NODESPAN_JAEGER", site.jaeger.places_from_guest())
        .output(Output::Sink(Arc::new(sink)));
    if let Place::Counted(_) = suite.place {
        // Nothing is asked of a server out there, whose time is another.
        guest = guest
            .with_icount(Idle::Waited)
            .env("NODESPAN_ZIPKIN_2", site.zipkin.url_from_guest());
    }
    if let Some(second) = &site.second_zipkin {
        guest = guest.env("NODESPAN_ZIPKIN_2", second.url_from_guest());
    }
    if let Some(kubernetes) = &site.kubernetes {
        guest = guest.env("NODESPAN_KUBERNETES", kubernetes.places_from_guest());
    }
    if let Some(image) = &site.image {
        guest = guest
            .env("NODESPAN_RUNTIME", runtime::find(&Cache::open()?)?)
            .env("NODESPAN_IMAGE", image);
    }
    guest.run(&command)
}

/// One suite's run in one place.
#[derive(Clone, Debug)]
struct Run {
    suite: &'static str,
    place: String,
    checks: Vec<(String, Verdict)>,
    /// What of a line has come on either stream.
    partial: [Vec<u8>; 2],
}

impl Run {
    fn new(suite: &'static str, place: &str) -> Self {
        Self {
            suite,
            place: place.to_owned(),
            checks: Vec::new(),
            partial: [vec![], vec![]],
        }
    }

    fn out_dir(&self, site: &Site<'_>) -> Result<PathBuf> {
        let dir = site.out.join(self.suite).join(&self.place);
        if dir.exists() {
            fs::remove_dir_all(&dir)?; // Of an earlier run.
        }
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        Ok(dir)
    }

    fn bytes(&mut self, stream: Stream, bytes: &[u8]) {
        let which = usize::from(stream == Stream::Err);
        self.partial[which].extend_from_slice(bytes);
        while let Some(end) = self.partial[which].iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = self.partial[which].drain(..=end).collect();
            self.show(stream, &String::from_utf8_lossy(&line[..end]));
        }
    }

    /// Shows lines that have no end.
    fn flush(&mut self) {
        for stream in [Stream::Out, Stream::Err] {
            if !self.partial[usize::from(stream == Stream::Err)].is_empty() {
                self.bytes(stream, b"\n");
            }
        }
    }

    fn show(&mut self, stream: Stream, line: &str) {
        println!("[{}] {line}", self.place);
        if stream == Stream::Out {
            self.line(line);
        }
    }

    fn line(&mut self, line: &str) {
        self.checks.extend(suite_line(line));
    }

    /// Turns an end that no check explains into a failure of its own.
    fn end(&mut self, result: Result<i32>) {
        let failed = self
            .checks
            .iter()
            .any(|(_, verdict)| *verdict != Verdict::Ok);
        let why = match result {
            Err(error) => format!("{error:#}"),
            Ok(0) if self.checks.is_empty() => "it checked nothing".to_owned(),
            Ok(0) => return,
            Ok(_) if failed => return,
            Ok(code) => format!("it ended with status {code} though no check failed"),
        };
        self.checks.push((
            format!("(suite {} itself)", self.suite),
            Verdict::NotOk(why),
        ));
    }

    fn report(&self, tally: &mut Tally) {
        for (name, verdict) in &self.checks {
            tally.verdict(&format!("[{}] {name}", self.place), verdict);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_may_come_in_pieces() {
        let mut run = Run::new("s", "6.12");
        run.bytes(Stream::Out, b"ok fi");
        run.bytes(Stream::Err, b"ok not a result\n");
        run.bytes(Stream::Out, b"rst\nnot ok second: why");
        run.flush();
        assert_eq!(
            run.checks,
            [
                ("first".to_owned(), Verdict::Ok),
                ("second".to_owned(), Verdict::NotOk("why".into())),
            ]
        );
    }

    /// It is a JVM, which costs a guest beside it much of its processor.
    #[test]
    fn one_suite_has_a_second_zipkin() {
        let wanting = SUITES.iter().filter(|suite| suite.second_zipkin);
        let wanting: Vec<_> = wanting.map(|suite| (suite.name, suite.place)).collect();
        let place = Place::OneGuest(Kernel::V6_12);
        assert_eq!(wanting, [("policy", place)]);
    }

    #[test]
    fn other_guests_come_after_the_usual_ones() {
        let suite = SUITES
            .iter()
            .find(|suite| !suite.others.is_empty())
            .unwrap();
        let names = |kernels: &[Kernel]| -> Vec<String> {
            let order = order(suite, kernels).into_iter();
            order
                .map(|(kernel, other)| {
                    format!("{} {}", kernel.name(), other.map_or("", |o| o.name))
                })
                .collect()
        };
        let all = [Kernel::V5_10, Kernel::V6_1, Kernel::V6_12, Kernel::V7];
        assert_eq!(
            names(&all),
            ["6.12 ", "5.10 ", "6.1 ", "7 ", "5.10 v1", "6.12 v1"]
        );
        assert_eq!(names(&[Kernel::V6_1]), ["6.1 "]);
        // What one guest is told to leave out the other is told to do.
        let words = |all: &[&'static str]| -> Vec<&'static str> {
            let words = all.iter().copied();
            words.filter(|word| !word.starts_with("--")).collect()
        };
        for other in suite.others {
            assert_eq!(words(suite.arguments), words(other.arguments));
        }
    }

    #[test]
    fn a_silent_or_crashed_suite_has_failed() {
        let failed = |result: Result<i32>, checks: &[(&str, Verdict)]| {
            let mut run = Run::new("s", "host");
            run.checks = checks
                .iter()
                .map(|(n, v)| ((*n).to_owned(), v.clone()))
                .collect();
            run.end(result);
            run.checks.len() - checks.len()
        };
        let ok = ("a", Verdict::Ok);
        let bad = ("b", Verdict::NotOk("x".into()));
        assert_eq!(failed(Ok(0), &[]), 1);
        assert_eq!(failed(Ok(0), std::slice::from_ref(&ok)), 0);
        assert_eq!(failed(Ok(101), std::slice::from_ref(&ok)), 1);
        assert_eq!(failed(Ok(1), &[bad]), 0);
        assert_eq!(failed(Err(anyhow::anyhow!("hang")), &[ok]), 1);
    }
}
