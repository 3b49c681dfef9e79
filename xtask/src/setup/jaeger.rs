//! Jaeger 2, built from its Go module.
//!
//! Nobody publishes a Jaeger binary in a package registry, so it is built from
//! source: some 300 modules, pinned with their sums by `xtask/jaeger/go.mod`
//! and `go.sum`. The program lands in the cache; Go keeps the modules.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use crate::{apt, cache::Cache, sh};

/// The tag in `xtask/jaeger/go.mod`: Jaeger 2.13.0 and 1.76.0 are one commit.
const VERSION: &str = "2.13.0";
const PACKAGE: &str = "github.com/jaegertracing/jaeger/cmd/jaeger";
const GO_MOD: &str = include_str!("../../jaeger/go.mod");
const GO_SUM: &str = include_str!("../../jaeger/go.sum");

/// Go from 1.21 on can bring a newer Go by itself, if it is allowed to.
const GO_THAT_UPDATES_ITSELF: (u32, u32) = (1, 21);

/// Builds it unless it is there.
///
/// # Errors
/// If Go is missing or too old, a module cannot be fetched, or the build
/// fails.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    let path = path(cache);
    if path.exists() {
        return Ok(path);
    }
    if sh::which("go").is_none() {
        apt::install(&["golang-go"])?;
    }
    let have = sh::capture(Command::new("go").arg("version"))?;
    let need = directive(GO_MOD).context("xtask/jaeger/go.mod names no Go version")?;
    let toolchain = toolchain(&have, need)?;
    sh::step(&format!("building Jaeger {VERSION} with Go"), || {
        cache.entry(&entry(), |dir| {
            let source = dir.join("build");
            fs::create_dir(&source)?;
            fs::write(source.join("go.mod"), GO_MOD)?;
            fs::write(source.join("go.sum"), GO_SUM)?;
            let mut go = Command::new("go");
            go.current_dir(&source)
                // No C compiler, and no setting of this user's, has a say.
                .envs([("CGO_ENABLED", "0"), ("GOFLAGS", ""), ("GOWORK", "off")])
                .args(["build", "-trimpath", "-ldflags=-s -w", "-o"])
                .arg(dir.join("jaeger"))
                .arg(PACKAGE);
            if let Some(toolchain) = &toolchain {
                go.env("GOTOOLCHAIN", toolchain);
            }
            sh::quiet(&mut go)?;
            fs::remove_dir_all(source)?;
            sh::quiet(Command::new(dir.join("jaeger")).arg("version"))
        })
    })?;
    Ok(path)
}

/// The program that an earlier [`ensure`] has built.
///
/// # Errors
/// If it is not there.
pub(crate) fn find(cache: &Cache) -> Result<PathBuf> {
    let path = path(cache);
    if !path.exists() {
        bail!("{} is missing: cargo xtask setup jaeger", path.display());
    }
    Ok(path)
}

fn path(cache: &Cache) -> PathBuf {
    cache.path(entry()).join("jaeger")
}

fn entry() -> String {
    format!("jaeger-{VERSION}")
}

/// What `GOTOOLCHAIN` has to say so that a Go of at least `need` builds; none
/// if the one at hand is that.
fn toolchain(have: &str, need: &str) -> Result<Option<String>> {
    let version = have
        .split_whitespace()
        .find_map(|word| version(word.strip_prefix("go")?));
    let version = version.with_context(|| format!("`go version` said {have:?}"))?;
    if Some(version) >= self::version(need) {
        return Ok(None);
    }
    if version < GO_THAT_UPDATES_ITSELF {
        bail!(
            "Jaeger needs Go {need}, and Go {}.{} is too old to fetch it: install Go 1.21 or newer",
            version.0,
            version.1
        );
    }
    Ok(Some(format!("go{need}+auto")))
}

/// Major and minor of `1.26.8`.
fn version(text: &str) -> Option<(u32, u32)> {
    let mut parts = text.split('.');
    let major = parts.next()?.parse().ok()?;
    let minor = parts.next()?.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major, minor.parse().ok()?))
}

/// The Go version that a `go.mod` asks for.
fn directive(go_mod: &str) -> Option<&str> {
    go_mod.lines().find_map(|line| line.strip_prefix("go "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_go_fetches_the_one_that_is_needed_or_says_why_not() {
        let of = |have: &str| toolchain(&format!("go version go{have} linux/amd64\n"), "1.25.0");
        assert_eq!(of("1.26.8").unwrap(), None);
        assert_eq!(of("1.25rc1").unwrap(), None);
        assert_eq!(of("1.24.6").unwrap().as_deref(), Some("go1.25.0+auto"));
        assert!(of("1.19.8").unwrap_err().to_string().contains("1.21"));
        assert!(toolchain("no go", "1.25.0").is_err());
    }

    #[test]
    fn the_module_file_pins_what_is_built() {
        assert!(GO_MOD.contains(PACKAGE));
        assert!(directive(GO_MOD).and_then(version).is_some());
        let pinned = GO_MOD.lines().find_map(|line| {
            line.trim()
                .strip_prefix("github.com/jaegertracing/jaeger v")
        });
        let pinned = pinned.and_then(|rest| rest.split(' ').next());
        assert_eq!(pinned, Some("1.76.0"));
        assert!(GO_SUM.contains("github.com/jaegertracing/jaeger v1.76.0 h1:"));
    }
}
