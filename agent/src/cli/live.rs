//! The live run: probes, two threads of stages, and a runtime for the rest.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use agent_ebpf::Counter;
use hashbrown::HashSet;

use super::introductions::Introductions;
use super::owners::{Owners, process_of};
use super::pipeline::{Pipeline, Update, Wish};
use super::reload::tell_in_force;
use super::{RunError, events};
use crate::assemble::{Assembler, Output};
use crate::capture::live::{Control, KernelCounters, Live, LiveError};
use crate::capture::{Command, Event};
use crate::identify::{Identifier, Identify as _};
use crate::ledger::{Event as Counted, Ledger, Lost, Missed};
use crate::link::ClockOffset;
use crate::units::{MonoNanos, OwnerId, SocketId};

/// Records read before the outputs are handed on.
const BUDGET: usize = 4096;
/// Longest sleep of the reader: how late a stop is noticed.
const NAP: Duration = Duration::from_millis(250);
/// How long after the programs are detached the last of their records may
/// come.
const LAST_RECORDS: Duration = Duration::from_millis(20);
/// Batches between the reader and the stages. When they are full the reader
/// waits, the ring fills, and the kernel counts what it loses.
const BATCHES: usize = 64;
/// How often idle connections are looked for.
const EXPIRY: u64 = 5_000_000_000;

/// What the reader hands to the stages.
struct Batch {
    /// Holds for the outputs of this batch and all that come after it.
    update: Option<Update>,
    introduced: Introductions,
    outputs: Vec<Output>,
    now: MonoNanos,
}

/// The two threads of a live run.
pub(super) struct Threads {
    reader: thread::JoinHandle<Result<(), LiveError>>,
    stages: thread::JoinHandle<()>,
}

/// Tells the main thread that one of the others has ended, however it did.
struct Ends(Arc<AtomicBool>);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Threads {
    /// Starts both.
    pub(super) fn start(
        live: Live,
        assembler: Assembler,
        pipeline: Pipeline<Identifier>,
        control: Control,
        orders: Orders,
        stop: &Arc<AtomicBool>,
        accounts: &Accounts,
    ) -> std::io::Result<Self> {
        let (sender, receiver) = sync_channel(BATCHES);
        let asked_to_stop = Arc::clone(stop);
        let accounts = accounts.clone();
        let reader = thread::Builder::new()
            .name("reader".to_owned())
            .spawn(move || {
                let ends = Ends(asked_to_stop);
                read(live, assembler, &sender, orders, &ends.0, &accounts)
            })?;
        let asked_to_stop = Arc::clone(stop);
        let stages = thread::Builder::new()
            .name("stages".to_owned())
            .spawn(move || {
                let ends = Ends(asked_to_stop);
                run_stages(pipeline, control, &receiver, &ends.0);
            })?;
        Ok(Self { reader, stages })
    }

    /// Waits until both are done.
    ///
    /// # Errors
    /// One of them ended before it was told to.
    pub(super) fn join(self) -> Result<(), RunError> {
        let (reader, stages) = (self.reader.join(), self.stages.join());
        reader.map_err(|_panic| RunError::Panicked { name: "reader" })??;
        stages.map_err(|_panic| RunError::Panicked { name: "stages" })
    }
}

fn read(
    mut live: Live,
    mut assembler: Assembler,
    sender: &SyncSender<Batch>,
    orders: Orders,
    stop: &AtomicBool,
    Accounts { ledger, taken }: &Accounts,
) -> Result<(), LiveError> {
    let mut outputs = Vec::new();
    let mut introduced = Introductions::default();
    let mut sockets = Sockets::default();
    let mut unwanted = Vec::new();
    let mut expired_at = now();
    let mut closed = None;
    let Orders {
        wish: Wish { mut ports, reading },
        updates,
    } = orders;
    assembler.read_as(reading);
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        if stopping && closed.is_none() {
            // What is seen from now on could not be read.
            live.close();
            closed = Some(Instant::now());
        }
        let update = updates.try_recv().ok();
        if let Some(Update { wish, .. }) = &update {
            assembler.read_as(wish.reading.clone());
            if wish.ports != ports {
                ports.clone_from(&wish.ports);
                for socket in sockets.ignored.drain() {
                    live.apply(&Command::Renew { socket });
                }
            }
        }
        let read = live.drain(BUDGET, |record| {
            match record.event {
                Event::Closed { .. } => sockets.closed(record.socket),
                Event::Opened { local, peer, comm } => {
                    let is_wanted = ports.is_empty()
                        || ports.contains(&local.port)
                        || ports.contains(&peer.port);
                    sockets.opened(record.socket, is_wanted);
                    if is_wanted {
                        introduced.push(record, comm, outputs.len());
                    } else {
                        unwanted.push(Command::Ignore {
                            socket: record.socket,
                            origins: record.origins,
                        });
                    }
                }
                _ => {}
            }
            assembler.push(record, &mut outputs);
        });
        taken.set(live.records_read(), live.malformed());
        taken.unsaid.store(live.unsaid(), Ordering::Relaxed);
        events::assembled(assembler.counters(), ledger);
        let now = now();
        if now.since(expired_at) > EXPIRY {
            expired_at = now;
            assembler.expire(now, &mut outputs);
        }
        for command in assembler.commands().chain(unwanted.drain(..)) {
            live.apply(&command);
        }
        // After the commands: one may speak of a socket that has just closed.
        for socket in sockets.gone.drain() {
            live.forget(socket);
        }
        let batch = Batch {
            update,
            introduced: std::mem::take(&mut introduced),
            outputs: std::mem::take(&mut outputs),
            now,
        };
        let says =
            batch.update.is_some() || !batch.introduced.is_empty() || !batch.outputs.is_empty();
        if (says || read == 0) && sender.send(batch).is_err() {
            return Ok(());
        }
        if read == 0 && closed.is_some_and(|closed| closed.elapsed() > LAST_RECORDS) {
            events::unfinished(assembler.counters(), ledger);
            return Ok(());
        }
        if read < BUDGET {
            live.wait(if stopping { LAST_RECORDS } else { NAP })?;
        }
    }
}

/// What the threads are told.
pub(super) struct Orders {
    /// At the start.
    pub(super) wish: Wish,
    /// And after each reload.
    pub(super) updates: Receiver<Update>,
}

/// What a batch of records says of sockets. The kernel uses an address again as
/// soon as it likes, so a batch may have the end of one and the start of another.
#[derive(Debug, Default)]
struct Sockets {
    /// Those that are closed and not in use again.
    gone: HashSet<SocketId>,
    /// Those that are ignored for their ports, which may change.
    ignored: HashSet<SocketId>,
}

impl Sockets {
    fn opened(&mut self, socket: SocketId, is_wanted: bool) {
        // What is said of the new one must stay; what was said of the old one
        // the programs take for stale.
        self.gone.remove(&socket);
        if !is_wanted && self.ignored.len() < IGNORED {
            self.ignored.insert(socket);
        }
    }

    fn closed(&mut self, socket: SocketId) {
        self.ignored.remove(&socket);
        self.gone.insert(socket);
    }
}

/// Sockets that are remembered as ignored for their ports; others stay ignored
/// when the ports change, until they are closed.
const IGNORED: usize = 65_536;

fn run_stages(
    mut pipeline: Pipeline<Identifier>,
    control: Control,
    receiver: &Receiver<Batch>,
    stop: &AtomicBool,
) {
    let owners = Arc::new(Mutex::new(Owners::new(control)));
    let teller = Arc::clone(&owners);
    pipeline.on_ignored(Box::new(move |owner| lock(&teller).ignore(owner)));
    let mut clock_at = Instant::now();
    let mut tidied_at = clock_at;
    loop {
        match receiver.recv_timeout(NAP) {
            Ok(mut batch) => {
                // What has happened to the host before these records were made.
                pipeline.identify().look(batch.now);
                if let Some(update) = batch.update {
                    let awaited = update.awaited;
                    pipeline.update(update);
                    lock(&owners).ask_again(|owner| pipeline.ignores(owner));
                    tell_in_force(awaited);
                }
                for (place, output) in batch.outputs.into_iter().enumerate() {
                    batch.introduced.tell(place, pipeline.identify());
                    if let Output::Opaque { owner, pid, .. } = output {
                        meet(&owners, &mut pipeline, owner, pid, batch.now);
                    }
                    if let Output::Began(began) = &output {
                        meet(&owners, &mut pipeline, began.owner, began.pid, began.start);
                    }
                    pipeline.take(output);
                }
                batch.introduced.tell(usize::MAX, pipeline.identify());
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
        if tidied_at.elapsed() > TIDY {
            tidied_at = Instant::now();
            let identify = &*pipeline.identify();
            lock(&owners).tidy(|owner| match process_of(owner) {
                Some(pid) => Path::new("/proc").join(pid.to_string()).exists(),
                None => !identify.is_gone(owner),
            });
        }
        if pipeline.stopped() {
            stop.store(true, Ordering::Relaxed);
        }
    }
    pipeline.finish();
}

/// How often processes that may be others by now are asked about again.
const TIDY: Duration = Duration::from_secs(30);

/// How often the calendar is compared with the monotonic clock.
const CLOCK: Duration = Duration::from_secs(10);

/// At first sight of an owner, says whether its cgroup is one workload or
/// holds several.
fn meet(
    owners: &Mutex<Owners<Control>>,
    pipeline: &mut Pipeline<Identifier>,
    owner: OwnerId,
    pid: u32,
    now: MonoNanos,
) {
    let mut owners = lock(owners);
    if owners.is_new(owner) {
        let granularity = pipeline.identify().granularity(owner, pid, now);
        owners.meet(owner, granularity);
    }
}

fn lock(owners: &Mutex<Owners<Control>>) -> MutexGuard<'_, Owners<Control>> {
    owners.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Where the reader counts.
#[derive(Clone, Debug)]
pub(super) struct Accounts {
    pub(super) ledger: Arc<Ledger>,
    pub(super) taken: Arc<Taken>,
}

/// What the reader has taken out of the ring so far. It goes into the ledger
/// together with what the kernel has counted, of which it is a part.
#[derive(Debug, Default)]
pub(super) struct Taken {
    read: AtomicU64,
    malformed: AtomicU64,
    unsaid: AtomicU64,
}

impl Taken {
    fn set(&self, read: u64, malformed: u64) {
        self.read.store(read, Ordering::Release);
        self.malformed.store(malformed, Ordering::Release);
    }
}

/// Brings the counts of the reader and of the kernel into the ledger.
pub(super) fn account(
    Accounts { ledger, taken }: &Accounts,
    kernel: impl FnOnce() -> KernelCounters,
    bytes: &Traffic,
) {
    // The kernel counts a record before the reader gets it. What has been read
    // by now is among what the kernel says afterwards; the other way around
    // more would have been read than seen.
    let read = taken.read.load(Ordering::Acquire);
    let malformed = taken.malformed.load(Ordering::Acquire);
    let kernel = kernel();
    let get = |counter| kernel.get(counter);
    let records = &ledger.records;
    records.seen.set(get(Counter::Records));
    records.read.set(read);
    records.lost.set(Lost::Malformed, malformed);
    records.lost.set(Lost::RingFull, get(Counter::RingFull));
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
        records.missed.set(reason, get(counter));
    }
    records.missed.set(Missed::Recursion, kernel.missed_runs());
    ledger
        .events
        .set(Counted::SendEntryLost, get(Counter::EntrySlot));
    ledger
        .events
        .set(Counted::SkipRefused, taken.unsaid.load(Ordering::Relaxed));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::Snapshot;

    #[test]
    fn a_socket_in_use_again_is_not_forgotten() {
        let mut sockets = Sockets::default();
        let [one, other] = [SocketId(1), SocketId(2)];
        sockets.opened(one, false);
        sockets.closed(one);
        sockets.opened(one, false);
        sockets.opened(other, true);
        sockets.closed(other);
        assert_eq!(sockets.gone, HashSet::from_iter([other]));
        assert_eq!(sockets.ignored, HashSet::from_iter([one]));
        sockets.closed(one);
        assert_eq!(sockets.gone.len(), 2);
        assert!(sockets.ignored.is_empty());
    }

    #[test]
    fn no_more_is_read_than_was_seen() {
        let accounts = Accounts {
            ledger: Ledger::new(),
            taken: Arc::default(),
        };
        let taken = &accounts.taken;
        taken.set(7, 1);
        let kernel = || {
            let mut kernel = KernelCounters::default();
            kernel.counters[Counter::Records as usize] = 10;
            kernel.counters[Counter::RingFull as usize] = 1;
            // What the reader does while the kernel is asked.
            taken.set(12, 2);
            kernel
        };
        account(&accounts, kernel, &Traffic::default());
        // And behind that.
        taken.set(20, 2);
        let Snapshot { records, .. } = accounts.ledger.snapshot();
        assert_eq!((records.seen, records.read), (10, 7));
        assert_eq!(records.lost.values().sum::<u64>(), 2);
    }
}
