//! Listens in on what the agent sends to a server.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};

/// Passes connections on to a server, and remembers what their clients sent.
#[derive(Debug)]
pub struct Tap {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<u8>>>,
}

impl Tap {
    /// In front of the server at `HOST:PORT`. Its thread ends with this
    /// process.
    ///
    /// # Errors
    /// If no port is free.
    pub fn start(server: &str) -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let addr = listener.local_addr()?;
        let heard = Arc::<Mutex<Vec<u8>>>::default();
        let (server, ears) = (server.to_owned(), Arc::clone(&heard));
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                // A server that is gone is for the agent to report.
                if let Ok(server) = TcpStream::connect(&server) {
                    let ears = Arc::clone(&ears);
                    std::thread::spawn(move || pass(&client, &server, &ears));
                }
            }
        });
        Ok(Self { addr, heard })
    }

    /// Where to send instead.
    #[must_use]
    pub fn authority(&self) -> String {
        self.addr.to_string()
    }

    /// Every request was a POST to `path` with this type of body.
    ///
    /// # Errors
    /// With one that was not, or if there was none.
    pub fn heard_only(&self, path: &str, content_type: &str) -> Result<()> {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&heard);
        // Bodies speak of the requests of the scene, which are of HTTP/1.1 too.
        let heads = text.match_indices(" HTTP/1.1\r\n").map(|(at, _)| {
            let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
            let end = text[at..]
                .find("\r\n\r\n")
                .map_or(text.len(), |end| at + end);
            text[line..end].to_ascii_lowercase()
        });
        let mut any = false;
        for head in heads {
            any = true;
            let mut lines = head.split("\r\n");
            let first = lines.next().unwrap_or_default();
            ensure!(first.ends_with(&format!("post {path} http/1.1")), "{head}");
            for wanted in [format!("content-type: {content_type}"), "b3: 0".to_owned()] {
                let has = lines.clone().any(|line| line == wanted);
                ensure!(has, "no {wanted:?} in {head}");
            }
        }
        ensure!(any, "nothing was sent");
        Ok(())
    }
}

/// Until either side has had enough.
fn pass(client: &TcpStream, server: &TcpStream, ears: &Mutex<Vec<u8>>) {
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut to_client = client;
            let mut from_server = server;
            // Whoever broke off, the other side learns it below.
            let _ = std::io::copy(&mut from_server, &mut to_client);
            let _ = client.shutdown(Shutdown::Both);
        });
        let _ = listen(client, server, ears);
        let _ = server.shutdown(Shutdown::Write);
    });
}

fn listen(mut client: &TcpStream, mut server: &TcpStream, ears: &Mutex<Vec<u8>>) -> Result<()> {
    let mut buffer = vec![0; 64 << 10];
    loop {
        let count = client.read(&mut buffer)?;
        if count == 0 {
            return Ok(());
        }
        let bytes = buffer.get(..count).context("more than fits")?;
        // Heard before it can be answered.
        ears.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(bytes);
        server.write_all(bytes)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_expected_may_be_heard() {
        let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let tap = Tap::start(&server.local_addr().unwrap().to_string()).unwrap();
        assert!(tap.heard_only("/a", "x/y").is_err());
        let mut client = TcpStream::connect(tap.authority()).unwrap();
        let (mut served, _) = server.accept().unwrap();
        let mut say = |request: &str| {
            client.write_all(request.as_bytes()).unwrap();
            // What has come through was heard.
            served.read_exact(&mut vec![0; request.len()]).unwrap();
            served.write_all(b"ok").unwrap();
            client.read_exact(&mut [0; 2]).unwrap();
        };
        say("POST /a HTTP/1.1\r\nContent-Type: x/y\r\nb3: 0\r\n\r\n{\"GET / HTTP/1.1\"}");
        tap.heard_only("/a", "x/y").unwrap();
        assert!(tap.heard_only("/b", "x/y").is_err());
        assert!(tap.heard_only("/a", "x/z").is_err());
        say("POST /a HTTP/1.1\r\nContent-Type: x/y\r\n\r\n");
        assert!(tap.heard_only("/a", "x/y").is_err(), "without b3");
    }
}
