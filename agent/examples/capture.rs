//! Writes a capture of HTTP exchanges to a file: `capture FILE CONNECTIONS`.
#![expect(clippy::print_stderr, reason = "an example speaks on its terminal")]

use nodespan::capture::pcap::write::{Load, generate};

fn main() -> std::io::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let (Some(path), Some(connections)) = (arguments.next(), arguments.next()) else {
        eprintln!("usage: capture FILE CONNECTIONS");
        return Ok(());
    };
    let load = Load {
        connections: connections.parse().unwrap_or(16),
        ..Load::default()
    };
    let file = std::io::BufWriter::new(std::fs::File::create(path)?);
    let exchanges = generate(file, &load)?;
    eprintln!("{exchanges} exchanges");
    Ok(())
}
