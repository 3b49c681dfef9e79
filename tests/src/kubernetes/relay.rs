//! A way to the API that can be cut.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::{fs, thread};

use anyhow::{Context as _, Result};
use serde_json::Value;

/// Takes connections and passes them on, until it is cut. Its threads end with
/// the process.
#[derive(Debug)]
pub(super) struct Relay {
    at: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    is_cut: bool,
    open: Vec<TcpStream>,
}

impl Relay {
    /// A relay to what a kubeconfig names, and a kubeconfig in `out` that goes
    /// through it.
    ///
    /// # Errors
    /// If the kubeconfig is not one, or there is no port.
    pub(super) fn start(kubeconfig: &Path, out: &Path, name: &str) -> Result<(Self, PathBuf)> {
        let text = fs::read_to_string(kubeconfig)?;
        let mut config: Value = serde_json::from_str(&text).context("the kubeconfig")?;
        let server = &mut config["clusters"][0]["cluster"]["server"];
        let target = server.as_str().context("no server")?;
        let target = target.strip_prefix("https://").context("no https")?;
        let target: SocketAddr = target.replace("localhost", "127.0.0.1").parse()?;
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let at = listener.local_addr()?;
        *server = format!("https://{at}").into();
        let path = out.join(format!("{name}-relayed.kubeconfig"));
        fs::write(&path, config.to_string())?;
        let state = Arc::new(Mutex::new(State::default()));
        let of_thread = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let _refused = pass(&stream, target, &of_thread);
            }
        });
        Ok((Self { at, state }, path))
    }

    /// Breaks all connections, and those that come.
    pub(super) fn cut(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_cut = true;
        for stream in state.open.drain(..) {
            let _gone = stream.shutdown(Shutdown::Both);
        }
    }

    /// Passes on again.
    pub(super) fn mend(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.is_cut = false;
    }

    /// Where it is.
    pub(super) const fn address(&self) -> SocketAddr {
        self.at
    }
}

fn pass(client: &TcpStream, target: SocketAddr, state: &Mutex<State>) -> Result<()> {
    let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
    if state.is_cut {
        client.shutdown(Shutdown::Both)?;
        return Ok(());
    }
    let server = TcpStream::connect(target)?;
    for (from, to) in [(client, &server), (&server, client)] {
        let (from, to) = (from.try_clone()?, to.try_clone()?);
        thread::spawn(move || copy(from, to));
    }
    state.open.push(client.try_clone()?);
    state.open.push(server);
    Ok(())
}

fn copy(mut from: TcpStream, mut to: TcpStream) {
    let mut buffer = vec![0; 64 << 10];
    while let Ok(n @ 1..) = from.read(&mut buffer) {
        let Some(bytes) = buffer.get(..n) else { break };
        if to.write_all(bytes).is_err() {
            break;
        }
    }
    let _gone = to.shutdown(Shutdown::Both);
    let _gone = from.shutdown(Shutdown::Both);
}
