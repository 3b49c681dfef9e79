//! `cargo xtask`: everything that is done to nodespan rather than by it.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command line tool speaks on its terminal"
)]

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

mod apt;
mod bench;
mod build;
mod cache;
mod daemon;
mod demo;
mod dist;
mod generate;
mod interrupt;
mod kernel;
mod scratch;
mod servers;
mod setup;
mod sh;
mod strip;
mod test;
mod vm;
mod workspace;

/// Builds, runs, tests and measures nodespan.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring the toolchain, QEMU, the kernels and the test servers.
    Setup {
        /// bpf, qemu, kernels, servers, jaeger, kubernetes, runtime; everything without one.
        parts: Vec<setup::Part>,
    },
    Build(build::Build),
    Run(build::Run),
    Vm(vm::Vm),
    Test(test::Test),
    Serve(servers::Serve),
    Demo(demo::Demo),
    #[command(hide = true)]
    DemoStage(demo::Stage),
    Bench(bench::Bench),
    Dist(dist::Dist),
    #[command(hide = true)]
    BenchGuest(bench::BenchGuest),
    #[command(name = "gen")]
    Generate(generate::Generate),
}

fn main() -> ExitCode {
    match dispatch(Cli::parse().verb) {
        Ok(code) => ExitCode::from(u8::try_from(code).unwrap_or(1)),
        Err(error) => {
            eprintln!("error: {error:#}");
            match error.downcast_ref() {
                Some(vm::NoExit::TimedOut { .. }) => ExitCode::from(124),
                Some(vm::NoExit::Died { .. }) => ExitCode::from(125),
                Some(vm::NoExit::Interrupted) => ExitCode::from(130),
                None => ExitCode::FAILURE,
            }
        }
    }
}

fn dispatch(verb: Verb) -> Result<i32> {
    match verb {
        Verb::Setup { parts } => {
            let parts = if parts.is_empty() {
                setup::Part::all()
            } else {
                parts
            };
            setup::ensure(&parts).map(|()| 0)
        }
        Verb::Build(build) => build.run(),
        Verb::Run(run) => run.run(),
        Verb::Vm(vm) => vm.run(),
        Verb::Test(test) => test.run(),
        Verb::Serve(serve) => serve.run(),
        Verb::Demo(demo) => demo.run(),
        Verb::DemoStage(stage) => stage.run(),
        Verb::Bench(bench) => bench.run(),
        Verb::Dist(dist) => dist.run(),
        Verb::BenchGuest(driver) => driver.run(),
        Verb::Generate(generate) => generate.run(),
    }
}
