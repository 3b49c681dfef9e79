//! nodespan: traces HTTP on a Linux node without sidecars.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a command speaks on its terminal")]

use std::process::ExitCode;

fn main() -> ExitCode {
    match nodespan::capture::live::Live::start(&nodespan::capture::live::Options::default()) {
        Ok((mut live, control, gauges, report)) => {
            print!("{report}");
            if std::env::args().nth(1).as_deref() == Some("dump") {
                let _control = control;
                let end = std::time::Instant::now() + std::time::Duration::from_secs(8);
                while std::time::Instant::now() < end {
                    live.drain(1000, |r| println!("{r:?}"));
                    let _x = live.wait(std::time::Duration::from_millis(500));
                }
                println!("{:?}", gauges.read());
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("nodespan: {error}");
            ExitCode::from(if error.is_kernel() { 3 } else { 1 })
        }
    }
}
