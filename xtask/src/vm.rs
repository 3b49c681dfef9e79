//! Guests: any command on a real kernel, with this machine's files.
//!
//! The host's root is the guest's, read-only under a scratch layer in memory,
//! so that there is no image to build: what is installed here runs there.

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{
    cache::Cache,
    daemon::Daemon,
    interrupt,
    kernel::Kernel,
    scratch::ScratchDir,
    setup::{self, Part, kernels, qemu as tools},
    sh,
};

mod cli;
mod console;
mod cpio;
mod initrd;
mod modules;
mod ports;
mod qemu;

pub(crate) use cli::Vm;

/// Boots tried when a kernel dies before the command's first line.
const BOOTS: u32 = 3;

/// Time to boot, which takes 3 s on an idle machine; a kernel that takes this
/// long has hung.
const BOOT: Duration = Duration::from_secs(180);

/// A machine to run one command on.
#[derive(Clone, Debug)]
pub(crate) struct Guest {
    kernel: Kernel,
    memory_mib: u32,
    processors: u32,
    icount: Option<Idle>,
    net: bool,
    shares: Vec<PathBuf>,
    env: Vec<(OsString, OsString)>,
    directory: PathBuf,
    timeout: Duration,
    console: Option<PathBuf>,
    output: Output,
}

/// What time is worth in a guest that counts instructions while it has none
/// to execute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Idle {
    /// Nothing: it is the next timer's time at once. What waits for a file of the
    /// host waits a thousand times as long as the host took for it, so there
    /// may be no limit to how long something takes.
    Skipped,
    /// What it is outside.
    Waited,
}

/// Which of the command's two streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Out,
    /// Standard error.
    Err,
}

/// Where the command's output goes, as it comes.
#[derive(Clone)]
pub(crate) enum Output {
    /// To this process's own streams.
    Inherit,
    /// To a function, in pieces of any length.
    Sink(Arc<Sink>),
}

/// Takes the output as it comes.
pub(crate) type Sink = dyn Fn(Stream, &[u8]) + Send + Sync;

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inherit => "Inherit",
            Self::Sink(_) => "Sink",
        })
    }
}

/// Why there is no exit status.
#[derive(Debug)]
pub(crate) enum NoExit {
    /// The time allowed has passed.
    TimedOut {
        /// The time allowed.
        after: Duration,
        /// The last lines of the kernel's console.
        console: String,
    },
    /// The guest died or hangs.
    Died {
        /// What was seen.
        why: String,
        /// Whether the command had begun.
        begun: bool,
        /// The last lines of the kernel's console.
        console: String,
    },
    /// This process was told to end.
    Interrupted,
}

impl fmt::Display for NoExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (what, console) = match self {
            Self::TimedOut { after, console } => (
                format!("the command did not finish within {} s", after.as_secs()),
                console,
            ),
            Self::Died {
                why,
                begun,
                console,
            } => {
                let when = if *begun {
                    "while the command ran"
                } else {
                    "before the command"
                };
                (format!("the guest ended {when}: {why}"), console)
            }
            Self::Interrupted => return f.write_str("interrupted"),
        };
        write!(f, "{what}")?;
        if console.is_empty() {
            write!(f, " (the kernel's console is empty)")
        } else {
            write!(
                f,
                "\n--- last lines of the kernel's console ---\n{console}\n---"
            )
        }
    }
}

impl std::error::Error for NoExit {}

impl Guest {
    /// A guest of this kernel: 3 GiB, two processors, no network.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            memory_mib: 3 * 1024,
            processors: 2,
            icount: None,
            net: false,
            shares: Vec::new(),
            env: Vec::new(),
            directory: std::env::current_dir().unwrap_or_else(|_| "/".into()),
            timeout: Duration::from_secs(30 * 60),
            console: None,
            output: Output::Inherit,
        }
    }

    /// Memory in MiB.
    #[must_use]
    pub(crate) const fn memory_mib(mut self, mib: u32) -> Self {
        self.memory_mib = mib;
        self
    }

    /// Number of processors; all run on one thread of the host.
    #[must_use]
    pub(crate) const fn processors_set(mut self, count: u32) -> Self {
        self.processors = count;
        self
    }

    /// One nanosecond per executed instruction, on one processor.
    #[must_use]
    pub(crate) const fn with_icount(mut self, idle: Idle) -> Self {
        self.icount = Some(idle);
        self
    }

    /// A network in which 10.0.2.2 is the host's loopback.
    #[must_use]
    pub(crate) const fn with_net(mut self) -> Self {
        self.net = true;
        self
    }

    /// Mounts a folder of the host read-write at the same path.
    #[must_use]
    pub(crate) fn share(mut self, dir: impl Into<PathBuf>) -> Self {
        self.shares.push(dir.into());
        self
    }

    /// Sets a variable of the command.
    #[must_use]
    pub(crate) fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Wall-clock time after which the guest is ended; half an hour without it.
    #[must_use]
    pub(crate) const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Keeps the kernel's console in this file.
    #[must_use]
    pub(crate) fn console(mut self, file: impl Into<PathBuf>) -> Self {
        self.console = Some(file.into());
        self
    }

    /// Where the command's output goes.
    #[must_use]
    pub(crate) fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Runs a command as root and returns its exit status (128 + the signal's
    /// number if it was killed, as shells have it).
    ///
    /// # Errors
    /// [`NoExit`] if the guest ended otherwise; anything else is a failure of
    /// the set-up on this side.
    pub(crate) fn run(&self, command: &[impl Into<OsString> + Clone]) -> Result<i32> {
        let command: Vec<OsString> = command.iter().cloned().map(Into::into).collect();
        if command.is_empty() {
            bail!("no command for the guest");
        }
        setup::ensure(&[Part::Qemu, Part::Kernels(vec![self.kernel])])?;
        let _guard = interrupt::Guard::new()?;
        let mut boot = 1;
        loop {
            let error = match self.boot(&command) {
                Ok(code) => return Ok(code),
                Err(error) => error,
            };
            match error.downcast_ref() {
                Some(NoExit::Died {
                    why, begun: false, ..
                }) if boot < BOOTS => {
                    eprintln!(
                        "[xtask] kernel {} died while booting ({why}); again",
                        self.kernel
                    );
                    boot += 1;
                }
                _ => return Err(error),
            }
        }
    }

    const fn processors(&self) -> u32 {
        if self.icount.is_some() {
            1
        } else {
            self.processors
        }
    }

    fn boot(&self, command: &[OsString]) -> Result<i32> {
        if interrupt::requested() {
            return Err(NoExit::Interrupted.into());
        }
        let cache = Cache::open()?;
        let tools = tools::find()?;
        let tree = kernels::find(&cache, self.kernel)?
            .with_context(|| format!("kernel {} is not set up", self.kernel))?;
        let dir = ScratchDir::new()?;
        std::fs::write(
            dir.path().join("initrd"),
            initrd::build(self, &tree, &tools, command)?,
        )?;

        let sources = std::iter::once((Path::new("/"), "always"))
            .chain(self.shares.iter().map(|share| (share.as_path(), "auto")));
        let mut servers = Vec::new();
        for (tag, (source, caching)) in qemu::tags(self).iter().zip(sources) {
            let socket = dir.path().join(format!("{tag}.sock"));
            let arguments = qemu::virtiofsd_arguments(&socket, source, caching);
            let server = Daemon::start(
                sh::root("setpriv"),
                &tools.virtiofsd,
                &arguments,
                &dir.path().join("virtiofsd.log"),
            )?;
            servers.push((socket, server));
        }
        for (socket, server) in &mut servers {
            server.wait_until(|| Ok(socket.exists()))?;
        }

        let ports = ports::Ports::listen(dir.path())?;
        let arguments = qemu::arguments(self, &tree, dir.path());
        let mut emulator = Daemon::start(
            sh::root("setpriv"),
            &tools.emulator,
            &arguments,
            &dir.path().join("qemu.log"),
        )?;
        let result = self.attend(dir.path(), ports, &mut emulator);
        if let Some(keep) = &self.console {
            std::fs::copy(dir.path().join("console"), keep)
                .with_context(|| format!("keeping the console in {}", keep.display()))?;
        }
        result
    }

    /// Waits for the end of the command, of the guest, or of patience.
    fn attend(&self, dir: &Path, ports: ports::Ports, emulator: &mut Daemon) -> Result<i32> {
        let start = Instant::now();
        let mut console = console::Console::new(&dir.join("console"));
        let mut attached = ports.attach(&self.output);
        let code = loop {
            attached.wait(Duration::from_millis(100))?;
            if let Some(code) = attached.exit_code() {
                break code;
            }
            if interrupt::requested() {
                return Err(NoExit::Interrupted.into());
            }
            let symptom = console.check();
            // Asked before the ports are read a last time: a guest that has
            // just switched itself off has already reported.
            let ended = emulator.has_ended()?;
            if ended {
                attached.wait(Duration::from_millis(300))?;
                if let Some(code) = attached.exit_code() {
                    break code;
                }
            }
            let why = match symptom {
                Some(symptom) => symptom,
                None if ended => match (console.symptom(), emulator.log_tail()) {
                    (Some(symptom), _) => symptom,
                    (None, Some(log)) => format!("QEMU ended: {log}"),
                    (None, None) => "it switched itself off".into(),
                },
                None if !attached.has_begun() && start.elapsed() > BOOT => {
                    format!("it did not boot within {} s", BOOT.as_secs())
                }
                None if start.elapsed() > self.timeout => {
                    let console = console.tail();
                    return Err(NoExit::TimedOut {
                        after: self.timeout,
                        console,
                    }
                    .into());
                }
                None => continue,
            };
            let begun = attached.has_begun();
            return Err(NoExit::Died {
                why,
                begun,
                console: console.tail(),
            }
            .into());
        };
        // The report comes last: everything the command wrote is in the
        // sockets. With QEMU gone they end, and so do their readers.
        emulator.kill();
        attached.finish();
        Ok(code)
    }
}
