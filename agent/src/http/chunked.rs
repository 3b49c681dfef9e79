//! Chunked transfer coding (RFC 9112 section 7.1), also where bytes between
//! are not known.

/// Reads the framing of one chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chunks(State);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Before the first digit of a chunk's size.
    LineStart,
    /// Behind at least one digit.
    Size(u64),
    /// Behind the size, up to the end of the line: extensions.
    Extension(u64),
    /// In data of which so much is left, at least one byte.
    Data(u64),
    /// Behind the data, before the end of its line.
    DataEnd,
    /// In the trailer section, at the start of a line.
    TrailerStart,
    /// In the trailer section, inside a line.
    Trailer,
    /// At the start of a trailer line, behind CR.
    TrailerCr,
}

/// What became of some bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fed {
    /// How many belong to the body, framing included. Fewer than were given
    /// only if it is done or broken.
    pub consumed: usize,
    /// How many of those are data.
    pub data: u64,
    /// Where that leaves the body.
    pub outcome: Outcome,
}

/// Where a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It goes on.
    More,
    /// Its last byte was consumed.
    Done,
    /// What should be framing is none.
    Broken,
}

impl Default for Chunks {
    fn default() -> Self {
        Self(State::LineStart)
    }
}

impl Chunks {
    /// Data bytes that are left of the current chunk.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        match self.0 {
            State::Data(left) => left,
            _ => 0,
        }
    }

    /// Takes the next bytes of the stream.
    pub fn feed(&mut self, bytes: &[u8]) -> Fed {
        let mut fed = Fed {
            consumed: 0,
            data: 0,
            outcome: Outcome::More,
        };
        while let Some(&byte) = bytes.get(fed.consumed) {
            if let State::Data(left) = self.0 {
                let here = (bytes.len() - fed.consumed) as u64;
                let taken = left.min(here);
                self.take(left, taken);
                fed.data += taken;
                // Not more than what is left of a slice.
                fed.consumed += taken as usize;
                continue;
            }
            match self.step(byte) {
                Outcome::More => fed.consumed += 1,
                Outcome::Done => {
                    fed.consumed += 1;
                    fed.outcome = Outcome::Done;
                    break;
                }
                Outcome::Broken => {
                    fed.outcome = Outcome::Broken;
                    break;
                }
            }
        }
        fed
    }

    /// Passes over bytes that are not known: fine inside data, otherwise
    /// nobody can say where the next chunk begins.
    pub fn skip(&mut self, count: u64) -> Outcome {
        match self.0 {
            State::Data(left) if count <= left => {
                self.take(left, count);
                Outcome::More
            }
            _ => Outcome::Broken,
        }
    }

    fn take(&mut self, left: u64, taken: u64) {
        self.0 = match left - taken {
            0 => State::DataEnd,
            left => State::Data(left),
        };
    }

    fn step(&mut self, byte: u8) -> Outcome {
        self.0 = match (self.0, byte) {
            (State::LineStart, b' ' | b'\t') => State::LineStart,
            (State::LineStart, _) => match digit(byte) {
                Some(digit) => State::Size(digit),
                None => return Outcome::Broken,
            },
            (State::Size(size) | State::Extension(size), b'\n') => match size {
                0 => State::TrailerStart,
                size => State::Data(size),
            },
            (State::Size(size), _) => match digit(byte) {
                Some(digit) if size >> 60 == 0 => State::Size(size << 4 | digit),
                Some(_) => return Outcome::Broken,
                None if matches!(byte, b';' | b' ' | b'\t' | b'\r') => State::Extension(size),
                None => return Outcome::Broken,
            },
            (State::Extension(size), _) => State::Extension(size),
            (State::DataEnd, b'\r') => State::DataEnd,
            (State::DataEnd, b'\n') => State::LineStart,
            (State::DataEnd, _) => return Outcome::Broken,
            (State::TrailerStart | State::TrailerCr, b'\n') => {
                self.0 = State::LineStart;
                return Outcome::Done;
            }
            (State::TrailerStart, b'\r') => State::TrailerCr,
            (State::Trailer, b'\n') => State::TrailerStart,
            (State::TrailerStart | State::Trailer | State::TrailerCr, _) => State::Trailer,
            // Handled before: data is not read byte by byte.
            (State::Data(left), _) => State::Data(left),
        };
        Outcome::More
    }
}

/// Whether these bytes, the last of a call, end with the last chunk of a body
/// without trailers: a line of zeros and an empty line.
#[must_use]
pub fn ends_body(tail: &[u8]) -> bool {
    let Some(lines) = tail
        .strip_suffix(b"\r\n\r\n")
        .or_else(|| tail.strip_suffix(b"\n\n"))
    else {
        return false;
    };
    let last = lines.rsplit(|&byte| byte == b'\n').next();
    last.is_some_and(|line| !line.is_empty() && line.iter().all(|&byte| byte == b'0'))
}

fn digit(byte: u8) -> Option<u64> {
    char::from(byte).to_digit(16).map(u64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Consumed, data and outcome of one body fed at once.
    fn whole(bytes: &[u8]) -> (usize, u64, Outcome) {
        let fed = Chunks::default().feed(bytes);
        (fed.consumed, fed.data, fed.outcome)
    }

    #[test]
    fn bodies() {
        let cases: &[(&[u8], usize, u64, Outcome)] = &[
            (b"0\r\n\r\n", 5, 0, Outcome::Done),
            (b"5\r\nhello\r\n0\r\n\r\nGET", 15, 5, Outcome::Done),
            (b"5\nhello\n0\n\nGET", 11, 5, Outcome::Done),
            (
                b"5;a=b;c=\"d\"\r\nhello\r\n0;x\r\n\r\n",
                27,
                5,
                Outcome::Done,
            ),
            (b"5 \r\nhello\r\n000\r\n\r\n", 18, 5, Outcome::Done),
            (
                b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n",
                35,
                20,
                Outcome::Done,
            ),
            (b"0\r\nX-Sum: 1\r\nY: 2\r\n\r\n+", 21, 0, Outcome::Done),
            (b"0\r\nX-Sum: 1\nY: 2\n\n+", 18, 0, Outcome::Done),
            (b"5\r\nhel", 6, 3, Outcome::More),
            (b"5\r\nhelloX", 8, 5, Outcome::Broken),
            (b"x\r\n", 0, 0, Outcome::Broken),
            (b"1z\r\n", 1, 0, Outcome::Broken),
            (b"FFFFFFFFFFFFFFFFF\r\n", 16, 0, Outcome::Broken),
            (b"0\r\n\r\r\n", 6, 0, Outcome::More),
        ];
        for (bytes, consumed, data, outcome) in cases {
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(whole(bytes), (*consumed, *data, *outcome), "{text:?}");
        }
    }

    #[test]
    fn every_split_is_the_same() {
        let body = b"5;ext=1\r\nhello\r\n10\r\n0123456789abcdef\r\n0\r\nTrailer: x\r\n\r\n";
        for at in 0..body.len() {
            let mut chunks = Chunks::default();
            let (first, second) = body.split_at(at);
            let one = chunks.feed(first);
            assert_eq!((one.consumed, one.outcome), (at, Outcome::More), "{at}");
            let two = chunks.feed(second);
            assert_eq!(
                (two.consumed, two.outcome),
                (second.len(), Outcome::Done),
                "{at}"
            );
            assert_eq!(one.data + two.data, 21, "{at}");
        }
    }

    #[test]
    fn unknown_bytes_are_fine_inside_data_only() {
        let mut chunks = Chunks::default();
        chunks.feed(b"10\r\n0123");
        assert_eq!(chunks.remaining(), 12);
        assert_eq!(chunks.skip(12), Outcome::More);
        assert_eq!(chunks.feed(b"\r\n0\r\n\r\n").outcome, Outcome::Done);

        chunks.feed(b"10\r\n0123");
        assert_eq!(chunks.skip(13), Outcome::Broken);
    }

    #[test]
    fn ends_of_bodies() {
        for (tail, ends) in [
            (&b"abc\r\n0\r\n\r\n"[..], true),
            (b"0\r\n\r\n", true),
            (b"\n00\n\n", true),
            (b"10\r\n\r\n", false),
            (b"abc0\r\n\r\n", false),
            (b"0\r\nX: 1\r\n\r\n", false),
            (b"\r\n\r\n", false),
            (b"", false),
        ] {
            assert_eq!(ends_body(tail), ends, "{tail:?}");
        }
    }
}
