//! Programs in cgroups of their own, as a service manager would put them, and
//! the processor time each has used.

use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fs, io,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{daemon::Daemon, sh};

const SLICE: &str = "/sys/fs/cgroup/system.slice";

/// A unit's cgroup.
#[derive(Clone, Debug)]
pub(super) struct Unit {
    name: &'static str,
    dir: PathBuf,
    log: PathBuf,
}

impl Unit {
    /// Makes `NAME.service`; what runs in it logs to `NAME.log` in `out`.
    ///
    /// # Errors
    /// If there is no cgroup v2.
    pub(super) fn new(name: &'static str, out: &Path) -> Result<Self> {
        let dir = Path::new(SLICE).join(format!("{name}.service"));
        fs::create_dir_all(&dir).with_context(|| format!("making the cgroup {}", dir.display()))?;
        Ok(Self {
            name,
            dir,
            log: out.join(format!("{name}.log")),
        })
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Starts a program in it that runs until it is dropped or told to stop.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(super) fn start(&self, program: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<Daemon> {
        let mut enter = self.enter();
        enter.arg("setpriv");
        Daemon::start(enter, program, arguments, &self.log)
    }

    /// Runs a program in it to its end.
    ///
    /// # Errors
    /// If it cannot be started or fails.
    pub(super) fn run(&self, program: &Path, arguments: &[impl AsRef<OsStr>]) -> Result<String> {
        sh::capture(self.enter().arg(program).args(arguments))
    }

    /// Processor time used by all that has ever run in it, in nanoseconds.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(super) fn used(&self) -> Result<u64> {
        let text = fs::read_to_string(self.dir.join("cpu.stat"))?;
        let micros = text
            .lines()
            .find_map(|line| line.strip_prefix("usage_usec "))
            .and_then(|number| number.parse::<u64>().ok());
        Ok(micros.context("no usage_usec in cpu.stat")? * 1000)
    }

    /// The processes in it.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(super) fn processes(&self) -> Result<Vec<u32>> {
        let text = fs::read_to_string(self.dir.join("cgroup.procs"))?;
        Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
    }

    /// Asks what runs in it to end, and waits until it has.
    ///
    /// # Errors
    /// If it does not within a minute.
    pub(super) fn stop(&self, daemon: &mut Daemon) -> Result<()> {
        for process in self.processes()? {
            Command::new("sh")
                .args(["-c", "kill -TERM \"$0\"", &process.to_string()])
                .stdin(Stdio::null())
                .status()?;
        }
        wait_until(&format!("{} to end", self.name), || daemon.has_ended())
    }

    /// What it has printed.
    pub(super) fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A shell that moves itself here and becomes what its arguments say.
    fn enter(&self) -> Command {
        let mut shell = Command::new("sh");
        shell
            .args(["-c", "echo $$ >\"$0/cgroup.procs\" && exec \"$@\""])
            .arg(&self.dir);
        shell
    }
}

/// Waits until `ready` holds, for a minute at most.
///
/// # Errors
/// What `ready` reports, and if it never holds.
pub(super) fn wait_until(what: &str, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
    let start = Instant::now();
    while !ready()? {
        if start.elapsed() > Duration::from_mins(1) {
            bail!("waited a minute for {what}");
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// A field of `/proc/PID/status`, in KiB.
///
/// # Errors
/// If there is no such process or field.
pub(super) fn memory(process: u32, field: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{process}/status"))?;
    text.lines()
        .find_map(|line| {
            let value = line.strip_prefix(field)?.strip_prefix(':')?;
            value.trim().strip_suffix(" kB")?.parse().ok()
        })
        .with_context(|| format!("no {field} of process {process}"))
}

/// Processor time in nanoseconds of each thread of a process, by name.
///
/// # Errors
/// If there is no such process, or the kernel keeps no such account.
pub(super) fn threads(process: u32) -> Result<BTreeMap<String, u64>> {
    let mut threads = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{process}/task"))? {
        let dir = entry?.path();
        let name = fs::read_to_string(dir.join("comm"))?.trim().to_owned();
        let account = fs::read_to_string(dir.join("schedstat"))?;
        let spent: u64 = account
            .split(' ')
            .next()
            .and_then(|spent| spent.parse().ok())
            .with_context(|| format!("the account of thread {name} is {account}"))?;
        *threads.entry(name).or_default() += spent;
    }
    Ok(threads)
}

/// The kernel's release.
///
/// # Errors
/// If the kernel does not tell.
pub(super) fn release() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/osrelease")?
        .trim()
        .to_owned())
}
