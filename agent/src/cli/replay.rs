//! `nodespan replay`: the same pipeline over a packet capture.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::args::ReplayArgs;
use super::load::{Source, Typed};
use super::pipeline::Pipeline;
use super::reload::Reloader;
use super::{RunError, block_on, events, plan};
use crate::assemble::{Assembler, Output};
use crate::capture::pcap::{Counters, Drained, Observe, PcapSource};
use crate::identify::AddressIdentifier;
use crate::ledger::Ledger;
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
    block_on(async {
        // Nobody's own addresses: a capture may come from anywhere.
        let (reloader, start) = Reloader::start(source, None, HashSet::new(), &ledger)?;
        let settings = &reloader.current().settings;
        let mut exits = plan::printed(reloader.current(), &ledger);
        for (backend, exporter) in start.change.opened {
            exits.open(backend, exporter);
        }
        let node = settings.agent.node.clone().unwrap_or_else(|| {
            rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .into_owned()
                .into()
        });
        let identify = AddressIdentifier::new(settings.agent.service.clone(), node);
        let mut pipeline = Pipeline::new(
            plan::pipeline(settings, Timing::default()),
            start.plan,
            start.sampler,
            identify,
            exits,
            Arc::clone(&ledger),
            // A capture has calendar times.
            ClockOffset(0),
        );
        let mut options = plan::assembler(settings);
        if observe == Observe::Server {
            options.only_finished = true;
            pipeline.only_finished();
        }
        let mut assembler = Assembler::new(options);
        let mut outputs = Vec::new();
        let mut now = MonoNanos::default();
        let mut expired_at = now;
        let end = loop {
            let drained = packets.drain(BUDGET, &mut |record| {
                now = now.max(record.time());
                assembler.push(&record, &mut outputs);
            });
            if now.since(expired_at) > EXPIRY {
                expired_at = now;
                assembler.expire(now, &mut outputs);
            }
            for _saved in assembler.commands() {}
            hand_over(&mut pipeline, &mut outputs, now);
            assembler.reuse(pipeline.done());
            // Lets the workers send what is ready.
            tokio::task::yield_now().await;
            match drained {
                Ok(Drained::More | Drained::Dry) if pipeline.stopped() => break Ok(false),
                Ok(Drained::More) => {}
                Ok(Drained::Dry) => {
                    while !readable(packets.pipe()).await {
                        hand_over(&mut pipeline, &mut outputs, now);
                    }
                }
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
        tracing::debug!("{}", ledger.snapshot().summary());
        if end.map_err(pcap)? {
            tracing::warn!("{file}: the last record is cut short");
        }
        Ok(())
    })?
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
