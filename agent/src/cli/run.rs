//! `nodespan run`.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use serde_json::json;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch::Receiver;
use tokio::time::MissedTickBehavior;

use super::args::RunArgs;
use super::exits::Exits;
use super::kubernetes::{self, Cluster, Watched};
use super::live::{Accounts, Orders, Threads, Traffic, account, clock_offset};
use super::load::{Source, Typed};
use super::pipeline::{Pipeline, Update};
use super::plan::{self, PlanError};
use super::printing::Printing;
use super::reload::{Outcome, Reloader};
use super::workloads::Workloads;
use super::{RunError, block_on, live_options, probe, runtime, watch};
use crate::admin::{Admin, Listen, View, api};
use crate::assemble::{self, Assembler};
use crate::capture::live::{Gauges, Live};
use crate::config;
use crate::identify::{Identifier, Options as IdentifyOptions, own_addresses};
use crate::ledger::Ledger;
use crate::link::Timing;
use crate::policy::Glob;

/// How often the kernel's counters are brought into the ledger.
const ACCOUNT: Duration = Duration::from_secs(1);
/// A line of the ledger in the log, every so many of those.
const SUMMARY: u64 = 60;

/// Runs until it is told to stop.
pub(super) fn run(args: &RunArgs) -> Result<(), RunError> {
    let source = Source::new(&args.common, typed(args)?);
    let runtime = runtime()?;
    // Whoever asks for a reload does not know how far the start has come.
    let hangup = {
        let _within = runtime.enter();
        listen_for(SignalKind::hangup())?
    };
    // What is wrong with the configuration is said before the kernel is asked.
    let first = source.load()?.settings;
    // Where a cluster is asked `kubectl` changes things, and the root may be
    // read-only.
    let store = api::store(&first.admin, first.kubernetes.enabled)?;
    let (mut live, control, gauges, report) = Live::start(&live_options(args.probes))?;
    let ledger = Ledger::new();
    let view = View::new(Arc::clone(&ledger));
    let mut section = probe::probes(&report);
    for line in &report.degraded {
        tracing::warn!("degraded: {line}");
    }
    block_on(runtime, async {
        let cluster = Cluster::connect(&first, node_name()).await?;
        let mirror = cluster.as_ref().map(|cluster| Arc::clone(cluster.mirror()));
        let (mut reloader, start) =
            Reloader::start(source, store.clone(), mirror, own_addresses(), &ledger)?;
        let settings = reloader.current().settings.clone();
        let admin = Admin::open(listen(settings.admin.listen)).await?;
        if let Some(admin) = &admin {
            tracing::info!("admin port at {}", admin.address());
        }
        let printing = Printing::of(reloader.current());
        let mut exits = Exits::new(printing.open(&ledger));
        for (backend, exporter) in start.change.opened {
            exits.open(backend, exporter);
        }
        let identify = Identifier::new(IdentifyOptions {
            naming: plan::naming(&settings),
            ..IdentifyOptions::default()
        });
        let read_only = cluster.as_ref().map(|_| api::KUBERNETES_IS_READ_ONLY);
        let mut applied = store.as_ref().map(|store| store.changes());
        let api = match store {
            Some(store) => api::start(&settings.admin, store, read_only).await?,
            None => None,
        };
        if let Some(api) = &api {
            tracing::info!("resource API at {}", api.address);
        }
        // All ports are open, and no other thread exists yet: capabilities are
        // a thread's own.
        match live.give_up_privileges(reloader.has_resources()) {
            Ok(kept) => {
                section["capabilities"] = json!(kept.names());
                tracing::info!("capabilities kept: {kept}");
            }
            Err(error) => tracing::warn!("capabilities are kept: {error}"),
        }
        view.set_section("probes", section);
        let mut pipeline = Pipeline::new(
            settings.agent.identity_key,
            Timing::default(),
            start.plan,
            start.sampler,
            identify,
            exits,
            Arc::clone(&ledger),
            clock_offset(),
        );
        let workloads = Arc::new(Workloads::default());
        pipeline.note_in(Arc::clone(&workloads));
        let stop = Arc::new(AtomicBool::new(false));
        let assembler = Assembler::new(assemble::Options::default());
        let (updates, received) = sync_channel(UPDATES);
        let accounts = Accounts {
            ledger: Arc::clone(&ledger),
            taken: Arc::default(),
        };
        let threads = Threads::start(
            live,
            assembler,
            pipeline,
            control,
            Orders {
                wish: plan::wish(&settings),
                updates: received,
            },
            &stop,
            &accounts,
        )
        .map_err(|source| RunError::System {
            what: "starting a thread",
            source,
        })?;
        view.set_ready(true);
        tracing::info!("tracing; kernel {}, {}", report.release, report.self_test);
        let admin = admin.map(|admin| tokio::spawn(admin.serve(Arc::clone(&view))));
        // Its threads, which look names up, have no more privileges than this.
        let cluster = cluster.map(Cluster::watch);
        let mut supervisor = Supervisor {
            reloader: &mut reloader,
            cluster,
            updates,
            gauges: &gauges,
            accounts: &accounts,
            view: &view,
            workloads: &workloads,
            traffic: Traffic::default(),
        };
        supervisor.wait(&stop, hangup, applied.as_mut()).await?;
        drop(supervisor);
        view.set_ready(false);
        stop.store(true, Ordering::Relaxed);
        // The pipeline's end closes the workers' queues.
        let joined = tokio::task::spawn_blocking(move || threads.join()).await;
        reloader.finish().await;
        account(&accounts, || gauges.read(), &Traffic::default());
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
        if let Some(api) = api {
            api.task.abort();
        }
        match joined {
            Ok(outcome) => outcome,
            Err(_panic) => Err(RunError::Panicked { name: "main" }),
        }
    })
}

/// Changes that wait for the pipeline at most; those behind are put together.
const UPDATES: usize = 4;

/// The selectors that were typed.
fn typed(args: &RunArgs) -> Result<Typed, PlanError> {
    Ok(Typed {
        ports: args.ports.clone(),
        units: globs("--unit", &args.units)?,
        containers: globs("--container", &args.containers)?,
        kubernetes: args.kubernetes,
        node: node_name(),
        ..Typed::default()
    })
}

/// What a DaemonSet says of the node.
fn node_name() -> Option<Arc<str>> {
    let name = std::env::var("NODE_NAME").ok();
    name.filter(|name| !name.is_empty()).map(Into::into)
}

fn globs(flag: &'static str, names: &[String]) -> Result<Vec<Glob>, PlanError> {
    let pattern = |name: &String| {
        name.parse().map_err(|source| PlanError::Pattern {
            flag,
            value: name.clone(),
            source,
        })
    };
    names.iter().map(pattern).collect()
}

/// What the main thread does while the others trace.
struct Supervisor<'a> {
    reloader: &'a mut Reloader,
    cluster: Option<Watched>,
    updates: SyncSender<Update>,
    gauges: &'a Gauges,
    accounts: &'a Accounts,
    view: &'a View,
    workloads: &'a Workloads,
    traffic: Traffic,
}

impl Supervisor<'_> {
    /// Returns when a signal comes or a thread has ended; keeps the ledger and
    /// the configuration up to date meanwhile.
    async fn wait(
        &mut self,
        stop: &AtomicBool,
        mut hangup: Signal,
        mut applied: Option<&mut Receiver<u64>>,
    ) -> Result<(), RunError> {
        let mut terminate = listen_for(SignalKind::terminate())?;
        let mut interrupt = listen_for(SignalKind::interrupt())?;
        let mut ticks = tokio::time::interval(ACCOUNT);
        let mut looks = tokio::time::interval(watch::EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut rounds = 0_u64;
        while !stop.load(Ordering::Relaxed) {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                _ = hangup.recv() => {
                    let outcome = self.reloader.reload();
                    self.after(Some(outcome));
                }
                () = changed(&mut applied) => {
                    let outcome = self.reloader.reload();
                    self.after(Some(outcome));
                }
                () = kubernetes::due(&mut self.cluster) => {
                    if let Some(cluster) = &mut self.cluster {
                        cluster.take(self.reloader);
                        self.reloader.hand_over(&self.updates);
                    }
                }
                _ = looks.tick() => {
                    let outcome = self.reloader.poll(Instant::now());
                    self.after(outcome);
                }
                _ = ticks.tick() => {
                    self.account();
                    self.show_workloads();
                    if let Some(cluster) = &mut self.cluster {
                        cluster.show(self.view);
                    }
                    rounds += 1;
                    if rounds.is_multiple_of(SUMMARY) {
                        tracing::info!("{}", self.accounts.ledger.snapshot().summary());
                    }
                }
            }
        }
        Ok(())
    }

    /// What becomes of the workloads, if that has changed.
    fn show_workloads(&self) {
        if let Some(workloads) = self.workloads.shown() {
            self.view.set_section("workloads", workloads);
        }
    }

    fn after(&mut self, outcome: Option<Outcome>) {
        self.reloader.hand_over(&self.updates);
        self.reloader.reap();
        if let Some(outcome) = outcome {
            self.view.set_section("configuration", outcome.shown());
        }
    }

    fn account(&self) {
        let Traffic {
            moved,
            ring,
            skipped,
            ignored_calls,
        } = &self.traffic;
        let kernel = || self.gauges.read();
        account(self.accounts, kernel, &self.traffic);
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let section = json!({
            "moved": get(moved),
            "ring": get(ring),
            "skipped": get(skipped),
            "ignored_calls": get(ignored_calls),
        });
        self.view.set_section("bytes", section);
    }
}

/// Must run within a tokio runtime.
pub(super) fn listen_for(kind: SignalKind) -> Result<Signal, RunError> {
    signal(kind).map_err(|source| RunError::System {
        what: "listening for signals",
        source,
    })
}

/// Returns when a resource was applied; never without an API.
async fn changed(applied: &mut Option<&mut Receiver<u64>>) {
    let told = match applied {
        Some(receiver) => receiver.changed().await.is_ok(),
        None => false,
    };
    if !told {
        // The store is gone, or there is none.
        *applied = None;
        std::future::pending::<()>().await;
    }
}

fn listen(configured: config::Listen) -> Listen {
    match configured {
        config::Listen::Default => Listen::Default,
        config::Listen::At(address) => Listen::At(address),
        config::Listen::Off => Listen::Off,
    }
}
