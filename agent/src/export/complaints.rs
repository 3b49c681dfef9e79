//! Says the same thing to the log once a minute.

use std::time::{Duration, Instant};

const INTERVAL: Duration = Duration::from_mins(1);

/// When each kind of complaint was last made.
#[derive(Debug, Default)]
pub(super) struct Complaints(Vec<Complaint>);

#[derive(Debug)]
struct Complaint {
    kind: u16,
    said: Instant,
    unsaid: u64,
}

impl Complaints {
    /// Whether a complaint of this kind may be made now, and how many were
    /// swallowed since the last one. Kinds are few: an error, or a status.
    pub(super) fn may_say(&mut self, kind: u16) -> Option<u64> {
        self.may_say_at(kind, Instant::now())
    }

    fn may_say_at(&mut self, kind: u16, now: Instant) -> Option<u64> {
        match self.0.iter_mut().find(|known| known.kind == kind) {
            None => {
                self.0.push(Complaint {
                    kind,
                    said: now,
                    unsaid: 0,
                });
                Some(0)
            }
            Some(known) if now.duration_since(known.said) >= INTERVAL => {
                known.said = now;
                Some(std::mem::take(&mut known.unsaid))
            }
            Some(known) => {
                known.unsaid += 1;
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_said_once_a_minute() {
        let mut complaints = Complaints::default();
        let start = Instant::now();
        assert_eq!(complaints.may_say_at(400, start), Some(0));
        assert_eq!(complaints.may_say_at(400, start), None);
        assert_eq!(complaints.may_say_at(503, start), Some(0));
        let later = start + INTERVAL;
        assert_eq!(complaints.may_say_at(400, later), Some(1));
        assert_eq!(complaints.may_say_at(503, later), Some(0));
    }
}
