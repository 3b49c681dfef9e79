//! nodespan: traces HTTP on a Linux node without sidecars.

fn main() -> std::process::ExitCode {
    nodespan::cli::main()
}
