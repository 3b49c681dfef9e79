//! containerd and runc, as nodes have them, and containers of theirs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::children::{Running, command, run};
use crate::wait;

/// What the kubelet's containers are in.
const NAMESPACE: &str = "k8s.io";
const LIMIT: Duration = Duration::from_secs(60);

/// No images are pulled or unpacked here, and no kubelet asks.
const CONFIG: &str = r#"
version = 2
root = "DIR/root"
state = "DIR/state"
disabled_plugins = [
    "io.containerd.grpc.v1.cri",
    "io.containerd.internal.v1.opt",
    "io.containerd.internal.v1.restart",
    "io.containerd.snapshotter.v1.aufs",
    "io.containerd.snapshotter.v1.btrfs",
    "io.containerd.snapshotter.v1.devmapper",
    "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "DIR/sock"
"#;

/// A guest's processors share one of the host, and Go programs spend much of it
/// on waiting for each other's threads.
const ONE_THREAD: [(&str, &str); 1] = [("GOMAXPROCS", "1")];

/// A running containerd.
#[derive(Debug)]
pub(super) struct Runtime {
    packages: PathBuf,
    dir: PathBuf,
    _daemon: Running,
}

/// What a container is given; its program comes from the applications' root.
#[derive(Clone, Debug)]
pub(super) struct Container<'a> {
    /// The runtime's id.
    pub(super) id: &'a str,
    /// Its path below the root cgroup.
    pub(super) cgroup: &'a str,
    /// Its pod's network, if that is not the node's.
    pub(super) network: Option<&'a str>,
    /// The program and its arguments.
    pub(super) words: &'a [&'a str],
}

impl Runtime {
    /// Starts it; `packages` is the folder that the packages are unpacked in,
    /// `programs` what the applications' root has in it.
    pub(super) fn start(packages: &Path, programs: &[&Path], out: &Path) -> Result<Self> {
        let dir = PathBuf::from("/run/nodespan-pods");
        let root = dir.join("applications");
        fs::create_dir_all(&root)?;
        for program in programs {
            let name = program.file_name().context("a program without a name")?;
            fs::copy(program, root.join(name))
                .with_context(|| format!("copying {}", program.display()))?;
        }
        let config = dir.join("config.toml");
        fs::write(&config, CONFIG.replace("DIR", &dir.display().to_string()))?;
        let mut start = in_packages(packages, "usr/bin/containerd");
        start.arg("--config").arg(config).envs(ONE_THREAD);
        let mut this = Self {
            _daemon: Running::start("containerd", &mut start, out)?,
            packages: packages.to_owned(),
            dir,
        };
        wait::until_true("containerd", LIMIT, || {
            this._daemon.must_live()?;
            Ok(this.dir.join("sock").exists() && this.ctr(&["version"]).is_ok())
        })?;
        Ok(this)
    }

    /// Its folder, in memory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The words that a `ctr` command begins with.
    pub(super) fn words(&self) -> [String; 5] {
        let path = |path: PathBuf| path.display().to_string();
        [
            path(self.packages.join("usr/bin/ctr")),
            "--address".to_owned(),
            path(self.dir.join("sock")),
            "--namespace".to_owned(),
            NAMESPACE.to_owned(),
        ]
    }

    fn ctr(&self, words: &[&str]) -> Result<String> {
        let mut ctr = command(self.words());
        run(ctr.args(words).envs(ONE_THREAD), LIMIT)
    }

    /// Starts a container; its program runs when this comes back.
    pub(super) fn run(&self, container: &Container<'_>) -> Result<()> {
        let mut start = command(self.words());
        start.envs(ONE_THREAD);
        start.args(["run", "--detach", "--null-io", "--rootfs", "--cgroup"]);
        start.arg(container.cgroup);
        match container.network {
            Some(name) => start.args(["--with-ns", &format!("network:/run/netns/{name}")]),
            None => start.arg("--net-host"),
        };
        start.arg(self.dir.join("applications")).arg(container.id);
        run(start.args(container.words), LIMIT).map(drop)
    }

    /// Kills a container; its cgroup goes with it.
    pub(super) fn kill(&self, id: &str) -> Result<()> {
        self.ctr(&["task", "rm", "--force", id]).map(drop)
    }

    /// The process that a container began with.
    pub(super) fn pid(&self, id: &str) -> Result<u32> {
        let listed = self.ctr(&["task", "ls"])?;
        let mut lines = listed.lines().map(str::split_whitespace);
        let mut of = lines.find_map(|mut words| (words.next() == Some(id)).then_some(words));
        let pid = of.as_mut().and_then(Iterator::next);
        let pid = pid.with_context(|| format!("no task {id}: {listed}"))?;
        Ok(pid.parse()?)
    }
}

/// A program of the packages, with their libraries.
pub(super) fn in_packages(packages: &Path, program: &str) -> Command {
    let folders = |names: &[&str]| {
        let paths = names.iter().map(|name| packages.join(name));
        let paths = paths.map(|path| path.display().to_string());
        paths.collect::<Vec<_>>().join(":")
    };
    let path = std::env::var("PATH").unwrap_or_default();
    let mut command = Command::new(packages.join(program));
    let own = folders(&["usr/bin", "usr/sbin"]);
    command.env("PATH", format!("{own}:{path}"));
    let libraries = folders(&["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"]);
    command.env("LD_LIBRARY_PATH", libraries);
    command
}
