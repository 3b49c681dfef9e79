//! What was typed and what the file says become what is run.

use std::io::{self, IsTerminal};
use std::sync::Arc;

use super::args::{Common, RunArgs};
use super::pipeline;
use crate::assemble;
use crate::config::{self, LoadError, Output, Settings};
use crate::export::delivery::{Delivery, Retry, Target, TargetError, Timeouts, Worker};
use crate::export::zipkin::Zipkin;
use crate::export::{BatchLimits, Console, Discard, Exporter, JsonLines, Queries, QueueLimits};
use crate::http::context::Order;
use crate::ledger::Ledger;
use crate::link::Timing;
use crate::policy::{EmptyPattern, Glob};
use crate::sample::Sampler;

/// Why nothing is run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// The configuration is unusable.
    #[error(transparent)]
    Config(#[from] LoadError),
    /// An endpoint is unusable.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// A name on the command line is no pattern.
    #[error("{flag} `{value}`: {source}")]
    Pattern {
        /// The flag.
        flag: &'static str,
        /// What was typed.
        value: String,
        /// What is wrong with it.
        source: EmptyPattern,
    },
}

/// Reads the configuration, if there is one, and lays what was typed over it.
pub(super) fn settings(common: &Common) -> Result<Settings, PlanError> {
    let mut settings = match &common.config {
        None => Settings::default(),
        Some(path) => {
            let loaded = config::load(path)?;
            if !loaded.report.findings.is_empty() {
                tracing::warn!("{}", loaded.report);
            }
            loaded.settings
        }
    };
    if let Some(service) = &common.service {
        settings.agent.service = Some(service.as_str().into());
    }
    if let Some(print) = common.output {
        settings.export.printed = Some(print.into());
    }
    Ok(settings)
}

/// The same for `run`, with its selectors.
pub(super) fn run_settings(args: &RunArgs) -> Result<Settings, PlanError> {
    let mut settings = settings(&args.common)?;
    let selection = &mut settings.capture.selection;
    selection.ports.extend(&args.ports);
    extend(&mut selection.units, "--unit", &args.units)?;
    extend(&mut selection.containers, "--container", &args.containers)?;
    Ok(settings)
}

/// What the stages are told.
pub(super) fn pipeline(settings: &Settings, timing: Timing) -> pipeline::Options {
    pipeline::Options {
        selection: settings.capture.selection.clone(),
        sampler: Sampler::default(),
        key: settings.agent.identity_key,
        width: settings.export.trace_width,
        shared_spans: settings.export.shared_spans,
        debug: settings.export.debug,
        timing,
    }
}

/// What the assembler is told.
pub(super) fn assembler(settings: &Settings) -> assemble::Options {
    assemble::Options {
        order: Order::preferring(&settings.capture.context_order),
        limits: assemble::Limits::default(),
        targets: !settings.capture.selection.exclude_paths.is_empty(),
        lines: false,
        only_finished: false,
    }
}

/// Where spans go: ends for the pipeline, and workers for the runtime.
pub(super) struct Exits {
    pub(super) exporters: Vec<Box<dyn Exporter>>,
    pub(super) workers: Vec<Worker>,
}

/// Opens the outputs that the settings name. Must run within a tokio runtime.
pub(super) fn exits(settings: &Settings, ledger: &Arc<Ledger>) -> Result<Exits, PlanError> {
    let queries = if settings.capture.redact_query {
        Queries::Redacted
    } else {
        Queries::AsSent
    };
    let mut exits = Exits {
        exporters: Vec::new(),
        workers: Vec::new(),
    };
    match settings.export.output() {
        Output::None if settings.export.zipkin.is_some() => {}
        Output::None => exits
            .exporters
            .push(Box::new(Discard::new(ledger.backend("none")))),
        Output::Console => {
            let colour = io::stdout().is_terminal();
            let console = Console::new(io::stdout(), colour, queries, ledger.backend("console"));
            exits.exporters.push(Box::new(console));
        }
        Output::Jsonl => {
            let lines = JsonLines::new(io::stdout(), queries, ledger.backend("jsonl"));
            exits.exporters.push(Box::new(lines));
        }
    }
    if let Some(url) = &settings.export.zipkin {
        let (batcher, worker) = delivery(settings, Target::parse(url)?)
            .start(Box::new(Zipkin::new(queries)), ledger.backend("zipkin"));
        exits.exporters.push(Box::new(batcher));
        exits.workers.push(worker);
    }
    Ok(exits)
}

fn delivery(settings: &Settings, target: Target) -> Delivery {
    let export = &settings.export;
    Delivery {
        batch: BatchLimits {
            spans: export.batch_spans,
            bytes: usize::try_from(export.batch_bytes).unwrap_or(usize::MAX),
            delay: export.batch_delay,
        },
        queue: QueueLimits {
            spans: export.queue_spans,
            bytes: usize::try_from(export.queue_bytes).unwrap_or(usize::MAX),
        },
        timeouts: Timeouts {
            connect: export.connect_timeout,
            answer: export.answer_timeout,
        },
        retry: Retry {
            give_up_after: export.give_up_after,
            ..Retry::default()
        },
        ..Delivery::to(target)
    }
}

fn extend(globs: &mut Vec<Glob>, flag: &'static str, names: &[String]) -> Result<(), PlanError> {
    for name in names {
        globs.push(name.parse().map_err(|source| PlanError::Pattern {
            flag,
            value: name.clone(),
            source,
        })?);
    }
    Ok(())
}
