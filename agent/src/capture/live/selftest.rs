//! A loopback connection of the agent's own, to see that the probes see.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use agent_ebpf::Direction;

use super::{Live, LiveError};
use crate::capture::{Event, Record};
use crate::units::{Origins, OwnerId, TcpSeq};

/// What is sent. It looks like a request, or it would not come up whole.
const PROBE: &[u8] = b"GET /nodespan-self-test HTTP/1.1\r\nHost: localhost\r\n\r\n";
/// How long the records may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the test found.
#[derive(Debug)]
pub(super) struct Outcome {
    /// For a person.
    pub(super) told: String,
    /// Whom the kernel takes this process's calls for.
    pub(super) owner: OwnerId,
}

/// What one end saw.
#[derive(Clone, Copy, Debug)]
struct Sight {
    owner: OwnerId,
    seq: TcpSeq,
    origins: Origins,
    whole: bool,
}

/// Sends a request over loopback and compares what both ends reported.
pub(super) fn run(live: &mut Live) -> Result<Outcome, LiveError> {
    let port = exchange()
        .map_err(|error| LiveError::SelfTest(format!("the connection itself failed: {error}")))?;
    let me = std::process::id();
    let (mut sent, mut received) = (None, None);
    let mut stranger = None;
    let deadline = Instant::now() + PATIENCE;
    while (sent.is_none() || received.is_none()) && Instant::now() < deadline {
        let read = live.drain(4096, |record| {
            let Some((direction, sight)) = sight(record) else {
                return;
            };
            if record.pid != me {
                stranger = Some(record.pid);
                return;
            }
            match direction {
                Direction::Out => sent = Some(sight),
                Direction::In => received = Some(sight),
            }
        });
        if read == 0 {
            std::thread::sleep(Duration::from_millis(2));
        }
    }
    let (Some(sent), Some(received)) = (sent, received) else {
        let missing = if sent.is_none() { "send" } else { "receive" };
        // Another agent may have started at the same time.
        if let Some(pid) = stranger.filter(|_| sent.is_none() && received.is_none()) {
            return Err(LiveError::SelfTest(format!(
                "its request was seen as of process {pid}, and this is process {me}: the agent must see the host's process ids (hostPID: true, --pid=host)"
            )));
        }
        return Err(LiveError::SelfTest(format!(
            "no record of the {missing} within {PATIENCE:?}"
        )));
    };
    if !sent.whole || !received.whole {
        return Err(LiveError::SelfTest(
            "the bytes reported are not the bytes sent".to_owned(),
        ));
    }
    if sent.seq != received.seq {
        return Err(LiveError::SelfTest(format!(
            "the request has sequence number {} at the sender and {} at the receiver",
            sent.seq.0, received.seq.0
        )));
    }
    // The opener counts its SYN, see `Origins::local`.
    if sent.origins.local.plus(1) != received.origins.peer
        || sent.origins.peer != received.origins.local
    {
        return Err(LiveError::SelfTest(format!(
            "the ends disagree on the connection: {:?} and {:?}",
            sent.origins, received.origins
        )));
    }
    Ok(Outcome {
        told: format!(
            "both ends of 127.0.0.1:{port} reported the same bytes at the same sequence number"
        ),
        owner: sent.owner,
    })
}

fn sight(record: &Record<'_>) -> Option<(Direction, Sight)> {
    let Event::Segment(segment) = record.event else {
        return None;
    };
    if !segment.head.starts_with(b"GET /nodespan-self-test") {
        return None;
    }
    let whole = segment.head == PROBE;
    Some((
        segment.direction,
        Sight {
            owner: record.owner,
            seq: segment.seq,
            origins: record.origins,
            whole,
        },
    ))
}

fn exchange() -> std::io::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let port = listener.local_addr()?.port();
    let mut client = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    client.write_all(PROBE)?;
    let (mut server, _) = listener.accept()?;
    server.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = vec![0; PROBE.len()];
    server.read_exact(&mut bytes)?;
    Ok(port)
}
