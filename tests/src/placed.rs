//! Processes in cgroups of their own, as systemd and container runtimes make
//! them.

use std::ffi::OsStr;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::children::{Running, command};
use crate::targets::Places;
use crate::wait;

/// Where cgroup v2 is mounted.
pub const CGROUPS: &str = "/sys/fs/cgroup";
/// A container's id.
pub const CONTAINER: &str = "5eed0123456789abcdef0123456789abcdef0123456789abcdef0123456789ab";

/// A cgroup, removed with its empty parents when dropped.
#[derive(Debug)]
pub struct Cgroup {
    root: PathBuf,
    path: PathBuf,
}

impl Cgroup {
    /// Makes `name` below the mounted hierarchy `root`; `ID` in it stands for
    /// [`CONTAINER`].
    ///
    /// # Errors
    /// If it cannot be made.
    pub fn make(root: impl Into<PathBuf>, name: &str) -> Result<Self> {
        let root = root.into();
        let path = root.join(name.replace("ID", CONTAINER));
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        Ok(Self { root, path })
    }

    /// The file that takes the ids of processes.
    #[must_use]
    pub fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    /// A command that becomes, in this cgroup, the words that are its arguments.
    #[must_use]
    pub fn start(&self) -> Command {
        let mut start = command(["sh", "-c", "echo $$ > \"$1\" && shift && exec \"$@\"", "sh"]);
        start.arg(self.procs());
        start
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // Processes that were told to end may take a moment. A cgroup that
        // still is not empty stays, as do parents that hold others.
        let empty = || Ok(fs::remove_dir(&self.path).is_ok() || !self.path.exists());
        if wait::until_true("the cgroup to be empty", Duration::from_secs(3), empty).is_ok() {
            let parents = self.path.ancestors().skip(1);
            for parent in parents.take_while(|parent| *parent != self.root) {
                if fs::remove_dir(parent).is_err() {
                    break;
                }
            }
        }
    }
}

/// A process that was started in a cgroup of its own.
#[derive(Debug)]
pub struct Placed {
    /// Ends before its cgroup is removed.
    process: Running,
    /// Where it is.
    pub cgroup: Cgroup,
}

impl Placed {
    /// Starts `words` in `cgroup`.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start<S: AsRef<OsStr>>(
        name: &str,
        cgroup: Cgroup,
        words: impl IntoIterator<Item = S>,
        out: &Path,
    ) -> Result<Self> {
        let process = Running::start(name, cgroup.start().args(words), out)?;
        Ok(Self { process, cgroup })
    }

    /// Waits until it accepts connections there.
    ///
    /// # Errors
    /// If it ends instead or takes too long.
    pub fn wait_listening(&mut self, addr: SocketAddr) -> Result<()> {
        self.process.wait_listening(addr)
    }
}

impl Drop for Placed {
    fn drop(&mut self) {
        // What does not end is killed, and a cgroup that is not empty stays.
        let _ = self.process.stop(Signal::TERM, Duration::from_secs(3));
    }
}

/// A Go server in a cgroup of its own.
#[derive(Debug)]
pub struct GoServer {
    /// Its requests' tag.
    pub tag: &'static str,
    /// Where it listens.
    pub addr: SocketAddr,
    _process: Placed,
}

impl GoServer {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// If it cannot be started.
    pub fn start(tag: &'static str, cgroup: Cgroup, port: u16, places: &Places) -> Result<Self> {
        let name = format!("placed-{tag}-{port}");
        let log = places.out.join(format!("{name}.log"));
        let port_word = port.to_string();
        let program = places.programs.join("goserver");
        let words: [&OsStr; 4] = [
            program.as_os_str(),
            "serve".as_ref(),
            port_word.as_ref(),
            log.as_os_str(),
        ];
        let mut process = Placed::start(&name, cgroup, words, &places.out)?;
        let addr = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        process.wait_listening(addr)?;
        Ok(Self {
            tag,
            addr,
            _process: process,
        })
    }
}
