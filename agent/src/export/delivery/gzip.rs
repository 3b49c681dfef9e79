//! When bodies are compressed, and how it shows that a server cannot read it.

use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::client::Answer;

/// A smaller body gains nothing worth an allocation.
const SMALLEST: usize = 1024;

/// Whether request bodies are compressed (`content-encoding: gzip`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Gzip {
    /// If the server is on another host, and until it shows that it cannot
    /// read it.
    #[default]
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// What is known of one server.
#[derive(Debug)]
pub(super) struct Encoding {
    mode: Gzip,
    server: Server,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    Unknown,
    /// It has taken a compressed body.
    Reads,
    Refuses,
}

/// What the answer to a compressed body says of the compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing that matters.
    Fine,
    /// It may be the reason of the refusal: the plain body tells.
    Perhaps,
    /// It is the reason.
    Refused,
}

impl Encoding {
    /// For a server on this host, or on another.
    pub(super) fn new(mode: Gzip, local: bool) -> Self {
        let server = match mode {
            // Between processes of one host bytes are cheaper than the work.
            Gzip::Auto if local => Server::Refuses,
            _ => Server::Unknown,
        };
        Self { mode, server }
    }

    /// Whether a body of so many bytes is compressed.
    pub(super) fn wanted(&self, bytes: usize) -> bool {
        match self.mode {
            Gzip::Off => false,
            Gzip::On => true,
            Gzip::Auto => bytes >= SMALLEST && self.server != Server::Refuses,
        }
    }

    pub(super) fn judge(&mut self, answer: &Answer) -> Verdict {
        if self.mode == Gzip::On {
            return Verdict::Fine;
        }
        match answer.status {
            200..300 => {
                self.server = Server::Reads;
                Verdict::Fine
            }
            // RFC 9110, 15.5.16: the content coding is one of its reasons.
            415 => Verdict::Refused,
            // Zipkin says "Cannot gunzip spans"; others name the header.
            400 if names_compression(&answer.text) => Verdict::Refused,
            // Or the server ignores the header and reads noise.
            400 if self.server == Server::Unknown => Verdict::Perhaps,
            _ => Verdict::Fine,
        }
    }

    /// Bodies are sent as they are from now on.
    pub(super) fn give_up(&mut self) {
        self.server = Server::Refuses;
    }
}

fn names_compression(text: &str) -> bool {
    let text = text.to_ascii_lowercase();
    ["gzip", "gunzip", "content-encoding", "compress", "deflate"]
        .iter()
        .any(|word| text.contains(word))
}

/// One part of a batch as it is sent, compressed once however often.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) plain: Bytes,
    gzipped: Option<Bytes>,
}

impl Outgoing {
    pub(super) fn new(plain: Bytes) -> Self {
        Self {
            plain,
            gzipped: None,
        }
    }

    /// The body compressed, on a thread that may take its time; `None` if that
    /// fails.
    pub(super) async fn gzipped(&mut self) -> Option<Bytes> {
        if self.gzipped.is_none() {
            let plain = self.plain.clone();
            self.gzipped = tokio::task::spawn_blocking(move || compress(&plain))
                .await
                .ok()?;
        }
        self.gzipped.clone()
    }
}

/// Level 1: the spans of a batch are so alike that more costs much and gains
/// little.
fn compress(plain: &[u8]) -> Option<Bytes> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(plain.len() / 8), Compression::fast());
    encoder.write_all(plain).ok()?;
    encoder.finish().ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::read::GzDecoder;
    use std::io::Read as _;

    fn answer(status: u16, text: &str) -> Answer {
        Answer {
            status,
            text: text.to_owned(),
            ..Answer::default()
        }
    }

    #[test]
    fn auto_spares_local_servers_and_small_bodies() {
        let wanted = |mode, local, bytes| Encoding::new(mode, local).wanted(bytes);
        assert!(wanted(Gzip::Auto, false, SMALLEST));
        assert!(!wanted(Gzip::Auto, false, SMALLEST - 1));
        assert!(!wanted(Gzip::Auto, true, 1 << 20));
        assert!(wanted(Gzip::On, true, 2));
        assert!(!wanted(Gzip::Off, false, 1 << 20));
    }

    #[test]
    fn answers_are_judged() {
        let mut encoding = Encoding::new(Gzip::Auto, false);
        assert_eq!(encoding.judge(&answer(415, "")), Verdict::Refused);
        let zipkin = answer(400, "Cannot gunzip spans");
        assert_eq!(encoding.judge(&zipkin), Verdict::Refused);
        assert_eq!(encoding.judge(&answer(400, "bad JSON")), Verdict::Perhaps);
        assert_eq!(encoding.judge(&answer(503, "gzip")), Verdict::Fine);
        assert_eq!(encoding.judge(&answer(202, "")), Verdict::Fine);
        assert_eq!(encoding.judge(&answer(400, "bad JSON")), Verdict::Fine);
        encoding.give_up();
        assert!(!encoding.wanted(1 << 20));
        let mut on = Encoding::new(Gzip::On, false);
        assert_eq!(on.judge(&answer(415, "")), Verdict::Fine);
    }

    #[tokio::test]
    async fn what_is_compressed_is_the_body() {
        let plain: Vec<u8> = (0..100_000_u32).map(|n| (n % 251) as u8).collect();
        let mut outgoing = Outgoing::new(plain.clone().into());
        let gzipped = outgoing.gzipped().await.unwrap();
        assert!(gzipped.len() < plain.len() / 2);
        let mut out = Vec::new();
        GzDecoder::new(&gzipped[..]).read_to_end(&mut out).unwrap();
        assert_eq!(out, plain);
        let again = outgoing.gzipped().await.unwrap();
        assert_eq!(again.as_ptr(), gzipped.as_ptr());
    }
}
