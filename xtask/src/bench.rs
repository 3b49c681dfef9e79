//! `cargo xtask bench`: what tracing costs.
//!
//! One guest counts instructions instead of time and measures everything that
//! must repeat; a second, ordinary one measures latencies. The driver inside
//! the guests is this same program (`bench-guest`). What encoding costs is
//! measured here, beside the crates that others use.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::de::DeserializeOwned;

use crate::{
    build,
    cache::Cache,
    kernel::Kernel,
    setup::{self, Part, servers},
    sh,
    vm::{Guest, Idle},
    workspace::Workspace,
};

mod cluster;
mod encoders;
mod figures;
mod guest;
mod limits;
mod policy;
mod report;

use figures::{Figures, Mode, Spec};
pub(crate) use guest::BenchGuest;

/// Builds an example of the agent's in release, runs it, and reads the JSON
/// that it prints.
///
/// # Errors
/// If it does not build, fails, or prints something else.
fn figures_of_example<T: DeserializeOwned>(workspace: &Workspace, example: &str) -> Result<T> {
    let words = ["build", "--release", "-p", "nodespan", "--example", example];
    sh::run(workspace.cargo().args(words))?;
    let program = workspace.target.join("release/examples").join(example);
    let output = Command::new(&program)
        .output()
        .with_context(|| format!("running {}", program.display()))?;
    ensure!(
        output.status.success(),
        "{example}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("reading its figures")
}

/// The empty programs that are the floor of what tracing costs.
const FLOOR: &str = "xtask/src/bench/floor.c";

/// Of a whole boot; instruction time takes about 7 s for one of the guest's.
const TIMEOUT: Duration = Duration::from_mins(25);

/// Measure what tracing costs, against the limits that are promised.
#[derive(Args, Debug)]
pub(crate) struct Bench {
    /// 5.10, 6.1, 6.12 or 7.
    #[arg(long, default_value = "6.12", value_parser = one_kernel)]
    kernel: Kernel,
    /// Shorter loads, and no ordinary run for latencies.
    #[arg(long)]
    quick: bool,
    /// Only what encoding costs, for which no guest is needed.
    #[arg(long)]
    encoders: bool,
    /// Where the JSON goes; bench/bench.json in the target folder without it.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

impl Bench {
    /// Prints the table; 1 if a limit is exceeded or something could not be
    /// measured.
    ///
    /// # Errors
    /// If a guest fails.
    pub(crate) fn run(&self) -> Result<i32> {
        let workspace = Workspace::load()?;
        let encoders = encoders::measure(&workspace, self.quick)?;
        if self.encoders {
            println!("{encoders}");
            return Ok(i32::from(!encoders.are_fine()));
        }
        setup::ensure(&[Part::Qemu, Part::Kernels(vec![self.kernel]), Part::Servers])?;
        let dir = workspace.target.join("bench");
        fs::create_dir_all(&dir)?;
        let spec = self.prepare(&workspace, &dir)?;
        let instructions = self.boot(spec.clone(), Mode::Instructions, "counting instructions")?;
        let latencies = if self.quick {
            None
        } else {
            Some(self.boot(spec, Mode::Time, "measuring latencies")?)
        };
        let policy = policy::measure(&workspace);
        let report = report::Report::new(self.kernel, self.quick, instructions, latencies, policy)?
            .with_encoders(encoders)
            .with_cluster(cluster::measure(&workspace));
        println!("{report}");
        let file = self.out.clone().unwrap_or_else(|| dir.join("bench.json"));
        fs::write(&file, report.json()?).with_context(|| format!("writing {}", file.display()))?;
        println!("{}", file.display());
        Ok(i32::from(!report.is_fine()))
    }

    /// Builds what runs in the guest.
    fn prepare(&self, workspace: &Workspace, dir: &Path) -> Result<Spec> {
        let floor = dir.join("floor");
        sh::quiet(
            Command::new("cc")
                .args(["-O2", "-Wall", "-o"])
                .arg(&floor)
                .arg(workspace.root.join(FLOOR)),
        )?;
        let test = |name| build::binary(workspace, "nodespan-tests", name, true, None);
        let envoy = servers::find(&Cache::open()?)?.envoy;
        // The clock of a guest that waits for this disk runs ahead, and with it
        // the time that Envoy has for its start.
        std::io::copy(&mut fs::File::open(&envoy)?, &mut std::io::sink())?;
        Ok(Spec {
            mode: Mode::Instructions,
            load_seconds: 1,
            sink: test("sink")?,
            pingpong: test("pingpong")?,
            agent: build::agent(workspace, true)?,
            floor,
            envoy,
            turns: if self.quick { 5_000 } else { 20_000 },
            // Fewer would share what a start costs among fewer.
            exchanges: 64_000,
            out: dir.to_owned(),
        })
    }

    /// Boots a guest that measures, and reads its figures.
    fn boot(&self, mut spec: Spec, mode: Mode, what: &str) -> Result<Figures> {
        spec.mode = mode;
        (spec.load_seconds, spec.out) = match mode {
            Mode::Instructions => (
                if self.quick { 1 } else { 2 },
                spec.out.join("instructions"),
            ),
            Mode::Time => (5, spec.out.join("time")),
        };
        if spec.out.exists() {
            fs::remove_dir_all(&spec.out)?; // Of an earlier run.
        }
        fs::create_dir_all(&spec.out)?;
        let file = spec.out.join("spec.json");
        fs::write(&file, serde_json::to_vec_pretty(&spec)?)?;
        let command = [
            std::env::current_exe()?.into_os_string(),
            "bench-guest".into(),
            file.into_os_string(),
        ];
        sh::step(what, || {
            let mut guest = Guest::new(self.kernel)
                .share(&spec.out)
                .timeout(TIMEOUT)
                .console(spec.out.join("console.log"));
            if mode == Mode::Instructions {
                guest = guest.with_icount(Idle::Skipped);
            }
            let code = guest.run(&command)?;
            if code != 0 {
                bail!("the driver in the guest ended with {code}");
            }
            let figures = fs::read(spec.out.join("figures.json"))?;
            serde_json::from_slice(&figures).context("reading the guest's figures")
        })
    }
}

fn one_kernel(text: &str) -> Result<Kernel, String> {
    Kernel::ALL
        .into_iter()
        .find(|kernel| kernel.name() == text)
        .ok_or_else(|| format!("no kernel {text}: 5.10, 6.1, 6.12 or 7"))
}
