//! Responses to requests that were given up.
//!
//! There is no room for more open requests than a limit, but responses come in
//! the order of all requests (RFC 9112 section 9.3.2). So those of the ones that
//! were given up are counted off before the next is somebody's.

use std::collections::VecDeque;

use super::pairing::Asks;

/// Responses that are counted; a client that asks for more without an answer is
/// followed no further.
const MOST: usize = 65_536;

/// What the given-up requests ask for, oldest first.
#[derive(Debug, Default)]
pub(super) struct Owed(Option<Box<Asked>>);

#[derive(Debug, Default)]
struct Asked(VecDeque<Asks>);

impl Owed {
    /// Whether the next response is somebody's.
    #[inline(always)]
    pub(super) fn is_nothing(&self) -> bool {
        self.0.is_none()
    }

    /// These are given up. False if there are too many to count.
    pub(super) fn add(&mut self, given_up: impl Iterator<Item = Asks>) -> bool {
        let Asked(all) = &mut **self.0.get_or_insert_default();
        all.extend(given_up);
        all.len() <= MOST
    }

    /// What the next response is to be framed like, if it answers what was
    /// given up.
    #[inline(always)]
    pub(super) fn pay(&mut self) -> Option<Asks> {
        let Asked(all) = &mut **self.0.as_mut()?;
        let asks = all.pop_front();
        if all.is_empty() {
            self.0 = None;
        }
        asks
    }

    /// Nobody can count them any more. Whether there were some.
    pub(super) fn forget(&mut self) -> bool {
        self.0.take().is_some()
    }
}
