//! How much of bodies crosses the ring, by size, way and server.

use std::{fs, path::Path};

use anyhow::{Result, ensure};

use super::{
    agent::Agent,
    http::{self, Client},
    nginx::{self, Nginx},
    place::{Unit, wait_until},
};
use crate::{bench::figures::Body, daemon::Daemon};

const READER: u16 = 8082;

const SIZES: [(u64, u64); 3] = [(1 << 10, 50), (64 << 10, 20), (10 << 20, 2)];

/// A server that moves a kilobyte with each call.
const SERVER: &str = "\
import socket, sys, threading
BLOCK = 1024
def serve(s):
    data = b''
    while True:
        while b'\\r\\n\\r\\n' not in data:
            got = s.recv(BLOCK)
            if not got:
                return
            data += got
        head, data = data.split(b'\\r\\n\\r\\n', 1)
        lines = head.decode().split('\\r\\n')
        path = lines[0].split(' ')[1]
        length = sum(int(l.split(':')[1]) for l in lines[1:] if l.lower().startswith('content-length:'))
        left = length - len(data)
        while left > 0:
            left -= len(s.recv(min(BLOCK, left)))
        data = b''
        size = int(path.rsplit('/', 1)[1]) if lines[0].startswith('GET') else 0
        s.sendall(b'HTTP/1.1 200 OK\\r\\nContent-Length: %d\\r\\n\\r\\n' % size)
        for at in range(0, size, BLOCK):
            s.sendall(b'b' * min(BLOCK, size - at))
listener = socket.create_server(('127.0.0.1', int(sys.argv[1])))
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
";

/// A running server of small calls.
#[derive(Debug)]
pub(super) struct Reader {
    _daemon: Daemon,
}

impl Reader {
    /// The name of its unit.
    pub(super) const UNIT: &'static str = "reader";

    /// Starts it.
    ///
    /// # Errors
    /// If it does not start.
    pub(super) fn start(out: &Path) -> Result<Self> {
        let unit = Unit::new(Self::UNIT, out)?;
        // Version managers put slow scripts before Debian's own.
        let python = Path::new("/usr/bin/python3");
        let daemon = unit.start(python, &["-c", SERVER, &READER.to_string()])?;
        wait_until("the server of small calls", || {
            Ok(http::get(READER, "/files/1").is_ok())
        })?;
        Ok(Self { _daemon: daemon })
    }
}

/// Moves bodies through both servers and asks the agent, which watches them,
/// what crossed the ring.
///
/// # Errors
/// If an exchange fails.
pub(super) fn measure(agent: &Agent, nginx: &Nginx) -> Result<Vec<Body>> {
    for (size, _) in SIZES {
        let body = vec![b'b'; usize::try_from(size)?];
        fs::write(nginx.files.join(size.to_string()), body)?;
    }
    // So that everybody is known to the agent.
    for port in [nginx::PORT, READER] {
        http::get(port, "/files/1024")?;
    }
    let mut bodies = Vec::new();
    for (server, port) in [("nginx", nginx::PORT), ("1 KiB calls", READER)] {
        for (size, times) in SIZES {
            for way in ["down", "up"] {
                let before = agent.moved()?;
                let heads = move_bodies(port, size, times, way)?;
                let after = agent.moved()?;
                bodies.push(Body {
                    server: server.to_owned(),
                    way: way.to_owned(),
                    size,
                    times,
                    heads,
                    ring: after.ring - before.ring,
                    moved: after.moved - before.moved,
                });
            }
        }
    }
    Ok(bodies)
}

fn move_bodies(port: u16, size: u64, times: u64, way: &str) -> Result<u64> {
    let mut client = Client::connect(port)?;
    let mut heads = 0;
    let body = vec![b'b'; usize::try_from(size)?];
    for _ in 0..times {
        let (asked, answer) = if way == "down" {
            client.exchange("GET", &format!("/files/{size}"), b"", true)?
        } else {
            client.exchange("PUT", "/files/up", &body, true)?
        };
        ensure!(
            matches!(answer.status, 200..=204),
            "port {port} answers with {}",
            answer.status
        );
        if way == "down" {
            ensure!(answer.body.len() as u64 == size, "a body is cut");
        }
        heads += asked + answer.head;
    }
    Ok(heads)
}
