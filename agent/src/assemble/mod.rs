//! Records of one connection become exchanges.

mod exchange;

pub use exchange::{Began, BodySize, Exchange, Failure, Opaque, Output, Seed, Text};
