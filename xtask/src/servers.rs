//! Real servers on this machine, for as long as a test needs them.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};

use crate::{cache::Cache, daemon::Daemon, scratch::ScratchDir, setup::servers, sh};

/// A Zipkin server with its spans in memory; it ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Zipkin {
    port: u16,
    // Dropped in this order: the server first.
    _server: Daemon,
    _logs: ScratchDir,
}

impl Zipkin {
    /// Starts one and waits until it is healthy (about 5 s). Port 0 takes a
    /// free one.
    ///
    /// # Errors
    /// If the set-up is missing or the server does not start.
    pub(crate) fn start(port: u16) -> Result<Self> {
        let jar = servers::find_zipkin(&Cache::open()?)?;
        let java = sh::which("java").context("java is missing")?;
        let port = if port == 0 { free_port()? } else { port };
        let logs = ScratchDir::new()?;
        let mut setpriv = Command::new("setpriv");
        setpriv
            .env("STORAGE_TYPE", "mem")
            .env("QUERY_PORT", port.to_string());
        let arguments = ["-Xmx512m".into(), "-jar".into(), jar.into_os_string()];
        let mut server = Daemon::start(setpriv, &java, &arguments, &logs.path().join("log"))?;
        server.wait_until(|| Ok(is_healthy(port)))?;
        Ok(Self {
            port,
            _server: server,
            _logs: logs,
        })
    }

    /// As programs on this machine reach it.
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As programs in a guest with a network reach it.
    pub(crate) fn url_from_guest(&self) -> String {
        format!("http://10.0.2.2:{}", self.port)
    }
}

/// A port that nobody listens on at this moment.
///
/// # Errors
/// If there is none.
pub(crate) fn free_port() -> Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("looking for a port")?;
    Ok(listener.local_addr()?.port())
}

fn is_healthy(port: u16) -> bool {
    let ask = || -> std::io::Result<String> {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(1))?;
        socket.set_read_timeout(Some(Duration::from_secs(2)))?;
        socket
            .write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = [0; 12];
        socket.read_exact(&mut answer)?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    };
    ask().is_ok_and(|answer| answer == "HTTP/1.1 200")
}
