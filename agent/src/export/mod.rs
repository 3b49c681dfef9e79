//! Spans leave the node: encoders, queues and delivery.

mod span;

pub use span::Span;
