//! `nodespan run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use super::args::RunArgs;
use super::live::{Threads, Traffic, account, clock_offset};
use super::pipeline::Pipeline;
use super::plan::{self, Exits};
use super::{RunError, live_options, runtime};
use crate::admin::{Admin, Listen, View};
use crate::assemble::Assembler;
use crate::capture::live::{Gauges, Live, Report};
use crate::config;
use crate::identify::{Identifier, Options as IdentifyOptions};
use crate::ledger::Ledger;
use crate::link::Timing;

/// How often the kernel's counters are brought into the ledger.
const ACCOUNT: Duration = Duration::from_secs(1);
/// A line of the ledger in the log, every so many of those.
const SUMMARY: u64 = 60;

/// Runs until it is told to stop.
pub(super) fn run(args: &RunArgs) -> Result<(), RunError> {
    let settings = plan::run_settings(args)?;
    let (mut live, control, gauges, report) = Live::start(&live_options(args.probes))?;
    let ledger = Ledger::new();
    let view = View::new(Arc::clone(&ledger));
    let mut section = probes(&report);
    for line in &report.degraded {
        tracing::warn!("degraded: {line}");
    }
    let runtime = runtime()?;
    runtime.block_on(async {
        let admin = Admin::open(listen(settings.admin.listen)).await?;
        if let Some(admin) = &admin {
            tracing::info!("admin port at {}", admin.address());
        }
        let Exits { exporters, workers } = plan::exits(&settings, &ledger)?;
        // Before any other thread exists: capabilities are a thread's own.
        match live.give_up_privileges() {
            Ok(kept) => {
                section["capabilities"] = json!(kept.names());
                tracing::info!("capabilities kept: {kept}");
            }
            Err(error) => tracing::warn!("capabilities are kept: {error}"),
        }
        view.set_section("probes", section);
        let workers: Vec<_> = workers
            .into_iter()
            .map(|worker| tokio::spawn(worker.run()))
            .collect();
        let identify = Identifier::new(IdentifyOptions {
            service: settings.agent.service.clone(),
            node: settings.agent.node.clone(),
            ..IdentifyOptions::default()
        });
        let pipeline = Pipeline::new(
            plan::pipeline(&settings, Timing::default()),
            identify,
            exporters,
            Arc::clone(&ledger),
            clock_offset(),
        );
        let stop = Arc::new(AtomicBool::new(false));
        let assembler = Assembler::new(plan::assembler(&settings));
        let ports = settings.capture.selection.ports.clone();
        let threads = Threads::start(live, assembler, pipeline, control, ports, &stop, &ledger)
            .map_err(|source| RunError::System {
                what: "starting a thread",
                source,
            })?;
        view.set_ready(true);
        tracing::info!("tracing; kernel {}, {}", report.release, report.self_test);
        let admin = admin.map(|admin| tokio::spawn(admin.serve(Arc::clone(&view))));
        wait(&stop, &gauges, &ledger, &view).await?;
        view.set_ready(false);
        stop.store(true, Ordering::Relaxed);
        // The pipeline's end closes the workers' queues.
        let joined = tokio::task::spawn_blocking(move || threads.join()).await;
        for worker in workers {
            if let Err(error) = worker.await {
                tracing::error!("a backend's worker ended badly: {error}");
            }
        }
        if let Err(error) = joined {
            tracing::error!("waiting for the pipeline: {error}");
        }
        account(&gauges, &ledger, &Traffic::default());
        let mut skipped = gauges.read().recursion_misses;
        skipped.retain(|_, runs| *runs > 0);
        if !skipped.is_empty() {
            tracing::info!("runs of programs that the kernel skipped: {skipped:?}");
        }
        tracing::info!("{}", ledger.snapshot().summary());
        if let Err(imbalance) = ledger.balance() {
            tracing::warn!("the ledger does not balance: {imbalance}");
        }
        if let Some(admin) = admin {
            admin.abort();
        }
        Ok(())
    })
}

/// Returns when a signal comes or a thread has ended; keeps the ledger up to
/// date meanwhile.
async fn wait(
    stop: &AtomicBool,
    gauges: &Gauges,
    ledger: &Ledger,
    view: &View,
) -> Result<(), RunError> {
    let on = |kind| {
        signal(kind).map_err(|source| RunError::System {
            what: "listening for signals",
            source,
        })
    };
    let mut terminate = on(SignalKind::terminate())?;
    let mut interrupt = on(SignalKind::interrupt())?;
    let traffic = Traffic::default();
    let mut ticks = tokio::time::interval(ACCOUNT);
    let mut rounds = 0_u64;
    while !stop.load(Ordering::Relaxed) {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            _ = ticks.tick() => {
                account(gauges, ledger, &traffic);
                view.set_section("bytes", json!({
                    "moved": traffic.moved.load(Ordering::Relaxed),
                    "ring": traffic.ring.load(Ordering::Relaxed),
                    "skipped": traffic.skipped.load(Ordering::Relaxed),
                    "ignored_calls": traffic.ignored_calls.load(Ordering::Relaxed),
                }));
                rounds += 1;
                if rounds.is_multiple_of(SUMMARY) {
                    tracing::info!("{}", ledger.snapshot().summary());
                }
            }
        }
    }
    Ok(())
}

fn listen(configured: config::Listen) -> Listen {
    match configured {
        config::Listen::Default => Listen::Default,
        config::Listen::At(address) => Listen::At(address),
        config::Listen::Off => Listen::Off,
    }
}

/// What the probes are, as `probes` of the status and as `probe --output json`.
pub(super) fn probes(report: &Report) -> serde_json::Value {
    let programs: Vec<_> = report
        .programs
        .iter()
        .map(|program| {
            json!({
                "name": program.name,
                "function": program.function,
                "verified_instructions": program.verified,
                "instructions": program.instructions,
            })
        })
        .collect();
    json!({
        "kernel": report.release,
        "hooks": if report.kprobes { "kprobe" } else { "fentry" },
        "twice": report.twice,
        "owners": if report.by_cgroup { "cgroup" } else { "process" },
        "programs": programs,
        "degraded": report.degraded,
        "self_test": report.self_test,
    })
}
