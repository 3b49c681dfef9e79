//! Rust for the BPF target: rustup's nightly where `rust-src` can be had,
//! else Debian's compiler for its browsers, which is new enough and comes
//! with its source.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result, bail};

use crate::{apt, cache::Cache, sh};

/// The linker's version; it goes with the aya crates that Cargo.toml pins.
const BPF_LINKER: &str = "0.13.0";

/// The LLVM versions that this linker can be built with.
const LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// rustup's own, where `rust-src` can be had.
const NIGHTLY: &str = "nightly";

/// The cache's note of the toolchain in use.
const REMEMBERED: &str = "bpf-toolchain";

/// rustup's name for Debian's compiler.
const DEBIAN: &str = "debian";

/// What builds the kernel object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Toolchain {
    /// The toolchain's name, as in `cargo +NAME`.
    pub(crate) name: String,
    /// The folder of `bpf-linker`, to be put on PATH.
    pub(crate) linker_dir: PathBuf,
}

impl Toolchain {
    /// Where it is installed.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn sysroot(&self) -> Result<PathBuf> {
        sysroot(&self.name)
    }

    /// What its compiler says it is.
    ///
    /// # Errors
    /// If it does not run.
    pub(crate) fn version(&self) -> Result<String> {
        rustc(&self.name, &["--version"])
    }

    /// `cargo` of this toolchain with all that the BPF target needs.
    ///
    /// # Errors
    /// If PATH cannot be extended.
    pub(crate) fn cargo(&self) -> Result<Command> {
        let mut command = Command::new("rustup");
        command
            .args(["run", &self.name, "cargo"])
            .env("PATH", sh::path_with(&self.linker_dir)?)
            // Debian's compiler is a stable one; build-std is not.
            .env("RUSTC_BOOTSTRAP", "1")
            // Those of the cargo that runs us would win over the toolchain's.
            .env_remove("CARGO")
            .env_remove("RUSTC")
            .env_remove("RUSTDOC")
            .env_remove("RUSTUP_TOOLCHAIN");
        Ok(command)
    }
}

/// Finds or brings a toolchain. `NODESPAN_BPF_TOOLCHAIN` (nightly or debian)
/// chooses one.
///
/// # Errors
/// If no toolchain can be had.
pub(crate) fn ensure(cache: &Cache) -> Result<Toolchain> {
    if sh::which("rustup").is_none() {
        bail!("rustup is missing: see https://rustup.rs");
    }
    let chosen = env::var("NODESPAN_BPF_TOOLCHAIN").ok();
    let choices = match chosen.as_deref() {
        Some(name @ (NIGHTLY | DEBIAN)) => vec![name],
        Some(name) => bail!("NODESPAN_BPF_TOOLCHAIN is {name}: {NIGHTLY} or {DEBIAN}"),
        // What worked before comes first, so that builds agree and a warm
        // set-up asks no network.
        None => match fs::read_to_string(cache.path(REMEMBERED)).as_deref() {
            Ok(DEBIAN) => vec![DEBIAN, NIGHTLY],
            _ => vec![NIGHTLY, DEBIAN],
        },
    };
    let mut failures = String::new();
    for name in choices {
        match prepare(cache, name) {
            Ok(toolchain) => {
                if chosen.is_none() {
                    fs::write(cache.path(REMEMBERED), name)?;
                }
                return Ok(toolchain);
            }
            Err(error) => failures.push_str(&format!("\n{name}: {error:#}")),
        }
    }
    bail!("no toolchain for the BPF target:{failures}")
}

fn prepare(cache: &Cache, name: &str) -> Result<Toolchain> {
    if name == DEBIAN {
        prepare_debian()?;
    } else {
        prepare_rustup(name)?;
    }
    let llvm = llvm_of(name)?;
    if !LLVM.contains(&llvm) {
        bail!("it has LLVM {llvm}, bpf-linker {BPF_LINKER} needs 21, 22 or 23");
    }
    Ok(Toolchain {
        name: name.to_owned(),
        linker_dir: linker(cache, llvm)?,
    })
}

fn prepare_rustup(name: &str) -> Result<()> {
    if has_source(name) {
        return Ok(());
    }
    let quick = |arguments: &[&str]| {
        sh::capture_within(
            Duration::from_secs(180),
            Command::new("rustup").args(arguments),
        )
    };
    if sysroot(name).is_err() {
        sh::step(&format!("rustup toolchain install {name}"), || {
            quick(&["toolchain", "install", name, "--profile", "minimal"])
        })?;
    }
    sh::step("rustup component add rust-src", || {
        quick(&["component", "add", "rust-src", "--toolchain", name])
    })?;
    if !has_source(name) {
        bail!("rustup added rust-src, but it is not there");
    }
    Ok(())
}

fn prepare_debian() -> Result<()> {
    if has_source(DEBIAN) {
        return Ok(());
    }
    let packages = ["rustc-web", "cargo-web", "rust-web-src"];
    if !apt::is_available(packages[0]) {
        sh::quiet(sh::root("apt-get").args(["-q", "update"]))?;
    }
    apt::install(&packages)?;
    sh::quiet(Command::new("rustup").args(["toolchain", "link", DEBIAN, "/usr"]))?;
    if !has_source(DEBIAN) {
        bail!("Debian's packages bring no library source");
    }
    // /usr/bin now has a cargo of its own.
    if let Some(cargo) = sh::which("cargo")
        && cargo.starts_with("/usr/bin")
    {
        eprintln!(
            "[xtask] note: {} comes before rustup's on PATH; put ~/.cargo/bin first",
            cargo.display()
        );
    }
    Ok(())
}

fn has_source(toolchain: &str) -> bool {
    sysroot(toolchain).is_ok_and(|root| {
        root.join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .exists()
    })
}

fn sysroot(toolchain: &str) -> Result<PathBuf> {
    Ok(rustc(toolchain, &["--print", "sysroot"])?.trim().into())
}

fn llvm_of(toolchain: &str) -> Result<u32> {
    let text = rustc(toolchain, &["-vV"])?;
    llvm_major(&text).with_context(|| format!("rustc of {toolchain} names no LLVM:\n{text}"))
}

fn llvm_major(version: &str) -> Option<u32> {
    let line = version
        .lines()
        .find_map(|line| line.strip_prefix("LLVM version:"))?;
    line.trim().split('.').next()?.parse().ok()
}

fn rustc(toolchain: &str, arguments: &[&str]) -> Result<String> {
    sh::capture(
        Command::new("rustup")
            .args(["run", toolchain, "rustc"])
            .args(arguments)
            // `cargo xtask` sets it, and it must not decide here.
            .env_remove("RUSTUP_TOOLCHAIN"),
    )
}

/// Builds the linker against the LLVM of the compiler: an older LLVM cannot
/// read its bitcode.
fn linker(cache: &Cache, llvm: u32) -> Result<PathBuf> {
    let name = format!("bpf-linker-{BPF_LINKER}-llvm-{llvm}");
    let dir = cache.path(&name).join("bin");
    if dir.exists() && runs(&dir.join("bpf-linker")) {
        return Ok(dir);
    }
    // An LLVM from elsewhere serves where the distribution has none.
    let prefix = match env::var_os("LLVM_PREFIX") {
        Some(prefix) => prefix,
        None => {
            install_llvm(llvm)?;
            format!("/usr/lib/llvm-{llvm}").into()
        }
    };
    if cache.path(&name).exists() {
        fs::remove_dir_all(cache.path(&name))?; // Its LLVM has gone.
    }
    sh::step(
        &format!("building bpf-linker {BPF_LINKER} with LLVM {llvm}"),
        || {
            cache.entry(&name, |root| {
                let target = root.join("target");
                sh::quiet(
                    Command::new("cargo")
                        .args(["install", "bpf-linker", "--version", BPF_LINKER, "--locked"])
                        .args([
                            "--no-default-features",
                            "--features",
                            &format!("llvm-{llvm}"),
                        ])
                        .arg("--root")
                        .arg(root)
                        .arg("--target-dir")
                        .arg(&target)
                        .env("LLVM_PREFIX", prefix)
                        .current_dir(root),
                )?;
                fs::remove_dir_all(target).context("removing the linker's build")
            })
        },
    )?;
    Ok(dir)
}

fn install_llvm(llvm: u32) -> Result<()> {
    let packages = [format!("llvm-{llvm}-dev"), format!("libpolly-{llvm}-dev")];
    if !apt::is_available(&packages[0]) {
        sh::quiet(sh::root("apt-get").args(["-q", "update"]))?;
    }
    let headers = ["zlib1g-dev", "libzstd-dev", "libxml2-dev", "gcc", "g++"];
    let all: Vec<&str> = packages.iter().map(String::as_str).chain(headers).collect();
    apt::install(&all)
        .with_context(|| format!("no LLVM {llvm} for bpf-linker; LLVM_PREFIX may name one"))
}

fn runs(program: &Path) -> bool {
    sh::quiet(Command::new(program).arg("--version")).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_llvm_from_rustc() {
        assert_eq!(
            llvm_major("rustc 1.97.0-nightly\nLLVM version: 22.1.4\n"),
            Some(22)
        );
        assert_eq!(llvm_major("rustc 1.97.0-nightly\n"), None);
    }
}
