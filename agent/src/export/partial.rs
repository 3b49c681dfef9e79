//! A server that took a batch but not all of its spans.

/// What a 2xx answer says was refused.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Partial {
    /// Spans refused.
    pub rejected: u64,
    /// Why, in the server's words.
    pub message: String,
}

/// Reads the body of a 2xx answer. `None` if all spans were taken.
pub type ReadPartial = fn(answer: &[u8]) -> Option<Partial>;

/// An answer that says nothing of the kind.
pub fn none(_: &[u8]) -> Option<Partial> {
    None
}
