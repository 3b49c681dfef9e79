//! HTTP/1 heads, body framing and trace-context headers. Pure: bytes in,
//! values out.

pub mod chunked;
pub mod context;
pub mod head;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzz;

#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::{fuzz_context, fuzz_head};
