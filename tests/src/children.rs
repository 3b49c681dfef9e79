//! Child processes that do not outlive the suite.

use std::ffi::OsStr;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

use crate::wait;

/// A started process; ended, by its id, when dropped.
#[derive(Debug)]
pub struct Running {
    name: String,
    child: Child,
    stderr: PathBuf,
}

impl Running {
    /// Starts `command` with its output in `DIR/NAME.out` and `DIR/NAME.err`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(name: &str, command: &mut Command, dir: &Path) -> Result<Self> {
        let stderr = dir.join(format!("{name}.err"));
        let child = command
            .stdin(Stdio::null())
            .stdout(File::create(dir.join(format!("{name}.out")))?)
            .stderr(File::create(&stderr)?)
            .spawn()
            .with_context(|| format!("starting {}", show(command)))?;
        Ok(Self {
            name: name.to_owned(),
            child,
            stderr,
        })
    }

    /// Waits until something accepts connections at `addr`.
    ///
    /// # Errors
    /// If the process ends or too much time passes first.
    pub fn wait_listening(&mut self, addr: SocketAddr) -> Result<()> {
        let what = format!("{} at {addr}", self.name);
        wait::until_true(&what, Duration::from_secs(90), || {
            self.must_live()?;
            Ok(TcpStream::connect_timeout(&addr, Duration::from_secs(5)).is_ok())
        })
    }

    /// Waits until the process has written `text` to its standard error.
    ///
    /// # Errors
    /// If the process ends or too much time passes first.
    pub fn wait_stderr(&mut self, text: &str) -> Result<()> {
        let what = format!("{} to say {text:?}", self.name);
        wait::until_true(&what, Duration::from_secs(60), || {
            let said = self.said().contains(text);
            if !said {
                self.must_live()?;
            }
            Ok(said)
        })
    }

    /// Fails if the process has ended.
    ///
    /// # Errors
    /// With its exit status and the last it said.
    pub fn must_live(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended with {status}: {}", self.name, self.last_words());
        }
        Ok(())
    }

    /// Waits for its own end, which must be a good one.
    ///
    /// # Errors
    /// If it fails, or has to be killed after `limit`.
    pub fn must_succeed(&mut self, limit: Duration) -> Result<()> {
        self.must_end_with(0, limit)
    }

    /// Waits for its own end, which must be this one.
    ///
    /// # Errors
    /// If it ends otherwise, or has to be killed after `limit`.
    pub fn must_end_with(&mut self, code: i32, limit: Duration) -> Result<()> {
        let what = format!("{} to end", self.name);
        let ended = wait::until(&what, limit, || Ok(self.child.try_wait()?));
        if ended.is_err() {
            self.kill();
        }
        let status = ended?;
        if status.code() != Some(code) {
            bail!("{} ended with {status}: {}", self.name, self.last_words());
        }
        Ok(())
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        // It may have ended by itself; whoever waits for it learns that.
        let _ = kill_process(self.pid(), signal);
    }

    /// Sends `signal` and waits for the end; kills the process after `limit`.
    ///
    /// # Errors
    /// If it had to be killed.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> Result<ExitStatus> {
        self.signal(signal);
        let what = format!("{} to end", self.name);
        let ended = wait::until(&what, limit, || Ok(self.child.try_wait()?));
        if ended.is_err() {
            self.kill();
        }
        ended
    }

    /// Its process id.
    ///
    /// # Panics
    /// Never: ids of processes are positive.
    #[must_use]
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// All it wrote to standard error.
    #[must_use]
    pub fn said(&self) -> String {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn last_words(&self) -> String {
        let said = self.said();
        let lines: Vec<&str> = said.lines().rev().take(4).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
    }

    fn kill(&mut self) {
        // Fails only if it has ended, which is what is wanted.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Running {
    /// Asks first: a killed nginx would leave its workers behind.
    fn drop(&mut self) {
        // What does not obey has been killed when this comes back.
        let _ = self.stop(Signal::TERM, Duration::from_secs(3));
    }
}

/// Runs `command` to its end within `limit`.
///
/// # Errors
/// If it cannot be started or takes too long. Its exit status is the caller's
/// to judge.
pub fn output(command: &mut Command, limit: Duration) -> Result<Output> {
    let text = show(command);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {text}"))?;
    let (mut out, mut err) = (child.stdout.take(), child.stderr.take());
    let readers = [
        std::thread::spawn(move || drain(out.as_mut())),
        std::thread::spawn(move || drain(err.as_mut())),
    ];
    let ended = wait::until(&text, limit, || Ok(child.try_wait()?));
    if ended.is_err() {
        let _ = child.kill();
        let _ = child.wait();
    }
    let [stdout, stderr] = readers.map(|reader| reader.join().unwrap_or_default());
    Ok(Output {
        status: ended?,
        stdout,
        stderr,
    })
}

/// [`output`] that must succeed; its standard output as text.
///
/// # Errors
/// As [`output`], and if the command fails.
pub fn run(command: &mut Command, limit: Duration) -> Result<String> {
    let done = output(command, limit)?;
    if !done.status.success() {
        bail!(
            "{} {}: {}",
            show(command),
            done.status,
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(String::from_utf8_lossy(&done.stdout).into_owned())
}

/// A command from words.
pub fn command<S: AsRef<OsStr>>(words: impl IntoIterator<Item = S>) -> Command {
    let mut words = words.into_iter();
    let mut command = words.next().map_or_else(|| Command::new(""), Command::new);
    command.args(words);
    command
}

/// The first of `names` that is a program on this machine.
///
/// # Errors
/// If none is.
pub fn program(names: &[&str]) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = path
        .split(':')
        .chain(["/usr/sbin", "/sbin", "/usr/local/bin", "/usr/bin"]);
    let folders: Vec<&str> = folders.collect();
    for name in names {
        for folder in &folders {
            let file = Path::new(folder).join(name);
            if file.is_file() {
                return Ok(file);
            }
        }
    }
    bail!("{} is missing on this machine", names.join(" or "))
}

fn drain(from: Option<&mut impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(from) = from {
        // A broken pipe ends the text early, and what was read still counts.
        let _ = from.read_to_end(&mut bytes);
    }
    bytes
}

fn show(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(OsStr::to_string_lossy)
        .collect::<Vec<_>>()
        .join(" ")
}
