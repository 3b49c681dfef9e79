//! From assembled exchanges to exported spans: identify, decide, link, export.
//!
//! One struct, one thread, no I/O of its own but what `identify` asks the
//! host. Sources feed it through [`Pipeline::take`].

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use crate::assemble::{Began, Exchange, Output, Spare};
use crate::export::Exporter;
use crate::identify::Identify;
use crate::ledger::{self, Dropped, Ledger, NotSampled};
use crate::link::{
    Backend, ClockOffset, Decided, Identity, IdentityKey, Limits, Linked, Linker, Minter, Timing,
    TraceWidth, alone,
};
use crate::policy::{NotSelected, OwnerVerdict, Selection};
use crate::sample::{DecidedBy, Sampler, decide};
use crate::units::{MonoNanos, OwnerId};

/// What the stages are told.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// What is traced.
    pub selection: Selection,
    /// Decides where a request does not.
    pub sampler: Sampler,
    /// Key of the wire identity.
    pub key: IdentityKey,
    /// Width of new trace ids.
    pub width: TraceWidth,
    /// Both halves of a hop share one id.
    pub shared_spans: bool,
    /// All spans say `debug`.
    pub debug: bool,
    /// How long exchanges are held for their other halves.
    pub timing: Timing,
}

/// An owner that nothing is wanted of.
pub type OnIgnored = Box<dyn FnMut(OwnerId) + Send>;

/// The stages behind `assemble`.
pub struct Pipeline<I> {
    options: Options,
    identify: I,
    minter: Minter,
    linker: Linker,
    exporters: Vec<Box<dyn Exporter>>,
    ledger: Arc<Ledger>,
    /// Exchanges in flight that will yield no span, and why.
    refused: HashMap<u64, Refused, FxBuildHasher>,
    on_ignored: Option<OnIgnored>,
    /// Of the request that begins next, if paths decide anything.
    target: Option<Box<[u8]>>,
    /// Exchanges whose spans are out: memory for the next ones.
    done: Spare,
    clock: ClockOffset,
    /// Exchanges come when they are over only.
    only_finished: bool,
}

/// Exchanges that are kept for [`Pipeline::done`].
const MAX_DONE: usize = 1024;

/// Why an exchange yields no span.
#[derive(Clone, Copy, Debug)]
enum Refused {
    NotSelected(NotSelected),
    NotSampled(NotSampled),
    Dropped(Dropped),
}

impl<I: Identify> Pipeline<I> {
    /// A pipeline that ends in these exporters.
    pub fn new(
        options: Options,
        identify: I,
        exporters: Vec<Box<dyn Exporter>>,
        ledger: Arc<Ledger>,
        clock: ClockOffset,
    ) -> Self {
        Self {
            minter: Minter::new(options.key),
            linker: Linker::new(options.timing, Limits::default(), clock),
            options,
            identify,
            exporters,
            ledger,
            refused: HashMap::default(),
            on_ignored: None,
            target: None,
            done: Spare::new(),
            clock,
            only_finished: false,
        }
    }

    /// Calls this once for each owner of which nothing is wanted, so that the
    /// kernel side can leave it alone.
    pub fn on_ignored(&mut self, tell: OnIgnored) {
        self.on_ignored = Some(tell);
    }

    /// The stage that knows the workloads.
    pub fn identify(&mut self) -> &mut I {
        &mut self.identify
    }

    /// Sets the calendar anew.
    pub fn set_clock(&mut self, clock: ClockOffset) {
        self.clock = clock;
        self.linker.set_clock(clock);
    }

    /// Only servers are observed, so that nothing is linked and nobody has to
    /// be told of an exchange before it is over.
    pub const fn only_finished(&mut self) {
        self.only_finished = true;
    }

    /// Exchanges that nobody needs any more, for the assembler to use again.
    pub const fn done(&mut self) -> &mut Spare {
        &mut self.done
    }

    /// Takes what the assembler has to say.
    #[inline]
    pub fn take(&mut self, output: Output) {
        match output {
            Output::Target(target) => self.target = Some(target),
            Output::Line(_) => {}
            Output::Began(began) => self.began(&began),
            Output::Finished(exchange) if self.only_finished => self.alone(exchange),
            Output::Finished(exchange) => self.finished(exchange),
            Output::Opaque {
                owner,
                pid,
                protocol,
            } => {
                let known = self.identify.known(owner, pid, None, MonoNanos::default());
                let service = known.map_or("(unknown)", |known| &known.workload.service);
                self.ledger.opaque(service, protocol);
            }
        }
    }

    /// Tells the record time: what has settled becomes spans.
    pub fn advance(&mut self, now: MonoNanos) {
        let Self {
            linker,
            exporters,
            ledger,
            done,
            ..
        } = self;
        linker.advance(now, |linked| {
            export(exporters, ledger, &linked);
            keep(done, linked.span.exchange);
        });
    }

    /// Tells the wall time: batches that waited long enough go out.
    pub fn tick(&mut self, now: Instant) {
        for exporter in &mut self.exporters {
            exporter.tick(now);
        }
    }

    /// Whether every output's reader has gone away.
    pub fn stopped(&self) -> bool {
        !self.exporters.is_empty() && self.exporters.iter().all(|exporter| exporter.stopped())
    }

    /// Nothing more will come: everything that is finished goes out. Dropping
    /// the exporters then ends their workers.
    pub fn finish(mut self) {
        let Self {
            linker,
            exporters,
            ledger,
            ..
        } = &mut self;
        linker.flush(|linked| export(exporters, ledger, &linked));
        for exporter in exporters {
            exporter.flush();
        }
    }

    #[inline(never)]
    fn began(&mut self, began: &Began) {
        let target = self.target.take().unwrap_or_default();
        let held = self.judge(began, &target).and_then(|(identity, decided)| {
            let held = self.linker.began(began, identity, decided);
            held.map_err(|_full| Refused::Dropped(Dropped::Overload))
        });
        if let Err(reason) = held {
            self.refused.insert(began.serial, reason);
        }
    }

    /// Whether an exchange is reported, and what is known of it then.
    #[inline(always)]
    fn judge(&mut self, began: &Began, target: &[u8]) -> Result<(Identity, Decided), Refused> {
        let local = began.local.map(|local| local.ip);
        let Some(known) = self
            .identify
            .known(began.owner, began.pid, local, began.start)
        else {
            return Err(Refused::Dropped(Dropped::UnknownOwner));
        };
        if let OwnerVerdict::Ignore(reason) = self.options.selection.owner(known) {
            if let Some(tell) = &mut self.on_ignored {
                tell(began.owner);
            }
            return Err(Refused::NotSelected(reason));
        }
        self.options
            .selection
            .began(known, began)
            .map_err(Refused::NotSelected)?;
        self.options
            .selection
            .target(target)
            .map_err(Refused::NotSelected)?;
        let identity = self.minter.mint(began, self.options.width);
        let verdict = decide(
            began.context.decision,
            &mut self.options.sampler,
            identity.trace,
        );
        if !verdict.sampled {
            return Err(Refused::NotSampled(match verdict.by {
                DecidedBy::Request => NotSampled::Denied,
                DecidedBy::Sampler => NotSampled::Sampler,
            }));
        }
        let decided = Decided {
            workload: Arc::clone(&known.workload),
            key: known.key,
            backend: Backend::default(),
            shared_spans: self.options.shared_spans,
            debug: verdict.debug || self.options.debug,
            sampler: verdict.tag,
            peer_observed: false,
        };
        Ok((identity, decided))
    }

    /// An exchange that is linked with nothing.
    #[inline(always)]
    fn alone(&mut self, exchange: Box<Exchange>) {
        self.ledger.exchanges.observed.add(1);
        match self.judge(&exchange.began, exchange.text.target()) {
            Ok((identity, decided)) => {
                let linked = alone(exchange, &identity, decided, self.clock);
                export(&mut self.exporters, &self.ledger, &linked);
                keep(&mut self.done, linked.span.exchange);
            }
            Err(reason) => self.account(Some(reason)),
        }
    }

    #[inline(never)]
    fn finished(&mut self, exchange: Box<Exchange>) {
        self.ledger.exchanges.observed.add(1);
        let serial = exchange.began.serial;
        if self.linker.finished(exchange).is_ok() {
            return;
        }
        let reason = self.refused.remove(&serial);
        self.account(reason);
    }

    /// An exchange yields no span.
    #[inline(never)]
    fn account(&self, reason: Option<Refused>) {
        let exchanges = &self.ledger.exchanges;
        match reason {
            Some(Refused::NotSelected(reason)) => exchanges.not_selected.add(in_ledger(reason), 1),
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

#[inline(always)]
fn export(exporters: &mut [Box<dyn Exporter>], ledger: &Ledger, linked: &Linked) {
    ledger.exchanges.spans.add(1);
    ledger
        .exchanges
        .copies
        .add((exporters.len() as u64).saturating_sub(1));
    for exporter in exporters {
        exporter.export(&linked.span);
    }
}

/// The ledger's name for a reason.
fn in_ledger(reason: NotSelected) -> ledger::NotSelected {
    match reason {
        NotSelected::NotIncluded | NotSelected::Excluded => ledger::NotSelected::ExcludedWorkload,
        NotSelected::Port => ledger::NotSelected::ExcludedPort,
        NotSelected::Path => ledger::NotSelected::ExcludedPath,
        NotSelected::Headerless => ledger::NotSelected::Headerless,
    }
}
