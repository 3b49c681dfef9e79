//! A TCP conversation that is no HTTP: what calls on such sockets cost.
//!
//! `pingpong --calls N [--warm-up N] [--greet N]` sends 64 bytes to itself over loopback
//! and back, N times, and prints how many nanoseconds that took. Each turn is
//! two sends and two receives. Before that it exchanges N greetings over HTTP
//! on another connection, so that an agent knows whose process this is.

use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::thread;
use std::time::{Duration, Instant};

/// No method token can begin with a zero byte.
const MESSAGE: [u8; 64] = *b"\0\x01nodespan pingpong: sixty-four bytes that are no HTTP message..";

/// Enough for an agent to see what has been.
const WHILE: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    let mut calls = None;
    let (mut warm_up, mut greet) = (0, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = arguments.next().and_then(|n| n.parse().ok());
        match (argument.as_str(), number) {
            ("--calls", Some(n)) => calls = Some(n),
            ("--warm-up", Some(n)) => warm_up = n,
            ("--greet", Some(n)) => greet = n,
            _ => calls = None,
        }
    }
    let Some(calls) = calls else {
        let _ = writeln!(
            io::stderr(),
            "usage: pingpong --calls N [--warm-up N] [--greet N]"
        );
        return ExitCode::from(2);
    };
    match (0..greet)
        .try_for_each(|_| self::greet())
        .and_then(|()| run(warm_up, calls))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "pingpong: {error}");
            ExitCode::FAILURE
        }
    }
}

/// One exchange over HTTP, and a while for whoever watches.
fn greet() -> io::Result<()> {
    const QUESTION: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    let mut buffer = [0; 512];
    client.write_all(QUESTION)?;
    server.read_exact(&mut buffer[..QUESTION.len()])?;
    server.write_all(ANSWER)?;
    client.read_exact(&mut buffer[..ANSWER.len()])?;
    drop((client, server));
    thread::sleep(WHILE);
    Ok(())
}

fn run(warm_up: u64, calls: u64) -> io::Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    for stream in [&client, &server] {
        stream.set_nodelay(true)?;
    }
    let echo = thread::spawn(move || -> io::Result<()> {
        let mut message = MESSAGE;
        for _ in 0..warm_up + calls {
            server.read_exact(&mut message)?;
            server.write_all(&message)?;
        }
        Ok(())
    });
    // Then whoever watches has had time to make up its mind.
    converse(&mut client, warm_up / 2)?;
    thread::sleep(WHILE);
    converse(&mut client, warm_up - warm_up / 2)?;
    let start = Instant::now();
    converse(&mut client, calls)?;
    let took = start.elapsed().as_nanos();
    echo.join()
        .map_err(|_panic| io::Error::other("the echo panicked"))??;
    writeln!(io::stdout(), "{took}")
}

fn converse(client: &mut TcpStream, calls: u64) -> io::Result<()> {
    let mut message = MESSAGE;
    for _ in 0..calls {
        client.write_all(&message)?;
        client.read_exact(&mut message)?;
    }
    Ok(())
}
