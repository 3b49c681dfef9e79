//! `nodespan replay`: the same pipeline over a packet capture.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::signal::unix::{Signal, SignalKind};

use super::args::ReplayArgs;
use super::exits::Exits;
use super::load::{Source, Typed};
use super::pipeline::Pipeline;
use super::printing::Printing;
use super::reload::{Reloader, tell_in_force};
use super::run::listen_for;
use super::{RunError, block_on, events, plan, runtime, watch};
use crate::assemble::{self, Assembler, Output};
use crate::capture::pcap::{Counters, Drained, Observe, PcapSource};
use crate::identify::AddressIdentifier;
use crate::ledger::{Ledger, Reason as _, Snapshot, Undelivered};
use crate::link::{ClockOffset, Timing};
use crate::units::MonoNanos;

/// Records read before the stages behind get their turn.
const BUDGET: usize = 1024;
/// Nanoseconds of capture time between looks for idle connections.
const EXPIRY: u64 = 5_000_000_000;

/// From one look at the clock to the next while a pipe has nothing to read.
const PATIENCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 100_000_000,
};

/// Reads the capture to its end.
pub(super) fn run(args: &ReplayArgs) -> Result<(), RunError> {
    let source = Source::new(&args.common, Typed::default());
    // What is wrong with the configuration is said before the capture is read.
    source.load()?;
    let pcap = |source| RunError::Pcap {
        file: args.file.display().to_string(),
        source,
    };
    let observe = args.observe.into();
    let mut packets = PcapSource::open(&args.file, observe).map_err(pcap)?;
    let ledger = Ledger::new();
    block_on(runtime()?, async {
        // Nobody's own addresses: a capture may come from anywhere.
        let (mut reloader, start) = Reloader::start(source, None, None, HashSet::new(), &ledger)?;
        let settings = reloader.current().settings.clone();
        let printing = Printing::of(reloader.current());
        let mut exits = Exits::new(printing.open(&ledger));
        for (backend, exporter) in start.change.opened {
            exits.open(backend, exporter);
        }
        let identify = AddressIdentifier::new(plan::naming(&settings));
        let mut pipeline = Pipeline::new(
            settings.agent.identity_key,
            Timing::default(),
            start.plan,
            start.sampler,
            identify,
            exits,
            Arc::clone(&ledger),
            // A capture has calendar times.
            ClockOffset(0),
        );
        let mut options = assemble::Options {
            reading: plan::reading(&settings),
            ..assemble::Options::default()
        };
        let alone = observe == Observe::Server;
        if alone {
            options.only_finished = true;
            pipeline.only_finished();
        }
        let mut assembler = Assembler::new(options);
        let mut outputs = Vec::new();
        let mut now = MonoNanos::default();
        let mut expired_at = now;
        let mut changes = match packets.pipe() {
            Some(_) => Some(Changes::new()?),
            // A file is the same whenever it is read, and so are its spans.
            None => None,
        };
        let mut dry = false;
        let end = loop {
            while dry && !readable(packets.pipe()).await {
                hand_over(&mut pipeline, &mut outputs, now);
                if let Some(changes) = &mut changes {
                    changes
                        .follow(&mut reloader, &mut assembler, &mut pipeline)
                        .await;
                }
            }
            // Halves of a call wait for each other by the time of records; where
            // nothing waits the packets' does, and costs less.
            let drained = if alone {
                let drained = packets.drain(BUDGET, &mut |record| {
                    assembler.push(&record, &mut outputs);
                });
                now = packets.latest();
                drained
            } else {
                packets.drain(BUDGET, &mut |record| {
                    now = now.max(record.time());
                    assembler.push(&record, &mut outputs);
                })
            };
            if now.since(expired_at) > EXPIRY {
                expired_at = now;
                assembler.expire(now, &mut outputs);
            }
            for _saved in assembler.commands() {}
            hand_over(&mut pipeline, &mut outputs, now);
            if let Some(changes) = &mut changes {
                changes
                    .follow(&mut reloader, &mut assembler, &mut pipeline)
                    .await;
            }
            assembler.reuse(pipeline.done());
            // Lets the workers send what is ready.
            tokio::task::yield_now().await;
            dry = matches!(drained, Ok(Drained::Dry));
            match drained {
                Ok(Drained::More | Drained::Dry) if pipeline.stopped() => break Ok(false),
                Ok(Drained::More | Drained::Dry) => {}
                Ok(Drained::End { truncated }) => break Ok(truncated),
                // What came before the damage is as good as ever.
                Err(error) => break Err(error),
            }
        };
        assembler.finish(&mut outputs);
        hand_over(&mut pipeline, &mut outputs, now);
        pipeline.finish();
        reloader.finish().await;
        events::assembled(assembler.counters(), &ledger);
        let file = args.file.display();
        if let Some(refused) = refused(&packets.counters()) {
            tracing::warn!("{file}: not read or lost: {refused}");
        }
        let told = ledger.snapshot();
        if told.exchanges.observed > 0 && told.exchanges.spans == 0 {
            tracing::warn!("{file}: no spans: {}", told.summary());
        } else {
            tracing::debug!("{}", told.summary());
        }
        if end.map_err(pcap)? {
            tracing::warn!("{file}: the last record is cut short");
        }
        arrived(&told)
    })
}

/// Fails if a span of the ledger did not reach its backend. Whoever closes the
/// output wants no more of them.
fn arrived(told: &Snapshot) -> Result<(), RunError> {
    let closed = Undelivered::Closed.name();
    let backends = told.backends.iter();
    let dropped = backends.flat_map(|backend| &backend.dropped);
    let spans = dropped
        .filter(|(reason, _)| **reason != closed)
        .map(|(_, spans)| spans)
        .sum();
    if spans == 0 {
        return Ok(());
    }
    let why = told.summary();
    Err(RunError::Undelivered { spans, why })
}

/// Looks whether the configuration has changed while a pipe is read.
struct Changes {
    hangup: Signal,
    next: Instant,
}

impl Changes {
    fn new() -> Result<Self, RunError> {
        Ok(Self {
            hangup: listen_for(SignalKind::hangup())?,
            next: Instant::now(),
        })
    }

    /// If it has, it counts from the next packet on.
    async fn follow(
        &mut self,
        reloader: &mut Reloader,
        assembler: &mut Assembler,
        pipeline: &mut Pipeline<AddressIdentifier>,
    ) {
        let now = Instant::now();
        let asked = tokio::select! {
            biased;
            _ = self.hangup.recv() => true,
            () = std::future::ready(()) => false,
        };
        if asked {
            reloader.reload();
        } else if self.next <= now {
            self.next = now + watch::EVERY;
            reloader.poll(now);
            reloader.reap();
        }
        if let Some(update) = reloader.take() {
            assembler.read_as(update.wish.reading.clone());
            let awaited = update.awaited;
            pipeline.update(update);
            tell_in_force(awaited);
        }
    }
}

/// Whether a read would not wait, now or within [`PATIENCE`]; meanwhile workers
/// and pollers run. Where that cannot be told the read has to find out.
async fn readable(pipe: Option<BorrowedFd<'_>>) -> bool {
    let ready = |pipe: &dyn AsFd, limit: &Timespec| {
        let pipe = pipe.as_fd();
        let found = poll(&mut [PollFd::new(&pipe, PollFlags::IN)], Some(limit));
        !matches!(found, Ok(0) | Err(rustix::io::Errno::INTR))
    };
    let Some(pipe) = pipe else { return true };
    if ready(&pipe, &Timespec::default()) {
        return true;
    }
    let Ok(pipe) = pipe.try_clone_to_owned() else {
        return true;
    };
    tokio::task::spawn_blocking(move || ready(&pipe, &PATIENCE))
        .await
        .unwrap_or(true)
}

/// What of a capture no span can tell of, if there is any: without it nobody
/// would know why spans are missing.
fn refused(counters: &Counters) -> Option<String> {
    let numbers = [
        (counters.link, "packets of an unknown link type"),
        (counters.fragments, "IP fragments"),
        (counters.cut, "packets without their whole headers"),
        (counters.malformed, "malformed packets"),
        (counters.truncated, "packets without their whole payload"),
        (counters.lost_bytes, "bytes that are not in the capture"),
        (counters.evicted, "connections, for room"),
    ];
    let some: Vec<String> = numbers
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
    (!some.is_empty()).then(|| some.join(", "))
}

fn hand_over(
    pipeline: &mut Pipeline<AddressIdentifier>,
    outputs: &mut Vec<Output>,
    now: MonoNanos,
) {
    for output in outputs.drain(..) {
        pipeline.take(output);
    }
    pipeline.advance(now);
    pipeline.tick(Instant::now());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::BackendSnapshot;

    #[test]
    fn spans_that_have_not_arrived_are_a_failure() {
        let told = |dropped: &[(&'static str, u64)]| {
            let dropped = dropped.iter().map(|(why, n)| ((*why).into(), *n)).collect();
            let backend = BackendSnapshot {
                name: "zipkin".to_owned(),
                dropped,
                ..BackendSnapshot::default()
            };
            arrived(&Snapshot {
                backends: vec![BackendSnapshot::default(), backend],
                ..Snapshot::default()
            })
        };
        told(&[]).unwrap();
        // `nodespan replay … | head`.
        told(&[("shutdown", 0), ("closed", 7)]).unwrap();
        let error = told(&[("shutdown", 2), ("rejected", 1), ("closed", 7)]).unwrap_err();
        let said = error.to_string();
        assert!(
            said.starts_with("3 of the spans did not reach their backend: "),
            "{said}"
        );
        assert!(said.contains("zipkin: 0 sent"), "{said}");
    }
}
