//! The live run: probes, two threads of stages, and a runtime for the rest.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_ebpf::{Counter, Verdict};

use super::pipeline::Pipeline;
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
        ports: Vec<u16>,
        stop: &Arc<AtomicBool>,
        ledger: &Arc<Ledger>,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(BATCHES);
        let asked_to_stop = Arc::clone(stop);
        let accounts = Arc::clone(ledger);
        let reader = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                let outcome = read(live, assembler, &sender, &ports, &asked_to_stop, &accounts);
                if let Err(error) = outcome {
                    tracing::error!("the reader ends: {error}");
                }
                asked_to_stop.store(true, Ordering::Relaxed);
            })?;
        let asked_to_stop = Arc::clone(stop);
        let stages = thread::Builder::new()
            .name("stages".to_owned())
            .spawn(move || run_stages(pipeline, control, &receiver, &asked_to_stop))?;
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
    ports: &[u16],
    stop: &AtomicBool,
    ledger: &Ledger,
) -> Result<(), LiveError> {
    let mut outputs = Vec::new();
    let mut gone = Vec::new();
    let mut unwanted = Vec::new();
    let mut expired_at = now();
    loop {
        let stopping = stop.load(Ordering::Relaxed);
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

fn run_stages(
    mut pipeline: Pipeline<Identifier>,
    control: Control,
    receiver: &Receiver<Batch>,
    stop: &AtomicBool,
) {
    let control = Arc::new(Mutex::new(control));
    let teller = Arc::clone(&control);
    pipeline.on_ignored(Box::new(move |owner| tell(&teller, owner, Verdict::Ignore)));
    let mut known = KnownOwners::default();
    let mut clock_at = Instant::now();
    loop {
        match receiver.recv_timeout(NAP) {
            Ok(batch) => {
                for output in batch.outputs {
                    if let Output::Opaque { owner, pid, .. } = output {
                        known.meet(&mut pipeline, &control, owner, pid, batch.now);
                    }
                    if let Output::Began(began) = &output {
                        known.meet(&mut pipeline, &control, began.owner, began.pid, began.start);
                    }
                    pipeline.take(output);
                }
                pipeline.advance(batch.now);
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
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
#[derive(Default)]
struct KnownOwners {
    met: hashbrown::HashSet<OwnerId, rustc_hash::FxBuildHasher>,
}

/// Owners remembered; beyond that all are forgotten and told again.
const MET: usize = 16384;

impl KnownOwners {
    /// At first sight of an owner, says whether its cgroup is one workload or
    /// holds several.
    fn meet(
        &mut self,
        pipeline: &mut Pipeline<Identifier>,
        control: &Mutex<Control>,
        owner: OwnerId,
        pid: u32,
        now: MonoNanos,
    ) {
        if self.met.contains(&owner) {
            return;
        }
        if self.met.len() >= MET {
            self.met.clear();
        }
        self.met.insert(owner);
        let verdict = match pipeline.identify().granularity(owner, pid, now) {
            Granularity::PerCgroup => Verdict::Watch,
            Granularity::PerProcess if owner.0 & agent_ebpf::OWNER_PROCESS != 0 => Verdict::Watch,
            Granularity::PerProcess => Verdict::PerProcess,
        };
        tell(control, owner, verdict);
    }
}

fn tell(control: &Mutex<Control>, owner: OwnerId, verdict: Verdict) {
    let mut control = control.lock().unwrap_or_else(PoisonError::into_inner);
    if let Err(error) = control.set(owner, verdict) {
        tracing::debug!("owner {:#x}: {error}", owner.0);
    }
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
