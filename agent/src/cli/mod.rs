//! The command line: wiring only.
//!
//! What can be typed is in [`args`]; [`plan`] turns it and the configuration
//! into what is run; [`run`] and [`replay`] put the stages together.

pub mod args;
mod backends;
mod check;
mod cluster;
mod events;
mod exits;
mod explain;
mod install;
mod introductions;
mod kubernetes;
mod live;
mod load;
mod notes;
mod owners;
pub mod pipeline;
mod plan;
#[cfg(test)]
mod pod_tests;
mod printing;
mod probe;
mod reload;
mod replay;
mod resources;
mod run;
mod say;
mod waiting;
mod watch;
pub mod workloads;

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use tokio::runtime::Runtime;
use tracing_subscriber::EnvFilter;

use self::args::{Cli, Command, ProbeOptions, Show, StatusArgs};
use self::say::{complain, say};
use crate::admin;
use crate::capture::live::{LiveError, Options};

/// Findings, or a failed run.
const FAILED: u8 = 1;
/// Wrong usage.
const USAGE: u8 = 2;
/// This kernel cannot run the probes.
const KERNEL: u8 = 3;

/// Runs the command that was typed.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let _unreachable_terminal = error.print();
            return match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => ExitCode::SUCCESS,
                _ => ExitCode::from(USAGE),
            };
        }
    };
    log_to_stderr(cli.verbose);
    match cli.command {
        Command::Run(args) => finish(run::run(&args)),
        Command::Replay(args) => finish(replay::run(&args)),
        Command::Check(args) => check::check(&args),
        Command::Explain(args) => explain::explain(&args),
        Command::Probe(args) => probe::probe(&args),
        Command::Status(args) => status(&args),
        Command::Apply(args) => resources::apply(&args),
        Command::Get(args) => resources::get(&args),
        Command::Delete(args) => resources::delete(&args),
        Command::Install(what) => install::install(&what),
    }
}

/// Why a run ended badly.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The probes do not run.
    #[error(transparent)]
    Live(#[from] LiveError),
    /// The settings cannot be used.
    #[error(transparent)]
    Plan(#[from] plan::PlanError),
    /// The admin port cannot be opened.
    #[error(transparent)]
    Admin(#[from] admin::AdminError),
    /// The folder of applied resources is unusable.
    #[error(transparent)]
    Store(#[from] admin::store::StoreError),
    /// The resource API cannot be served.
    #[error(transparent)]
    Api(#[from] admin::api::ApiError),
    /// No Kubernetes API can be asked.
    #[error(transparent)]
    Kubernetes(#[from] crate::kubernetes::ApiError),
    /// A thread of the pipeline is no more.
    #[error("the thread {name} ended by a panic; what it held is lost")]
    Panicked {
        /// Its name.
        name: &'static str,
    },
    /// The capture cannot be read.
    #[error("{file}: {source}")]
    Pcap {
        /// Its name.
        file: String,
        /// What is wrong.
        source: crate::capture::pcap::PcapError,
    },
    /// Spans of a capture that is read to its end have not arrived.
    #[error("{spans} of the spans did not reach their backend: {why}")]
    Undelivered {
        /// How many.
        spans: u64,
        /// The ledger's words.
        why: String,
    },
    /// The system refuses what the agent needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
}

fn finish(outcome: Result<(), RunError>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain!("nodespan: {error}");
            match error {
                RunError::Live(error) if error.is_kernel() => ExitCode::from(KERNEL),
                RunError::Plan(plan::PlanError::Pattern { .. }) => ExitCode::from(USAGE),
                _ => ExitCode::from(FAILED),
            }
        }
    }
}

fn live_options(probes: ProbeOptions) -> Options {
    Options {
        kernel_log: probes.kernel_log,
        force_kprobes: probes.force_kprobes,
        ring_bytes: probes.ring_bytes,
        sockets: probes.sockets,
        ..Options::default()
    }
}

fn status(args: &StatusArgs) -> ExitCode {
    let fetched = match runtime() {
        Ok(runtime) => runtime.block_on(admin::status::fetch(&args.agent)),
        Err(error) => return finish(Err(error)),
    };
    match fetched {
        Ok(status) => {
            match args.output {
                Show::Text => say!("{}", admin::status::render(&status)),
                Show::Json => match serde_json::to_string_pretty(&status) {
                    Ok(json) => say!("{json}"),
                    Err(error) => complain!("nodespan: {error}"),
                },
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain!("nodespan: {error}");
            ExitCode::from(FAILED)
        }
    }
}

/// Runs a program's main part to its end. Nobody waits for threads that are in
/// a call of the system behind that: a resolver may take half a minute to say
/// that it does not know, and the grace time is over.
fn block_on<T>(runtime: Runtime, main: impl Future<Output = T>) -> T {
    let result = runtime.block_on(main);
    runtime.shutdown_background();
    result
}

/// The runtime of exporters and the admin port: one thread is plenty.
fn runtime() -> Result<Runtime, RunError> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|source| RunError::System {
            what: "starting the runtime",
            source,
        })
}

fn log_to_stderr(verbose: u8) {
    let level = match verbose {
        // What fails in a client is told by the room that asked.
        0 => "nodespan=info,warn,kube_client=off",
        1 => "nodespan=debug,info,kube_client=off",
        _ => "trace",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_unset| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn a_call_that_does_not_return_does_not_delay_the_end() {
        let began = Instant::now();
        let main = async {
            let (started, waited) = tokio::sync::oneshot::channel();
            // As a resolver does that nobody answers.
            tokio::task::spawn_blocking(move || {
                let _ = started.send(());
                std::thread::sleep(Duration::from_secs(20));
            });
            waited.await.is_ok()
        };
        assert!(block_on(runtime().unwrap(), main));
        assert!(began.elapsed() < Duration::from_secs(10));
    }
}
