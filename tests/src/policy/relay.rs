//! What listens where the defaults of Traefik and the examples of Kuma say a
//! backend is.

use std::io;
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context as _, Result};

/// Zipkin's port.
const ZIPKIN: u16 = 9411;
/// The port of a Jaeger agent for compact thrift.
const JAEGER: u16 = 6831;

/// Passes port 9411 of this machine on to a server elsewhere, for as long as
/// the suite lives.
pub(super) fn start(to: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, ZIPKIN))
        .with_context(|| format!("port {ZIPKIN}"))?;
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            // A connection that cannot be passed on is closed.
            let Ok(far) = TcpStream::connect(to) else {
                continue;
            };
            let ends = (near.try_clone(), far.try_clone());
            thread::spawn(move || copy(near, far));
            if let (Ok(near), Ok(far)) = ends {
                thread::spawn(move || copy(far, near));
            }
        }
    });
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    // However it ends, the other side learns that nothing more comes.
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

/// A Jaeger agent's port, that keeps all datagrams.
#[derive(Debug)]
pub(super) struct JaegerPort {
    datagrams: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl JaegerPort {
    pub(super) fn start() -> Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, JAEGER))
            .with_context(|| format!("UDP port {JAEGER}"))?;
        let port = Self {
            datagrams: Arc::default(),
        };
        let kept = Arc::clone(&port.datagrams);
        thread::spawn(move || {
            let mut buffer = vec![0; 1 << 16];
            while let Ok(length) = socket.recv(&mut buffer) {
                let datagram = buffer.get(..length).unwrap_or_default().to_vec();
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(datagram);
            }
        });
        Ok(port)
    }

    pub(super) fn datagrams(&self) -> Vec<Vec<u8>> {
        self.datagrams
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
