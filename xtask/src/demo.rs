//! `cargo xtask demo`: a small mesh, the agent, a real Zipkin.
//!
//! Zipkin runs on this machine. The mesh and the agent are [`stage`], which
//! runs where the probes can: here, or in a guest.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader, IsTerminal},
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{
    build, interrupt,
    kernel::{Kernel, Kernels},
    servers::{Zipkin, free_port},
    setup::{self, Part},
    sh,
    vm::{Guest, NoExit, Output, Stream},
    workspace::Workspace,
};

mod mesh;
mod stage;
mod traces;
mod tree;

pub(crate) use stage::Stage;

use stage::Done;
use traces::Trace;
use tree::Style;

/// Zipkin's own port.
const PORT: u16 = 9411;

/// Where the demonstration runs unless it can run here.
const KERNEL: Kernel = Kernel::V6_12;

/// For the stage in a guest.
const TIMEOUT: Duration = Duration::from_secs(10 * 60);

/// The same, if it is to stay.
const STAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Show traces of a small mesh in a real Zipkin.
#[derive(Args, Debug)]
pub(crate) struct Demo {
    /// Go on until Ctrl-C, so that the traces can be seen in a browser.
    #[arg(long)]
    stay: bool,
    /// Run in a guest of this kernel (5.10, 6.1, 6.12, 7), even if this
    /// machine's own could do it.
    #[arg(long)]
    kernel: Option<Kernels>,
}

impl Demo {
    /// 0 if every request has become a whole trace.
    ///
    /// # Errors
    /// If a part of it does not run.
    pub(crate) fn run(&self) -> Result<i32> {
        let _guard = interrupt::Guard::new()?;
        let kernel = match &self.kernel {
            None => None,
            Some(Kernels(list)) => match list.as_slice() {
                [one] => Some(*one),
                _ => bail!("the demonstration runs on one kernel"),
            },
        };
        let workspace = Workspace::load()?;
        setup::ensure(&[Part::Demo])?;
        say("building the agent");
        let nodespan = build::agent(&workspace, true)?;
        let place = Place::choose(kernel, &nodespan);
        if let Place::Guest(kernel) = place {
            setup::ensure(&[Part::Qemu, Part::Kernels(vec![kernel])])?;
        }
        let zipkin = start_zipkin()?;
        let show = Show {
            zipkin: zipkin.url(),
            stay: self.stay,
            style: Style::of_terminal(std::io::stdout().is_terminal()),
            partial: Mutex::default(),
            outcome: Mutex::default(),
        };
        let show = Arc::new(show);
        let command = StageCommand {
            xtask: env::current_exe().context("where is this program?")?,
            nodespan,
            scenarios: workspace.root.join("tests/scenarios/mesh"),
            stay: self.stay,
        };
        let code = match place {
            Place::Here => command.here(&show)?,
            Place::Guest(kernel) => command.in_guest(kernel, &zipkin, &show)?,
        };
        if interrupt::requested() {
            say("stopped; nothing is left behind");
            // Ctrl-C is how a demonstration that stays is meant to end.
            return if self.stay {
                Ok(0)
            } else {
                Err(NoExit::Interrupted.into())
            };
        }
        let outcome = show.outcome.lock().unwrap_or_else(PoisonError::into_inner);
        match &*outcome {
            None if code == 0 => bail!("the stage ended without a word"),
            None => Ok(code),
            Some(Ok(complete)) => {
                say("stopped; nothing is left behind");
                Ok(i32::from(!complete))
            }
            Some(Err(error)) => bail!("{error}"),
        }
    }
}

/// One line about a step.
fn say(line: &str) {
    eprintln!("[demo] {line}");
}

/// Where mesh and agent run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Here,
    Guest(Kernel),
}

impl Place {
    fn choose(kernel: Option<Kernel>, nodespan: &Path) -> Self {
        if let Some(kernel) = kernel {
            say(&format!("in a guest with kernel {kernel}, as asked for"));
            return Self::Guest(kernel);
        }
        let Some(program) = nodespan.to_str() else {
            return Self::Guest(KERNEL);
        };
        match sh::capture(sh::root(program).arg("probe")) {
            Ok(_) => {
                say("this machine's kernel can run the probes: everything runs here");
                Self::Here
            }
            Err(error) => {
                say(&format!(
                    "the probes do not run here: {}",
                    reason(&format!("{error:#}"))
                ));
                say(&format!(
                    "mesh and agent run in a guest with kernel {KERNEL}, Zipkin here"
                ));
                Self::Guest(KERNEL)
            }
        }
    }
}

/// What `nodespan probe` said, without the details.
fn reason(text: &str) -> &str {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("nodespan: "));
    let line = line.unwrap_or("they cannot be asked");
    line.split([':', '(']).next().unwrap_or(line).trim_end()
}

fn start_zipkin() -> Result<Zipkin> {
    let free = |host: Ipv4Addr| TcpListener::bind((host, PORT)).is_ok();
    let port = if free(Ipv4Addr::UNSPECIFIED) && free(Ipv4Addr::LOCALHOST) {
        PORT
    } else {
        let other = free_port()?;
        say(&format!("port {PORT} is taken: Zipkin listens at {other}"));
        other
    };
    say("starting Zipkin");
    Zipkin::start(port, None)
}

/// How the stage is started.
struct StageCommand {
    xtask: PathBuf,
    nodespan: PathBuf,
    scenarios: PathBuf,
    stay: bool,
}

impl StageCommand {
    fn words(&self, zipkin: &str, more: &[&str]) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec![
            "demo-stage".into(),
            "--nodespan".into(),
            self.nodespan.clone().into(),
            "--scenarios".into(),
            self.scenarios.clone().into(),
            "--zipkin".into(),
            zipkin.into(),
        ];
        if self.stay {
            words.push("--stay".into());
        }
        words.extend(more.iter().map(OsString::from));
        words
    }

    fn in_guest(&self, kernel: Kernel, zipkin: &Zipkin, show: &Arc<Show>) -> Result<i32> {
        say(&format!("starting the guest (kernel {kernel})"));
        let mut command = vec![self.xtask.clone().into_os_string()];
        command.extend(self.words(&zipkin.url_from_guest(), &[]));
        let sink = {
            let show = Arc::clone(show);
            move |stream: Stream, bytes: &[u8]| show.bytes(stream, bytes)
        };
        let result = Guest::new(kernel)
            .with_net()
            .timeout(if self.stay { STAY } else { TIMEOUT })
            .output(Output::Sink(Arc::new(sink)))
            .run(&command);
        match result {
            Err(_) if interrupt::requested() => Ok(130),
            result => result,
        }
    }

    /// As root. The stage ends when its standard input does, so that it does
    /// so whatever becomes of this process.
    fn here(&self, show: &Arc<Show>) -> Result<i32> {
        let program = self
            .xtask
            .to_str()
            .context("the target folder's name is not UTF-8")?;
        let mut child = sh::root(program)
            .args(self.words(&show.zipkin, &["--end-with-stdin"]))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the stage")?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("the stage has no output")?;
        let ended = AtomicBool::new(false);
        thread::scope(|scope| {
            let ended = &ended;
            scope.spawn(move || {
                while !interrupt::requested() && !ended.load(Ordering::Relaxed) {
                    thread::sleep(Duration::from_millis(50));
                }
                drop(stdin);
            });
            for line in BufReader::new(stdout).split(b'\n') {
                let Ok(line) = line else { break };
                show.line(&String::from_utf8_lossy(&line));
            }
            let status = child.wait();
            ended.store(true, Ordering::Relaxed);
            Ok(status?.code().unwrap_or(1))
        })
    }
}

/// Hears the stage and shows the traces when it has done its work.
struct Show {
    zipkin: String,
    stay: bool,
    style: Style,
    /// What of a line has come.
    partial: Mutex<Vec<u8>>,
    /// Whether everything was seen, once that is known.
    outcome: Mutex<Option<Result<bool, String>>>,
}

impl Show {
    fn bytes(&self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Err {
            eprint!("{}", String::from_utf8_lossy(bytes));
            return;
        }
        let mut partial = self.partial.lock().unwrap_or_else(PoisonError::into_inner);
        partial.extend_from_slice(bytes);
        while let Some(end) = partial.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = partial.drain(..=end).collect();
            self.line(&String::from_utf8_lossy(&line[..end]));
        }
    }

    fn line(&self, line: &str) {
        let Some(done) = Done::parse(line) else {
            eprintln!("{line}");
            return;
        };
        let outcome = self.traces(&done).map_err(|error| format!("{error:#}"));
        if let (true, Err(error)) = (self.stay, &outcome) {
            say(error);
        }
        *self.outcome.lock().unwrap_or_else(PoisonError::into_inner) = Some(outcome);
    }

    /// Shows some traces and the summary; whether every request is there.
    fn traces(&self, done: &Done) -> Result<bool> {
        say(&format!("fetching the traces from {}", self.zipkin));
        let traces = self.settled(done)?;
        for (what, trace) in traces::handful(&traces) {
            println!("\n{}", tree::render(trace, what, self.style));
        }
        let spans: usize = traces.iter().map(|trace| trace.spans.len()).sum();
        let errors = traces.iter().filter(|trace| trace.has_error()).count();
        let whole = traces.iter().filter(|trace| trace.is_whole()).count();
        println!(
            "\n{} requests, {} traces ({whole} of them whole trees), {spans} spans, {errors} traces with errors",
            done.requests.len(),
            traces.len()
        );
        println!("the agent's ledger: {}", done.ledger);
        if self.stay {
            println!(
                "\nSee them at {}/zipkin/ ; more arrive until Ctrl-C.",
                self.zipkin
            );
        } else {
            println!("\nTo see them in a browser: cargo xtask demo --stay");
        }
        let missing = done.requests.len().saturating_sub(whole);
        if missing > 0 {
            say(&format!("{missing} requests did not become a whole tree"));
        }
        Ok(missing == 0)
    }

    /// The traces, once no more spans arrive.
    fn settled(&self, done: &Done) -> Result<Vec<Trace>> {
        let deadline = Instant::now() + Duration::from_secs(15);
        let mut before = 0;
        loop {
            let traces = self.fetch(done)?;
            let spans = traces.iter().map(|trace| trace.spans.len()).sum();
            let complete = traces.iter().filter(|t| t.is_whole()).count() >= done.requests.len();
            if (complete && spans == before) || Instant::now() > deadline {
                return Ok(traces);
            }
            before = spans;
            thread::sleep(Duration::from_millis(500));
        }
    }

    /// The traces of the load, and no others.
    fn fetch(&self, done: &Done) -> Result<Vec<Trace>> {
        // From an hour ago to an hour ahead, for clocks that differ.
        let hour = 60 * 60 * 1000;
        let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        let url = format!(
            "{}/api/v2/traces?limit=10000&endTs={}&lookback={}",
            self.zipkin,
            now + hour,
            2 * hour
        );
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail", "--max-time", "20", &url]);
        let mut traces = traces::parse(&sh::capture(&mut curl)?)?;
        traces.retain(|trace| done.requests.contains(&trace.id));
        Ok(traces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_is_one_short_line() {
        let said = "sudo -- nodespan probe ended with exit status: 3:\n\
                    nodespan: this kernel has no BTF at /sys (CONFIG): no\nmore";
        assert_eq!(reason(said), "this kernel has no BTF at /sys");
        assert_eq!(reason("sudo: no"), "they cannot be asked");
    }
}
