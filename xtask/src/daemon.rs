//! Programs that run beside this one and never longer.

use std::{
    ffi::OsStr,
    fs::File,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::sh;

/// Time for one to begin its service.
const START: Duration = Duration::from_secs(60);

/// A child that is killed when this is dropped, and by the kernel when the
/// thread that started it ends.
#[derive(Debug)]
pub(crate) struct Daemon {
    name: String,
    child: Child,
    log: PathBuf,
    through_sudo: bool,
}

impl Daemon {
    /// Starts `program` by way of `setpriv`, which is the command `setpriv`
    /// itself or `sudo setpriv`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub(crate) fn start(
        mut setpriv: Command,
        program: &Path,
        arguments: &[impl AsRef<OsStr>],
        log: &Path,
    ) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log)?;
        // setpriv has the kernel end the child with this thread, even if this
        // process is killed; it needs no unsafe code here. A group of its own
        // keeps a Ctrl-C from reaching the child before this process.
        let through_sudo = setpriv.get_program() == "sudo";
        let child = setpriv
            .args(["--pdeathsig", "KILL"])
            .arg(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;
        let name = program.display().to_string();
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
            through_sudo,
        })
    }

    /// Waits until `ready` holds.
    ///
    /// # Errors
    /// If the program ends before that, or takes more than a minute.
    pub(crate) fn wait_until(&mut self, mut ready: impl FnMut() -> Result<bool>) -> Result<()> {
        let deadline = Instant::now() + START;
        while !ready()? {
            if self.has_ended()? || Instant::now() > deadline {
                let log = self.log_tail().unwrap_or_else(|| "it said nothing".into());
                bail!("{} did not start: {log}", self.name);
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Its process id: setpriv becomes the program. Of no use through sudo.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended by itself.
    ///
    /// # Errors
    /// If the kernel does not tell.
    pub(crate) fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// The last lines it printed, if any.
    pub(crate) fn log_tail(&self) -> Option<String> {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let tail = sh::last_lines(&String::from_utf8_lossy(&text), 10);
        Some(tail).filter(|tail| !tail.is_empty())
    }

    /// Ends it now.
    pub(crate) fn kill(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            if self.through_sudo {
                // sudo passes SIGTERM on; SIGKILL would end only sudo.
                let pid = self.child.id().to_string();
                let _ = Command::new("sudo")
                    .args(["--", "kill", "-TERM", &pid])
                    .status();
            } else {
                let _ = self.child.kill();
            }
            let _ = self.child.wait();
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.kill();
    }
}
