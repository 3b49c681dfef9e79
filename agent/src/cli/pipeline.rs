//! From assembled exchanges to exported spans: identify, decide, link, export.
//!
//! One struct, one thread, no I/O of its own but what `identify` asks the
//! host. Sources feed it through [`Pipeline::take`].

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::exits::Exits;
use super::notes::Notes;
use super::waiting::{Beginning, Fate, Item, Waiting};
use super::workloads::Workloads;
use crate::assemble::{Began, Exchange, Output, Reading, Spare, Text};
use crate::decide::{Chosen, Decider, NotTraced, Plan, Sampling};
use crate::export::content::Request;
use crate::export::{Exporter, Wording};
use crate::identify::{Identify, Known, Naming};
use crate::ledger::{self, Dropped, Event, Ledger, NotSampled};
use crate::link::{
    Backend, ClockOffset, Decided, Identity, IdentityKey, Limits, Linker, Minter, Timing, alone,
};
use crate::sample::{DecidedBy, Sampler, SamplerCounters, SamplerVerdict, decide};
use crate::units::{MonoNanos, OwnerId};

/// What a configuration wants of the stage that reads records.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// Server ports; all if empty.
    pub ports: Vec<u16>,
    /// How requests are read.
    pub reading: Reading,
}

/// What a reload changes. It comes with the records, so that each request is
/// read, named and decided by one configuration.
pub struct Update {
    /// What the reader does from now on.
    pub wish: Wish,
    /// What is traced and to where from now on.
    pub plan: Arc<Plan>,
    /// What workloads are called.
    pub naming: Naming,
    /// Key of the wire identity.
    pub key: IdentityKey,
    /// Another sampler, if it is another.
    pub sampler: Option<Sampler>,
    /// What prints, if that has changed.
    pub printed: Option<Printed>,
    /// Backends that are new.
    pub opened: Vec<(Backend, Box<dyn Exporter>)>,
    /// Backends that no plan needs any more.
    pub retired: Vec<Backend>,
    /// Somebody waits to be told that it is in force.
    pub awaited: bool,
}

impl Update {
    /// This change and a later one as one.
    #[must_use]
    pub fn then(mut self, mut later: Self) -> Self {
        self.opened.append(&mut later.opened);
        self.retired.append(&mut later.retired);
        Self {
            sampler: later.sampler.or(self.sampler),
            printed: later.printed.or(self.printed),
            opened: self.opened,
            retired: self.retired,
            awaited: self.awaited || later.awaited,
            ..later
        }
    }
}

/// What prints all spans, if anything does.
pub type Printed = Option<Box<dyn Exporter>>;

/// An owner that nothing is wanted of.
pub type OnIgnored = Box<dyn FnMut(OwnerId) + Send>;

/// The stages behind `assemble`.
pub struct Pipeline<I> {
    identify: I,
    decider: Decider,
    sampler: Sampler,
    minter: Minter,
    linker: Linker,
    exits: Exits,
    ledger: Arc<Ledger>,
    /// Exchanges in flight that will yield no span, and why.
    refused: HashMap<u64, Refused, FxBuildHasher>,
    on_ignored: Option<OnIgnored>,
    /// Exchanges whose owners are not known yet.
    waiting: Waiting,
    notes: Option<Notes>,
    /// Of the request that begins next, if paths decide anything.
    target: Option<Box<[u8]>>,
    /// The same request's line, if names decide anything.
    line: Box<Text>,
    /// Exchanges whose spans are out: memory for the next ones.
    done: Spare,
    clock: ClockOffset,
    /// The record time, as far as it was told.
    now: MonoNanos,
    /// Exchanges come when they are over only.
    only_finished: bool,
}

/// Exchanges that are kept for [`Pipeline::done`].
const MAX_DONE: usize = 1024;

/// Why an exchange yields no span.
#[derive(Clone, Copy, Debug)]
enum Refused {
    NotSelected(ledger::NotSelected),
    NotSampled(NotSampled),
    Dropped(Dropped),
}

impl<I: Identify> Pipeline<I> {
    /// A pipeline that makes ids with this key, holds exchanges for their
    /// other halves for so long, decides by this plan and ends in these exits.
    #[expect(clippy::too_many_arguments, reason = "all stages, and nothing twice")]
    pub fn new(
        key: IdentityKey,
        timing: Timing,
        plan: Arc<Plan>,
        sampler: Sampler,
        identify: I,
        exits: Exits,
        ledger: Arc<Ledger>,
        clock: ClockOffset,
    ) -> Self {
        let mut identify = identify;
        let now = MonoNanos::default();
        if let Some(directory) = &plan.directory {
            identify.learn(directory, now);
        }
        Self {
            minter: Minter::new(key),
            linker: Linker::new(timing, Limits::default(), clock),
            identify,
            sampler,
            decider: Decider::new(plan),
            exits,
            ledger,
            refused: HashMap::default(),
            on_ignored: None,
            waiting: Waiting::default(),
            notes: None,
            target: None,
            line: Box::default(),
            done: Spare::new(),
            clock,
            now,
            only_finished: false,
        }
    }

    /// Decides by another plan from now on. Exchanges that have begun stay as
    /// they were decided.
    pub fn update(&mut self, update: Update) {
        for (backend, exporter) in update.opened {
            self.exits.open(backend, exporter);
        }
        if let Some(sampler) = update.sampler {
            self.account();
            self.sampler = sampler;
        }
        if let Some(printed) = update.printed {
            self.exits.print(printed);
        }
        self.minter = Minter::new(update.key);
        self.identify.rename(update.naming);
        if let Some(directory) = &update.plan.directory {
            self.identify.learn(directory, self.now);
        }
        let before = Arc::clone(self.decider.plan());
        self.decider.replace(update.plan);
        if let Some(notes) = &mut self.notes {
            notes.update(&before, &mut self.decider, &self.identify);
        }
        if !self.waiting.is_empty() {
            self.release();
        }
        for backend in update.retired {
            self.exits.retire(backend);
        }
    }

    /// Whether nothing is wanted of an owner under the plan in force, as far as
    /// that is known without asking anybody.
    pub fn ignores(&mut self, owner: OwnerId) -> bool {
        let known = self.identify.recall(owner);
        known.is_some_and(|known| self.decider.ignores(known))
    }

    /// Calls this once for each owner of which nothing is wanted, so that the
    /// kernel side can leave it alone.
    pub fn on_ignored(&mut self, tell: OnIgnored) {
        self.on_ignored = Some(tell);
    }

    /// Exchanges come when they are over only: of servers whose clients nobody
    /// observes, so that there is nothing to link.
    pub const fn only_finished(&mut self) {
        self.only_finished = true;
    }

    /// Exchanges whose spans are out: memory for the next ones.
    pub const fn done(&mut self) -> &mut Spare {
        &mut self.done
    }

    /// Notes here what becomes of the workloads.
    pub fn note_in(&mut self, workloads: Arc<Workloads>) {
        self.notes = Some(Notes::new(workloads));
    }

    /// The stage that knows the workloads.
    pub fn identify(&mut self) -> &mut I {
        &mut self.identify
    }

    /// Sets the calendar anew.
    pub fn set_clock(&mut self, clock: ClockOffset) {
        self.linker.set_clock(clock);
    }

    /// Takes what the assembler has to say.
    pub fn take(&mut self, output: Output) {
        match output {
            Output::Target(target) => self.target = Some(target),
            Output::Line(line) => self.line = line,
            Output::Began(began) => self.began(&began),
            Output::Finished(exchange) if self.only_finished => self.alone(exchange),
            Output::Finished(exchange) => self.finished(exchange),
            Output::Opaque {
                owner,
                pid,
                protocol,
            } => {
                let at = Asked {
                    owner,
                    pid,
                    local: None,
                    now: self.now,
                };
                let known = find(&mut self.identify, &mut self.decider, at);
                let standing = known.map(|known| self.decider.standing(known, at.now));
                let service = standing.as_ref().map(|standing| &*standing.service);
                self.ledger.opaque(service.unwrap_or("(unknown)"), protocol);
            }
        }
    }

    /// Tells the record time: what has settled becomes spans.
    pub fn advance(&mut self, now: MonoNanos) {
        self.now = self.now.max(now);
        if self.waiting.is_due(self.now) {
            self.release();
        }
        let (exits, ledger, done) = (&mut self.exits, &*self.ledger, &mut self.done);
        self.linker.advance(now, |linked| {
            exits.export(linked.backend, &linked.span, ledger);
            keep(done, linked.span.exchange);
        });
    }

    /// Tells the wall time: batches that waited long enough go out.
    pub fn tick(&mut self, now: Instant) {
        self.exits.tick(now);
        self.account();
    }

    /// Brings what the stages count themselves into the ledger.
    fn account(&mut self) {
        let SamplerCounters { forgotten, crowded } = self.sampler.take_counters();
        let events = &self.ledger.events;
        events.add(Event::SamplerForgot, forgotten);
        events.add(Event::SamplingCrowded, crowded);
        super::events::linked(self.linker.counters(), &self.ledger);
    }

    /// Whether every output's reader has gone away.
    pub fn stopped(&self) -> bool {
        self.exits.stopped()
    }

    /// Nothing more will come: everything that is finished goes out. Dropping
    /// the exporters then ends their workers.
    pub fn finish(mut self) {
        for item in std::mem::take(&mut self.waiting).into_items() {
            // Of those in flight the assembler has told.
            if let Item::Finished(_) = item {
                self.ledger.exchanges.observed.add(1);
                self.count(Some(Refused::Dropped(Dropped::UnknownOwner)));
            }
        }
        self.account();
        let (exits, ledger) = (&mut self.exits, &*self.ledger);
        self.linker.flush(|linked| {
            exits.export(linked.backend, &linked.span, ledger);
        });
        exits.flush();
    }

    #[inline(never)]
    fn began(&mut self, began: &Began) {
        let target = self.target.take().unwrap_or_default();
        let line = std::mem::take(&mut self.line);
        let held = self
            .judge(began, &target, &line)
            .and_then(|(identity, decided)| {
                let backend = decided.backend;
                let held = self.linker.began(began, identity, decided);
                held.map_err(|_full| Refused::Dropped(Dropped::Overload))?;
                self.exits.hold(backend);
                Ok(())
            });
        if let Err(reason) = held {
            self.refuse(began, target, line, reason);
        }
    }

    /// An exchange is not reported, or not yet.
    #[inline(never)]
    fn refuse(&mut self, began: &Began, target: Box<[u8]>, line: Box<Text>, reason: Refused) {
        let unknown = matches!(reason, Refused::Dropped(Dropped::UnknownOwner));
        if !unknown || !self.identify.awaits(began.owner, began.pid) {
            self.refused.insert(began.serial, reason);
            return;
        }
        let beginning = Beginning {
            began: *began,
            target,
            line,
        };
        if self.waiting.began(beginning, self.now.max(began.start)) {
            self.ledger.events.add(Event::OwnerAwaited, 1);
        } else {
            let full = Refused::Dropped(Dropped::Overload);
            self.refused.insert(began.serial, full);
        }
    }

    /// Decides about exchanges whose owners are known by now, and gives up
    /// those that have waited for too long.
    #[cold]
    fn release(&mut self) {
        let (identify, now) = (&self.identify, self.now);
        let known = |began: &Began| !identify.awaits(began.owner, began.pid);
        for (item, fate) in self.waiting.take(now, known) {
            match (item, fate) {
                (Item::Finished(exchange), _) => self.finished(exchange),
                (Item::Began(Beginning { began, .. }), Fate::Expired) => {
                    let unknown = Refused::Dropped(Dropped::UnknownOwner);
                    self.refused.insert(began.serial, unknown);
                }
                (Item::Began(beginning), Fate::Known) => self.resume(beginning),
            }
        }
    }

    fn resume(&mut self, beginning: Beginning) {
        let Beginning {
            began,
            target,
            line,
        } = beginning;
        let held = self
            .judge(&began, &target, &line)
            .and_then(|(identity, decided)| {
                let backend = decided.backend;
                let held = self.linker.resumed(&began, identity, decided);
                held.map_err(|_full| Refused::Dropped(Dropped::Overload))?;
                self.exits.hold(backend);
                Ok(())
            });
        if let Err(reason) = held {
            self.refuse(&began, target, line, reason);
        }
    }

    /// Whether an exchange is reported, and what is known of it then. `line`
    /// has the request's line if names decide anything.
    #[inline(always)]
    fn judge(
        &mut self,
        began: &Began,
        target: &[u8],
        line: &Text,
    ) -> Result<(Identity, Decided), Refused> {
        let at = Asked {
            owner: began.owner,
            pid: began.pid,
            local: began.local.map(|local| local.ip),
            now: began.start,
        };
        let Some(known) = find(&mut self.identify, &mut self.decider, at) else {
            return Err(Refused::Dropped(Dropped::UnknownOwner));
        };
        let chosen = self.decider.choose(known, began, target);
        if let Some(notes) = &mut self.notes {
            let refused = chosen.as_ref().err().map(|not| not.reason);
            notes.note(&mut self.decider, known, began, refused);
        }
        let chosen = match chosen {
            Ok(chosen) => chosen,
            Err(NotTraced { reason, forever }) => {
                if forever && let Some(tell) = &mut self.on_ignored {
                    tell(began.owner);
                }
                return Err(Refused::NotSelected(reason));
            }
        };
        let Chosen {
            workload,
            route,
            peer_observed,
            remote,
        } = chosen;
        let identity = self.minter.mint(began, route.width);
        let sampler = &mut self.sampler;
        let wording = Wording {
            name_limit: self.decider.plan().name_limit,
            ..Wording::default()
        };
        let verdict = decide(began.context.decision, || match route.sampling {
            Sampling::Configured => {
                let operation = |name: &mut Vec<u8>| {
                    Request::line(line, wording).name(|piece| name.extend(piece));
                };
                sampler.decide(&workload.service, operation, identity.trace, began.start)
            }
            Sampling::Percentage(percentage) => SamplerVerdict {
                sampled: percentage.sample(identity.trace),
                limited: false,
                tag: None,
            },
        });
        if !verdict.sampled {
            return Err(Refused::NotSampled(match verdict.by {
                DecidedBy::Request => NotSampled::Denied,
                DecidedBy::Sampler => NotSampled::Sampler,
                DecidedBy::RateLimit => NotSampled::RateLimit,
            }));
        }
        let decided = Decided {
            workload,
            key: known.key,
            backend: route.backend,
            shared_spans: route.shared_spans,
            debug: verdict.debug || route.debug,
            sampler: verdict.tag,
            remote,
            peer_observed,
        };
        Ok((identity, decided))
    }

    /// An exchange that is linked with nothing.
    #[inline(always)]
    fn alone(&mut self, exchange: Box<Exchange>) {
        self.ledger.exchanges.observed.add(1);
        let text = &exchange.text;
        match self.judge(&exchange.began, text.target(), text) {
            Ok((identity, decided)) => {
                self.exits.hold(decided.backend);
                let linked = alone(exchange, &identity, decided, self.clock);
                self.exits
                    .export(linked.backend, &linked.span, &self.ledger);
                keep(&mut self.done, linked.span.exchange);
            }
            Err(reason) => self.count(Some(reason)),
        }
    }

    #[inline(never)]
    fn finished(&mut self, exchange: Box<Exchange>) {
        let serial = exchange.began.serial;
        let Err(exchange) = self.linker.finished(exchange) else {
            self.ledger.exchanges.observed.add(1);
            return;
        };
        if !self.waiting.is_empty() && self.waiting.finished(exchange, self.now).is_ok() {
            return;
        }
        self.ledger.exchanges.observed.add(1);
        let reason = self.refused.remove(&serial);
        self.count(reason);
    }

    /// An exchange yields no span.
    #[inline(never)]
    fn count(&self, reason: Option<Refused>) {
        let exchanges = &self.ledger.exchanges;
        match reason {
            Some(Refused::NotSelected(reason)) => exchanges.not_selected.add(reason, 1),
            Some(Refused::NotSampled(reason)) => exchanges.not_sampled.add(reason, 1),
            Some(Refused::Dropped(reason)) => exchanges.dropped.add(reason, 1),
            None => exchanges.dropped.add(Dropped::Overload, 1),
        }
    }
}

/// Keeps the memory of a span that is out.
#[inline(always)]
fn keep(done: &mut Spare, exchange: Box<Exchange>) {
    if done.len() < MAX_DONE {
        done.push(exchange);
    }
}

/// Whose workload is wanted.
#[derive(Clone, Copy)]
struct Asked {
    owner: OwnerId,
    pid: u32,
    /// This end's address.
    local: Option<IpAddr>,
    now: MonoNanos,
}

/// The workload of an exchange, after the decider has got to know where it
/// listens.
#[inline(always)]
fn find<'a, I: Identify>(
    identify: &'a mut I,
    decider: &mut Decider,
    Asked {
        owner,
        pid,
        local,
        now,
    }: Asked,
) -> Option<&'a Known> {
    if decider.plan().has_policies() {
        let known = identify.known(owner, pid, local, now)?;
        if decider.asks(known, now) {
            let key = known.key;
            let listens = identify.listening(owner, pid);
            decider.learn(key, &listens, now);
        }
    }
    identify.known(owner, pid, local, now)
}
