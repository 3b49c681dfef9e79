//! The three sockets through which a guest speaks: the command's two streams,
//! and the report of its beginning and end.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::{UnixListener, UnixStream},
    path::Path,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, Result, bail};

use super::{Output, Stream, qemu::PORTS};

/// Sockets that QEMU will connect to.
#[derive(Debug)]
pub(super) struct Ports([UnixListener; 3]);

impl Ports {
    pub(super) fn listen(dir: &Path) -> Result<Self> {
        let listen = |name| {
            UnixListener::bind(dir.join(name)).with_context(|| format!("listening on {name}"))
        };
        let [control, out, err] = PORTS;
        Ok(Self([listen(control)?, listen(out)?, listen(err)?]))
    }

    /// Begins to read.
    pub(super) fn attach(self, output: &Output) -> Attached {
        let [control, out, err] = self.0;
        let (send, reports) = sync_channel(16);
        thread::spawn(move || read_reports(&control, &send));
        let pump = |listener: UnixListener, stream| {
            let output = output.clone();
            thread::spawn(move || pump(&listener, stream, &output))
        };
        let pumps = vec![pump(out, Stream::Out), pump(err, Stream::Err)];
        Attached {
            reports,
            pumps,
            begun: false,
            exit: None,
            closed: false,
        }
    }
}

/// A guest that is being listened to.
#[derive(Debug)]
pub(super) struct Attached {
    reports: Receiver<String>,
    pumps: Vec<JoinHandle<()>>,
    begun: bool,
    exit: Option<i32>,
    closed: bool,
}

impl Attached {
    /// Waits for the next report, at most so long.
    pub(super) fn wait(&mut self, limit: Duration) -> Result<()> {
        if self.closed {
            thread::sleep(limit);
            return Ok(());
        }
        match self.reports.recv_timeout(limit) {
            Ok(line) => match line.split_once(' ') {
                None if line == "ready" => self.begun = true,
                Some(("exit", code)) => {
                    self.exit = Some(
                        code.parse()
                            .with_context(|| format!("odd report {line:?}"))?,
                    );
                }
                _ => bail!("odd report of the guest: {line:?}"),
            },
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => self.closed = true,
        }
        Ok(())
    }

    pub(super) const fn has_begun(&self) -> bool {
        self.begun
    }

    pub(super) const fn exit_code(&self) -> Option<i32> {
        self.exit
    }

    /// Reads the rest of the output. QEMU must have ended.
    pub(super) fn finish(self) {
        for pump in self.pumps {
            let _ = pump.join();
        }
    }
}

fn read_reports(listener: &UnixListener, send: &SyncSender<String>) {
    let Ok((socket, _)) = listener.accept() else {
        return;
    };
    for line in BufReader::new(socket).lines() {
        let Ok(line) = line else { return };
        if send.send(line.trim().to_owned()).is_err() {
            return;
        }
    }
}

/// Copies one stream until it ends. A reader of ours that has gone away (a
/// closed pipe) does not stop the guest.
fn pump(listener: &UnixListener, stream: Stream, output: &Output) {
    let Ok((mut socket, _)) = listener.accept() else {
        return;
    };
    let mut buffer = vec![0; 64 * 1024];
    while let Some(bytes) = read_some(&mut socket, &mut buffer) {
        match (output, stream) {
            (Output::Sink(sink), _) => sink(stream, bytes),
            (Output::Inherit, Stream::Out) => {
                let mut out = io::stdout().lock();
                let _ = out.write_all(bytes).and_then(|()| out.flush());
            }
            (Output::Inherit, Stream::Err) => {
                let _ = io::stderr().lock().write_all(bytes);
            }
        }
    }
}

fn read_some<'a>(socket: &mut UnixStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    loop {
        match socket.read(buffer) {
            Ok(0) => return None,
            Ok(n) => return Some(&buffer[..n]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
}
