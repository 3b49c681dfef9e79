//! Builds the scenario programs that are not scripts, where their compilers
//! are; a suite that needs one that could not be built fails and says so.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=scenarios/goserver");
    println!("cargo::rerun-if-changed=scenarios/uring.c");
    println!("cargo::rerun-if-env-changed=PATH");
    let Some(out) = std::env::var_os("OUT_DIR") else {
        println!("cargo::error=cargo sets OUT_DIR");
        return;
    };
    let out = Path::new(&out);

    let mut go = Command::new("go");
    go.args(["build", "-trimpath", "-buildvcs=false", "-o"])
        .arg(out.join("goserver"))
        .arg(".");
    go.current_dir("scenarios/goserver");
    go.env("CGO_ENABLED", "0")
        .env("GOTOOLCHAIN", "local")
        .env("GOFLAGS", "");
    build(go, "tests' Go server");

    let mut cc = Command::new("cc");
    cc.args([
        "-O2",
        "-Wall",
        "-Wextra",
        "-D_GNU_SOURCE",
        "scenarios/uring.c",
        "-o",
    ]);
    cc.arg(out.join("uring"));
    build(cc, "tests' io_uring server");
}

fn build(mut command: Command, what: &str) {
    let why = match command.output() {
        Ok(done) if done.status.success() => return,
        Ok(done) => String::from_utf8_lossy(&done.stderr).replace('\n', " | "),
        Err(error) => error.to_string(),
    };
    println!("cargo::warning={what} could not be built; suites that need it will fail: {why}");
}
