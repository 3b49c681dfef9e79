//! Spans leave the node: encoders, queues and delivery.
//!
//! The pipeline knows one trait, [`Exporter`]. A backend behind it is an
//! [`Encoder`], which the pipeline's thread runs so that a span is freed at
//! once, and a worker that delivers whole batches. A new encoding is a new
//! `Encoder`; a new transport is a new worker on the same queue.

mod batcher;
mod bytes;
mod complaints;
mod console;
pub mod content;
pub mod delivery;
mod discard;
mod jsonl;
mod name;
mod output;
mod queue;
mod span;
#[cfg(test)]
pub(crate) mod testing;
pub mod zipkin;

use std::time::Instant;

pub use batcher::{BatchLimits, Batcher};
pub use console::Console;
pub use content::{Queries, Wording};
pub use discard::Discard;
pub use jsonl::JsonLines;
pub use name::NameLimit;
pub use queue::QueueLimits;
pub use span::Span;

/// Where finished spans go.
///
/// All methods are called by the pipeline's thread and never block it for
/// longer than a write to the terminal takes.
pub trait Exporter: Send {
    /// Takes a span in.
    fn export(&mut self, span: &Span);

    /// Lets go of what has waited long enough. Called between spans, at the
    /// latest every 100 ms.
    fn tick(&mut self, now: Instant);

    /// Lets go of everything.
    fn flush(&mut self);

    /// Nobody will ever read what is exported from now on: the reader of a
    /// pipe went away. A run that has no other output may end.
    fn stopped(&self) -> bool {
        false
    }
}

/// Turns spans into the bytes of one batch.
///
/// An encoder that must group spans (by service, say) keeps them in buffers of
/// its own and writes them in [`Encoder::finish`].
pub trait Encoder: Send {
    /// Value of the `content-type` header.
    fn content_type(&self) -> &'static str;

    /// Appends a span to the batch; the first of a batch finds it empty.
    ///
    /// # Errors
    ///
    /// The span cannot be expressed; the batch is as if it had not been seen.
    fn encode(&mut self, span: &Span, batch: &mut Vec<u8>) -> Result<(), Refused>;

    /// Ends a batch that holds at least one span.
    fn finish(&mut self, batch: &mut Vec<u8>);
}

/// A span that an encoding cannot express, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the span cannot be encoded: {0}")]
pub struct Refused(pub &'static str);
