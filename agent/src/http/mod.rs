//! HTTP/1 heads, body framing and trace-context headers. Pure: bytes in,
//! values out.

pub mod chunked;
pub mod context;
pub mod head;
