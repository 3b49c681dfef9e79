//! Running other programs, with one line of progress each.

use std::{
    env,
    ffi::{OsStr, OsString},
    io::Read,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

/// How often a step that takes long says that it is alive.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Runs `work` under a line of progress with its duration.
///
/// # Errors
/// What `work` reports.
pub(crate) fn step<T>(name: &str, work: impl FnOnce() -> Result<T>) -> Result<T> {
    eprintln!("[xtask] {name} ...");
    let start = Instant::now();
    let (done, alive) = mpsc::sync_channel::<()>(0);
    let label = name.to_owned();
    let heart = thread::spawn(move || {
        while alive.recv_timeout(HEARTBEAT) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("[xtask] {label} ... {} s", start.elapsed().as_secs());
        }
    });
    let result = work();
    drop(done);
    let _ = heart.join();
    let seconds = start.elapsed().as_secs_f64();
    match &result {
        Ok(_) => eprintln!("[xtask] {name}: done in {seconds:.1} s"),
        Err(_) => eprintln!("[xtask] {name}: failed after {seconds:.1} s"),
    }
    result
}

/// Runs a command whose output matters only if it fails.
///
/// # Errors
/// If it cannot be started or fails; the message ends with its last lines.
pub(crate) fn quiet(command: &mut Command) -> Result<()> {
    capture(command).map(drop)
}

/// Runs a command and returns its standard output.
///
/// # Errors
/// If it cannot be started or fails; the message ends with its last lines.
pub(crate) fn capture(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("starting {}", show(command)))?;
    if !output.status.success() {
        let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.push_str(&String::from_utf8_lossy(&output.stderr));
        bail!(
            "{} ended with {}:\n{}",
            show(command),
            output.status,
            last_lines(&text, 30)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a command with this terminal's output.
///
/// # Errors
/// If it cannot be started or fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("starting {}", show(command)))?;
    if !status.success() {
        bail!("{} ended with {status}", show(command));
    }
    Ok(())
}

/// As [`capture`], but gives up after `limit`. Output beyond a pipe's
/// capacity is not expected of such commands.
///
/// # Errors
/// Also when the limit is reached; the command is killed then.
pub(crate) fn capture_within(limit: Duration, command: &mut Command) -> Result<String> {
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("starting {}", show(command)))?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!(
                "{} did not finish within {} s",
                show(command),
                limit.as_secs()
            );
        }
        thread::sleep(Duration::from_millis(50));
    };
    let mut text = String::new();
    if let Some(mut out) = child.stdout.take() {
        out.read_to_string(&mut text)?;
    }
    if !status.success() {
        bail!("{} ended with {status}", show(command));
    }
    Ok(text)
}

/// A command run as root: as it is, or through sudo.
pub(crate) fn root(program: &str) -> Command {
    if is_root() {
        Command::new(program)
    } else {
        let mut command = Command::new("sudo");
        command.arg("--").arg(program);
        command
    }
}

/// Whether this process is root.
pub(crate) fn is_root() -> bool {
    // `/proc/self` belongs to the effective user.
    std::fs::metadata("/proc/self")
        .is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0)
}

/// Finds a program on PATH and where Debian puts those of root.
pub(crate) fn which(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|candidate| candidate.is_file())
}

/// PATH with `first` before everything else.
pub(crate) fn path_with(first: &Path) -> Result<OsString> {
    let path = env::var_os("PATH").unwrap_or_default();
    Ok(env::join_paths(
        [first.to_owned()]
            .into_iter()
            .chain(env::split_paths(&path)),
    )?)
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

fn show(command: &Command) -> String {
    let words: Vec<_> = [command.get_program()]
        .into_iter()
        .chain(command.get_args())
        .map(OsStr::to_string_lossy)
        .collect();
    words.join(" ")
}
