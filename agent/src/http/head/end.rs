//! Where a head ends.

/// Looks for the empty line behind a head; bare LF ends lines too (RFC 9112
/// section 2.2). It goes on where it stopped, so a head that arrives byte by
/// byte costs no more than one that arrives whole.
#[derive(Clone, Copy, Debug, Default)]
pub struct EndScan {
    /// Everything before is looked at.
    scanned: usize,
    /// Length of the first line with its end, 0 until it is known.
    first_line: usize,
}

impl EndScan {
    /// Length of the head at the start of `bytes`, if its end is there.
    /// `bytes` only ever grows between calls.
    pub fn find(&mut self, bytes: &[u8]) -> Option<usize> {
        while let Some(rest) = bytes.get(self.scanned..) {
            let Some(at) = rest.iter().position(|&byte| byte == b'\n') else {
                self.scanned = bytes.len();
                return None;
            };
            let line_end = self.scanned + at + 1;
            if self.first_line == 0 {
                self.first_line = line_end;
            }
            match bytes.get(line_end..) {
                Some([b'\n', ..]) => return Some(line_end + 1),
                Some([b'\r', b'\n', ..]) => return Some(line_end + 2),
                Some([] | [b'\r']) | None => {
                    self.scanned += at;
                    return None;
                }
                Some(_) => self.scanned = line_end,
            }
        }
        None
    }

    /// Length of the first line with its end, once [`EndScan::find`] has
    /// passed it.
    #[must_use]
    pub fn first_line(&self) -> Option<usize> {
        (self.first_line != 0).then_some(self.first_line)
    }
}
