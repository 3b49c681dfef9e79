//! `nodespan replay`: the same pipeline over a packet capture.

use std::sync::Arc;
use std::time::Instant;

use hashbrown::HashSet;

use super::args::ReplayArgs;
use super::load::{Source, Typed};
use super::pipeline::Pipeline;
use super::reload::Reloader;
use super::{RunError, plan, runtime};
use crate::assemble::{Assembler, Output};
use crate::capture::pcap::{Drained, Observe, PcapSource};
use crate::identify::AddressIdentifier;
use crate::ledger::Ledger;
use crate::link::{ClockOffset, Timing};
use crate::units::MonoNanos;

/// Records read before the stages behind get their turn.
const BUDGET: usize = 1024;
/// Nanoseconds of capture time between looks for idle connections.
const EXPIRY: u64 = 5_000_000_000;

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
    let runtime = runtime()?;
    runtime.block_on(async {
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
        let truncated = loop {
            let drained = packets
                .drain(BUDGET, &mut |record| {
                    now = now.max(record.time());
                    assembler.push(&record, &mut outputs);
                })
                .map_err(pcap)?;
            if now.since(expired_at) > EXPIRY {
                expired_at = now;
                assembler.expire(now, &mut outputs);
            }
            for _saved in assembler.commands() {}
            hand_over(&mut pipeline, &mut outputs, now);
            assembler.reuse(pipeline.done());
            // Lets the workers send what is ready.
            tokio::task::yield_now().await;
            if let Drained::End { truncated } = drained {
                break truncated;
            }
            if pipeline.stopped() {
                break false;
            }
        };
        assembler.finish(&mut outputs);
        hand_over(&mut pipeline, &mut outputs, now);
        pipeline.finish();
        reloader.finish().await;
        if truncated {
            tracing::warn!("{}: the last record is cut short", args.file.display());
        }
        tracing::debug!("{}", ledger.snapshot().summary());
        Ok(())
    })
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
