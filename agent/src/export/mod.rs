//! Spans leave the node: encoders, queues and delivery.
//!
//! The pipeline knows one trait, [`Exporter`]. A backend behind it is an
//! [`Encoder`], which the pipeline's thread runs so that a span is freed at
//! once, and a worker that delivers whole batches. A new encoding is a new
//! `Encoder`; a new transport is a new worker on the same queue.

mod backend;
mod batcher;
mod bytes;
mod complaints;
mod console;
pub mod content;
pub mod cut;
pub mod datagrams;
pub mod delivery;
mod discard;
mod groups;
pub mod jaeger;
mod jsonl;
mod known;
mod name;
mod number;
pub mod otlp;
mod output;
pub mod partial;
mod proto;
pub mod protocol;
mod queue;
mod request;
mod span;
#[cfg(test)]
pub(crate) mod testing;
mod text;
mod varint;
pub mod zipkin;

use std::time::Instant;

pub use backend::{BackendConfig, OpenError};
pub use batcher::{BatchLimits, Batcher};
pub use console::Console;
pub use content::{Queries, Wording};
pub use discard::Discard;
pub use jsonl::JsonLines;
pub use name::NameLimit;
pub use protocol::{Limits, Protocol};
pub use queue::{Overflow, QueueLimits};
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
///
/// A datagram encoder's finished batch is a sequence of [`datagrams`]; every
/// other encoder's is the body of one POST.
pub trait Encoder: Send {
    /// Value of the `content-type` header.
    fn content_type(&self) -> &'static str;

    /// Appends a span to the batch; the first of a batch finds it empty.
    ///
    /// # Errors
    ///
    /// The span cannot be expressed; the batch, and what the encoder holds
    /// back, are as if it had not been seen.
    fn encode(&mut self, span: &Span, batch: &mut Vec<u8>) -> Result<(), Refused>;

    /// Bytes of the current batch that the encoder holds back in buffers of
    /// its own, and appends only in [`Encoder::finish`].
    fn pending(&self) -> usize {
        0
    }

    /// Ends a batch that holds at least one span: afterwards `batch` is what
    /// is sent, and the encoder holds nothing back.
    fn finish(&mut self, batch: &mut Vec<u8>);

    /// How some of a finished batch's spans are taken out of it, when the
    /// server refuses the whole. By default they cannot be.
    fn cut(&self) -> cut::Cut {
        cut::whole
    }

    /// How a 2xx answer that refuses some of the spans is read. By default
    /// there is none.
    fn partial(&self) -> partial::ReadPartial {
        partial::none
    }
}

/// A span that an encoding cannot express, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is larger than what can be sent at once; ledger: `too_large`.
    #[error("the span does not fit into {limit} bytes")]
    TooLarge {
        /// Bytes that a span may have.
        limit: usize,
    },
    /// Anything else; ledger: `encode`.
    #[error("the span cannot be encoded: {0}")]
    Inexpressible(&'static str),
}
