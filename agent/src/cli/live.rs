//! The live run: probes, two threads of stages, and a runtime for the rest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_ebpf::{Counter, Verdict};

use super::pipeline::{Pipeline, Update};
use crate::assemble::{Assembler, Output};
use crate::capture::live::{Control, Gauges, Live, LiveError};
use crate::capture::{Command, Event};
use crate::identify::{Granularity, Identifier};
use crate::ledger::{Ledger, Lost, Missed};
use crate::link::ClockOffset;
use crate::units::{MonoNanos, OwnerId};

/// Records read before the outputs are handed on.
const BUDGET: usize = 4096;
/// Longest sleep of the reader: how late a stop is noticed.
const NAP: Duration = Duration::from_millis(250);
/// Batches between the reader and the stages. When they are full the reader
/// waits, the ring fills, and the kernel counts what it loses.
const BATCHES: usize = 64;
/// How often idle connections are looked for.
const EXPIRY: u64 = 5_000_000_000;

/// What the reader hands to the stages.
struct Batch {
    outputs: Vec<Output>,
    now: MonoNanos,
}

/// The two threads of a live run.
pub(super) struct Threads {
    reader: thread::JoinHandle<()>,
    stages: thread::JoinHandle<()>,
}

impl Threads {
    /// Starts both.
    pub(super) fn start(
        live: Live,
        assembler: Assembler,
        pipeline: Pipeline<Identifier>,
        control: Control,
        wishes: Arc<Wishes>,
        updates: Receiver<Update>,
        stop: &Arc<AtomicBool>,
        ledger: &Arc<Ledger>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(BATCHES);
        let asked_to_stop = Arc::clone(stop);
        let accounts = Arc::clone(ledger);
        let reader = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                let outcome = read(live, assembler, &sender, &wishes, &asked_to_stop, &accounts);
                if let Err(error) = outcome {
                    tracing::error!("the reader ends: {error}");
                }
                asked_to_stop.store(true, Ordering::Relaxed);
            })?;
        let asked_to_stop = Arc::clone(stop);
        let stages = thread::Builder::new()
            .name("stages".to_owned())
            .spawn(move || run_stages(pipeline, control, &receiver, &updates, &asked_to_stop))?;
        Ok(Self { reader, stages })
    }

    /// Waits until both are done.
    pub(super) fn join(self) {
        if self.reader.join().is_err() || self.stages.join().is_err() {
            tracing::error!("a thread of the pipeline ended by a panic");
        }
    }
}

fn read(
    mut live: Live,
    mut assembler: Assembler,
    sender: &SyncSender<Batch>,
    wishes: &Wishes,
    stop: &AtomicBool,
    ledger: &Ledger,
) -> Result<(), LiveError> {
    let mut outputs = Vec::new();
    let mut gone = Vec::new();
    let mut unwanted = Vec::new();
    let mut expired_at = now();
    let mut generation = None;
    let mut ports = Vec::new();
    let mut stopping = false;
    loop {
        if !stopping && stop.load(Ordering::Relaxed) {
            stopping = true;
            live.detach();
        }
        if let Some(wish) = wishes.since(&mut generation) {
            ports = wish.ports;
            assembler.give_out(wish.targets, wish.lines);
        }
        let read = live.drain(BUDGET, |record| {
            match record.event {
                Event::Closed { .. } => gone.push(record.socket),
                Event::Opened { local, peer }
                    if !ports.is_empty()
                        && !ports.contains(&local.port)
                        && !ports.contains(&peer.port) =>
                {
                    unwanted.push(Command::Ignore {
                        socket: record.socket,
                        origins: record.origins,
                    });
                }
                _ => {}
            }
            assembler.push(record, &mut outputs);
        });
        ledger.records.read.set(live.records_read());
        let now = now();
        if now.since(expired_at) > EXPIRY {
            expired_at = now;
            assembler.expire(now, &mut outputs);
        }
        for command in assembler.commands().chain(unwanted.drain(..)) {
            live.apply(&command);
        }
        // After the commands: one may speak of a socket that has just closed.
        for socket in gone.drain(..) {
            live.forget(socket);
        }
        let batch = Batch {
            outputs: std::mem::take(&mut outputs),
            now,
        };
        if (!batch.outputs.is_empty() || read == 0) && sender.send(batch).is_err() {
            return Ok(());
        }
        if stopping && read == 0 {
            ledger.records.lost.set(Lost::Malformed, live.malformed());
            return Ok(());
        }
        if read < BUDGET && !stopping {
            live.wait(NAP)?;
        }
    }
}

/// What a configuration wants of the reader; a reload changes it.
#[derive(Debug, Default)]
pub(super) struct Wishes {
    generation: AtomicU64,
    wish: Mutex<Wish>,
}

/// See [`Wishes`].
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// Server ports; all if empty. Connections that are known already stay as
    /// they are.
    pub(super) ports: Vec<u16>,
    /// See [`crate::assemble::Options::targets`].
    pub(super) targets: bool,
    /// See [`crate::assemble::Options::lines`].
    pub(super) lines: bool,
}

impl Wishes {
    /// Wants something else from now on.
    pub(super) fn set(&self, wish: Wish) {
        *self.wish.lock().unwrap_or_else(PoisonError::into_inner) = wish;
        self.generation.fetch_add(1, Ordering::Release);
    }

    /// What is wanted, if that has changed.
    fn since(&self, seen: &mut Option<u64>) -> Option<Wish> {
        let generation = self.generation.load(Ordering::Acquire);
        if *seen == Some(generation) {
            return None;
        }
        *seen = Some(generation);
        Some(
            self.wish
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        )
    }
}

fn run_stages(
    mut pipeline: Pipeline<Identifier>,
    control: Control,
    receiver: &Receiver<Batch>,
    updates: &Receiver<Update>,
    stop: &AtomicBool,
) {
    let owners = Arc::new(Mutex::new(Owners::new(control)));
    let teller = Arc::clone(&owners);
    pipeline.on_ignored(Box::new(move |owner| lock(&teller).ignore(owner)));
    let mut clock_at = Instant::now();
    loop {
        match receiver.recv_timeout(NAP) {
            Ok(batch) => {
                for output in batch.outputs {
                    if let Output::Opaque { owner, pid, .. } = output {
                        meet(&owners, &mut pipeline, owner, pid, batch.now);
                    }
                    if let Output::Began(began) = &output {
                        meet(&owners, &mut pipeline, began.owner, began.pid, began.start);
                    }
                    pipeline.take(output);
                }
                pipeline.advance(batch.now);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
        while let Ok(update) = updates.try_recv() {
            pipeline.update(update);
            lock(&owners).ask_again();
        }
        pipeline.tick(Instant::now());
        if clock_at.elapsed() > CLOCK {
            // Wall time may have been set, or slewed.
            clock_at = Instant::now();
            pipeline.set_clock(clock_offset());
        }
        if pipeline.stopped() {
            stop.store(true, Ordering::Relaxed);
        }
    }
    pipeline.finish();
}

/// How often the calendar is compared with the monotonic clock.
const CLOCK: Duration = Duration::from_secs(10);

/// Owners that the kernel side has been told about.
struct Owners {
    control: Control,
    met: OwnerSet,
    ignored: OwnerSet,
}

type OwnerSet = hashbrown::HashSet<OwnerId, rustc_hash::FxBuildHasher>;

/// Owners remembered; beyond that all are forgotten and told again.
const MET: usize = 16384;

impl Owners {
    fn new(control: Control) -> Self {
        Self {
            control,
            met: OwnerSet::default(),
            ignored: OwnerSet::default(),
        }
    }

    /// Whether an owner is seen for the first time.
    fn is_new(&mut self, owner: OwnerId) -> bool {
        if self.met.contains(&owner) {
            return false;
        }
        if self.met.len() >= MET {
            self.met.clear();
        }
        self.met.insert(owner);
        true
    }

    /// Nothing is wanted of this owner. What is ignored must be remembered, so
    /// that another plan can ask again; what finds no room is refused by the
    /// stages one by one.
    fn ignore(&mut self, owner: OwnerId) {
        if self.ignored.len() < MET {
            self.ignored.insert(owner);
            self.tell(owner, Verdict::Ignore);
        }
    }

    /// Something may be wanted of those that were ignored.
    fn ask_again(&mut self) {
        for owner in self.ignored.drain() {
            self.met.remove(&owner);
            self.control.forget(owner);
        }
    }

    fn tell(&mut self, owner: OwnerId, verdict: Verdict) {
        if let Err(error) = self.control.set(owner, verdict) {
            tracing::debug!("owner {:#x}: {error}", owner.0);
        }
    }
}

/// At first sight of an owner, says whether its cgroup is one workload or
/// holds several.
fn meet(
    owners: &Mutex<Owners>,
    pipeline: &mut Pipeline<Identifier>,
    owner: OwnerId,
    pid: u32,
    now: MonoNanos,
) {
    let mut owners = lock(owners);
    if !owners.is_new(owner) {
        return;
    }
    let verdict = match pipeline.identify().granularity(owner, pid, now) {
        Granularity::PerCgroup => Verdict::Watch,
        Granularity::PerProcess if owner.0 & agent_ebpf::OWNER_PROCESS != 0 => Verdict::Watch,
        Granularity::PerProcess => Verdict::PerProcess,
    };
    owners.tell(owner, verdict);
}

fn lock(owners: &Mutex<Owners>) -> MutexGuard<'_, Owners> {
    owners.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Brings the kernel's counts into the ledger.
pub(super) fn account(gauges: &Gauges, ledger: &Ledger, bytes: &Traffic) {
    let kernel = gauges.read();
    let get = |counter| kernel.get(counter);
    ledger.records.seen.set(get(Counter::Records));
    ledger
        .records
        .lost
        .set(Lost::RingFull, get(Counter::RingFull));
    for (reason, counter) in [
        (Missed::MapFull, Counter::SocketsFull),
        (Missed::Fault, Counter::Fault),
        (Missed::KernelPages, Counter::NoBytes),
        (Missed::Oversized, Counter::Pieces),
        (Missed::Mptcp, Counter::Mptcp),
        (Missed::SpliceRead, Counter::SpliceRead),
        (Missed::Sockmap, Counter::Sockmap),
        (Missed::KernelTls, Counter::KernelTls),
    ] {
        ledger.records.missed.set(reason, get(counter));
    }
    ledger
        .records
        .missed
        .set(Missed::Recursion, kernel.missed_runs());
    bytes
        .moved
        .store(get(Counter::MovedBytes), Ordering::Relaxed);
    bytes.ring.store(get(Counter::RingBytes), Ordering::Relaxed);
    bytes
        .skipped
        .store(get(Counter::SkippedBytes), Ordering::Relaxed);
    bytes
        .ignored_calls
        .store(get(Counter::Ignored), Ordering::Relaxed);
}

/// Bytes that watched sockets moved, and how many of them came up.
#[derive(Debug, Default)]
pub(super) struct Traffic {
    /// Moved by the calls of watched sockets.
    pub(super) moved: AtomicU64,
    /// Crossed the ring.
    pub(super) ring: AtomicU64,
    /// Below `skip_to`.
    pub(super) skipped: AtomicU64,
    /// Calls on sockets known not to speak HTTP.
    pub(super) ignored_calls: AtomicU64,
}

/// `CLOCK_MONOTONIC` now, the clock of the records.
pub(super) fn now() -> MonoNanos {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    MonoNanos(nanos(time).unsigned_abs())
}

/// `CLOCK_REALTIME` minus `CLOCK_MONOTONIC`.
pub(super) fn clock_offset() -> ClockOffset {
    let real = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    let mono = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    ClockOffset(nanos(real).saturating_sub(nanos(mono)))
}

fn nanos(time: rustix::time::Timespec) -> i64 {
    time.tv_sec
        .saturating_mul(1_000_000_000)
        .saturating_add(time.tv_nsec)
}
