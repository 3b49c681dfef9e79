//! Records of one connection become exchanges.
//!
//! A record brings a piece of a stream: a known prefix and suffix of a range
//! of sequence numbers. Per direction the numbers say where it belongs and
//! what is missing, the framing says what it is, and the order of the messages
//! says which response answers which request. Nothing here waits or fails:
//! what cannot be known is counted and left out, and the connection is picked
//! up at its next message.

mod assembler;
mod connection;
mod ends;
mod exchange;
mod framing;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
mod messages;
mod opaque;
mod options;
mod owed;
mod pairing;
mod plausible;
mod quick;
mod sink;
mod stream;
mod table;

#[cfg(test)]
mod tests;

pub use assembler::Assembler;
pub use exchange::{Began, BodySize, Exchange, Failure, Opaque, Output, Seed, Spare, Text};
#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_assembler;
pub use options::{Counters, Limits, Options, Reading};
