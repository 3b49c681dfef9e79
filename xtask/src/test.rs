//! `cargo xtask test`: everything that must hold, and one line that says how
//! much of it does.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::{self, ScopedJoinHandle},
};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Args;

use crate::{
    build, dist,
    kernel::{Kernel, Kernels},
    servers::{Jaeger, Kubernetes, Zipkin},
    setup::{self, Part},
    sh,
    workspace::Workspace,
};

mod image;
mod packed;
mod suite;
mod systemd;
mod tally;
mod times;

use suite::{Place, SUITES, Site, Suite};
use tally::Tally;
use times::Times;

/// Run every test, with its set-up; the last line is the count.
#[derive(Args, Debug)]
pub(crate) struct Test {
    /// Kernels for the guests' suites: 5.10, 6.1, 6.12, 7, several with commas, or all.
    #[arg(long, default_value = "all")]
    kernel: Kernels,
    /// Only what needs neither guests nor the BPF toolchain.
    #[arg(long)]
    fast: bool,
    /// Only the suites on this machine and in guests.
    #[arg(long, conflicts_with = "fast")]
    suites_only: bool,
}

impl Test {
    /// 0 if everything ran and passed.
    ///
    /// # Errors
    /// If the tests could not be run at all.
    pub(crate) fn run(&self) -> Result<i32> {
        let workspace = Workspace::load()?;
        warn_of_a_full_disk(&workspace);
        let (mut tally, mut times) = (Tally::default(), Times::begin());
        if !self.suites_only {
            bring_components()?;
        }
        thread::scope(|scope| -> Result<()> {
            // Compilers use one processor much of the time, and so do tests.
            let built =
                (!self.fast).then(|| scope.spawn(|| in_background(|| Built::make(&workspace))));
            if !self.suites_only {
                lint(&workspace, &mut tally);
                times.end("lint");
                unit_tests(&workspace, &mut tally)?;
                times.end("unit tests");
            }
            let Some(built) = built else {
                return Ok(());
            };
            let built = sh::step("the release's build", || ended(built));
            times.end("builds");
            let done =
                built.and_then(|built| self.slow(&workspace, &built, &mut tally, &mut times));
            if let Err(error) = done {
                tally.fail("suites", &format!("{error:#}"));
            }
            Ok(())
        })?;
        println!("{}", times.line());
        tally.print_failures();
        println!("{}", tally.summary());
        Ok(i32::from(!tally.is_clean()))
    }

    /// What needs the BPF toolchain, guests and real servers.
    fn slow(
        &self,
        workspace: &Workspace,
        Built { agent, suites }: &Built,
        tally: &mut Tally,
        times: &mut Times,
    ) -> Result<()> {
        tally.pass("build --release");
        if !self.suites_only {
            tally.check("kernel programs without warnings", || {
                build::check_kernel_programs(workspace)
            });
        }
        tally.check("systemd-analyze of the unit", || {
            systemd::check(workspace, agent)
        });

        let out = workspace.target.join("suites");
        fs::create_dir_all(&out)?;
        let zipkin = sh::step("starting Zipkin", || Zipkin::start(0, Some(&out)))?;
        let jaeger = sh::step("starting Jaeger", || Jaeger::start(workspace, &out))?;
        let kernels: &[Kernel] = &self.kernel.0;
        let wanted = SUITES.iter().filter(|suite| {
            let mut runs_on = suite::kernels(suite, kernels).iter();
            runs_on.all(|kernel| kernels.contains(kernel))
        });
        let wanted: Vec<&Suite> = wanted.collect();
        let needs_image = wanted.iter().any(|suite| suite.containers);
        thread::scope(|scope| {
            // It takes minutes, and what runs on this machine mostly waits.
            let mut image =
                needs_image.then(|| scope.spawn(|| in_background(|| dist::image(workspace))));
            let mut site = |suite: &Suite| -> Result<Site<'_>> {
                let second_zipkin = || {
                    let start = || Zipkin::start(0, None);
                    sh::step("starting another Zipkin", start)
                };
                let second_zipkin = suite.second_zipkin.then(second_zipkin);
                let kubernetes = || Kubernetes::start(&out.join(suite.name).join("kubernetes"));
                let kubernetes = suite
                    .kubernetes
                    .then(|| sh::step("starting Kubernetes", kubernetes));
                let made = || {
                    let made = image.take().context("two suites want the image")?;
                    let made = sh::step("making the image", || ended(made));
                    made.context("cargo xtask dist")
                };
                let image = suite.containers.then(made);
                Ok(Site {
                    program: suites.clone(),
                    agent: agent.clone(),
                    zipkin: &zipkin,
                    jaeger: &jaeger,
                    second_zipkin: second_zipkin.transpose()?,
                    kubernetes: kubernetes.transpose()?,
                    image: image.transpose()?,
                    out: out.clone(),
                })
            };
            let on_host = |suite: &&Suite| suite.place == Place::Host;
            let (hosts, guests): (Vec<_>, Vec<_>) = wanted.into_iter().partition(on_host);
            let hosts = hosts.into_iter().map(|suite| Ok((suite, site(suite)?)));
            let hosts = hosts.collect::<Result<Vec<_>>>()?;
            // One guest, which goes well with what mostly waits.
            let demo = (!self.suites_only).then(|| scope.spawn(demonstrate));
            suite::on_host(&hosts, tally);
            if let Some(demo) = demo {
                tally.check("cargo xtask demo", || ended(demo));
            }
            times.end("suites on this machine, demo");
            // The image may not be there yet. Who needs it goes behind those that
            // have one guest each, which leave no gap at the end.
            let is_first = |suite: &&Suite| suite.place == Place::Guest && !suite.containers;
            let (first, last): (Vec<_>, Vec<_>) = guests.into_iter().partition(is_first);
            for part in [first, last] {
                let ready = |suite| Ok((suite, site(suite)?, suite::kernels(suite, kernels)));
                let part = part.into_iter().map(ready).collect::<Result<Vec<_>>>()?;
                times.end("servers and image");
                if let Some(rootfs) = part.iter().find_map(|(_, site, _)| site.image.as_ref()) {
                    check_release(workspace, rootfs, tally);
                    times.end("release");
                }
                suite::in_guests(&part, tally);
                times.end("suites in guests");
            }
            Ok(())
        })
    }
}

/// What the suites run, with its set-up.
struct Built {
    agent: PathBuf,
    suites: PathBuf,
}

impl Built {
    fn make(workspace: &Workspace) -> Result<Self> {
        setup::ensure(&Part::all())?;
        let objects = build::kernel_objects(workspace)?;
        let release = |package, name| build::binary(workspace, package, name, true, Some(&objects));
        Ok(Self {
            agent: release("nodespan", "nodespan")?,
            suites: release(suite::PACKAGE, suite::PROGRAM)?,
        })
    }
}

/// What `cargo xtask dist` has made.
fn check_release(workspace: &Workspace, rootfs: &Path, tally: &mut Tally) {
    tally.check("deploy/Dockerfile makes the image", || {
        image::check(workspace, rootfs)
    });
    tally.check("cargo xtask dist packs the same bytes again", || {
        packed::check(workspace, rootfs)
    });
}

/// The first of the README's commands: it ends by itself, and well only if every
/// request has come back from Zipkin as a whole trace.
fn demonstrate() -> Result<()> {
    let program = std::env::current_exe().context("where is this program?")?;
    let shown = sh::capture(Command::new(program).arg("demo"))?;
    for line in ["browser", "front", "shop", "inventory", "payment"] {
        ensure!(shown.contains(line), "no {line} in what it shows: {shown}");
    }
    Ok(())
}

/// Does something that may not hold others up, nor what it starts.
fn in_background<T>(work: impl FnOnce() -> Result<T>) -> Result<T> {
    // On Linux it is this thread's.
    rustix::process::nice(19).context("giving way to others")?;
    work()
}

fn ended<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    let gone = |_| Err(anyhow!("it has panicked"));
    thread.join().unwrap_or_else(gone)
}

/// What a run from a clean clone writes to the target folder, and some more.
const ROOM: u64 = 6 << 30;

/// A full disk shows as the failure of whatever happens to write just then.
fn warn_of_a_full_disk(workspace: &Workspace) {
    let Ok(disk) = rustix::fs::statvfs(&workspace.root) else {
        return;
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    if free < ROOM {
        eprintln!(
            "[xtask] {} MB are free below {}; a run from a clean clone needs {} MB",
            free >> 20,
            workspace.root.display(),
            ROOM >> 20,
        );
    }
}

/// rustup's minimal profile has neither of them.
fn bring_components() -> Result<()> {
    for (verb, component) in [("fmt", "rustfmt"), ("clippy", "clippy")] {
        if sh::capture(Command::new("cargo").args([verb, "--version"])).is_err() {
            sh::step(&format!("rustup component add {component}"), || {
                sh::quiet(Command::new("rustup").args(["component", "add", component]))
            })?;
        }
    }
    Ok(())
}

fn lint(workspace: &Workspace, tally: &mut Tally) {
    let cargo = |arguments: &[&str]| sh::run(workspace.cargo().args(arguments));
    tally.check("cargo fmt --check", || cargo(&["fmt", "--all", "--check"]));
    tally.check("cargo clippy", || {
        cargo(&[
            "clippy",
            "-q",
            "--workspace",
            "--exclude",
            "agent-ebpf",
            "--all-targets",
            "--",
            "-Dwarnings",
        ])
    });
    // The toolchain of the kernel programs need not have a clippy; what they
    // share with user space is their library.
    tally.check("cargo clippy -p agent-ebpf --lib", || {
        cargo(&[
            "clippy",
            "-q",
            "-p",
            "agent-ebpf",
            "--lib",
            "--",
            "-Dwarnings",
        ])
    });
    tally.check("cargo check of the fuzz targets", || {
        fuzz_targets(workspace)
    });
    tally.check("the usual kernel object is without aya-log", || {
        without_log(workspace)
    });
}

/// The crate for cargo-fuzz is no member of the workspace, so nothing else
/// compiles it. Nothing is linked here, so that libFuzzer need not be built.
fn fuzz_targets(workspace: &Workspace) -> Result<()> {
    sh::run(
        workspace
            .cargo()
            .args(["check", "-q", "--manifest-path", "tests/fuzz/Cargo.toml"])
            .arg("--target-dir")
            .arg(&workspace.target)
            .env("CUSTOM_LIBFUZZER_PATH", "/nowhere/libfuzzer.a"),
    )
}

/// With its messages off the kernel side is what it is without the library
/// for them: it is no part of that build.
fn without_log(workspace: &Workspace) -> Result<()> {
    let needs = |feature: &str| {
        let mut tree = workspace.cargo();
        tree.args([
            "tree",
            "-p",
            "agent-ebpf",
            "-e",
            "normal",
            "--prefix",
            "none",
        ]);
        let said = sh::capture(tree.args(["--no-default-features", "--features", feature]))?;
        ensure!(said.contains("aya-ebpf"), "cargo tree said: {said}");
        Ok(said.contains("aya-log"))
    };
    ensure!(needs("log")?, "`log` has no aya-log: nobody can tell");
    ensure!(!needs("probes")?, "`probes` brings aya-log with it");
    Ok(())
}

/// Unit, property and documentation tests; the short runs of the fuzz targets
/// are among them.
fn unit_tests(workspace: &Workspace, tally: &mut Tally) -> Result<()> {
    eprintln!("[xtask] cargo test ...");
    let mut command = workspace.cargo();
    command.args([
        "test",
        "--workspace",
        "--exclude",
        "agent-ebpf",
        "--no-fail-fast",
    ]);
    let before = tally.failed();
    let succeeded = tee(&mut command, |line| tally.libtest_line(line))?;
    if !succeeded && tally.failed() == before {
        tally.fail("cargo test", "it failed outside of any test; see above");
    }
    Ok(())
}

/// Runs a command, shows its output and reads it by lines.
fn tee(command: &mut Command, mut read: impl FnMut(&str)) -> Result<bool> {
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .context("starting cargo")?;
    let stdout = child.stdout.take().context("cargo has no output")?;
    for line in BufReader::new(stdout).split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        writeln!(std::io::stdout(), "{line}")?;
        read(&line);
    }
    Ok(child.wait()?.success())
}
