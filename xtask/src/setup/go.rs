//! Programs that are built from Go modules, because nobody publishes them in a
//! package registry.
//!
//! A `go.mod` and a `go.sum` of the repository pin every module with its sum.
//! The programs land in the cache; Go keeps the modules.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{apt, cache::Cache, sh};

/// Go from 1.21 on can bring a newer Go by itself, if it is allowed to.
const GO_THAT_UPDATES_ITSELF: (u32, u32) = (1, 21);

/// What is built together, as one entry of the cache.
#[derive(Debug)]
pub(super) struct Programs {
    /// What people call it.
    pub(super) what: &'static str,
    /// The entry in the cache.
    pub(super) entry: &'static str,
    /// The part of the set-up that brings it.
    pub(super) part: &'static str,
    pub(super) go_mod: &'static str,
    pub(super) go_sum: &'static str,
    /// What the linker writes into every one of them: `-X` and its argument.
    pub(super) stamps: &'static [&'static str],
    /// Its name, its package, and arguments with which it succeeds at once.
    pub(super) programs: &'static [Program],
}

/// One of them.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) name: &'static str,
    pub(super) package: &'static str,
    /// Arguments with which it ends at once and well.
    pub(super) tried_with: &'static [&'static str],
}

impl Programs {
    /// Builds them unless they are there, and returns their folder.
    ///
    /// # Errors
    /// If Go is missing or too old, a module cannot be fetched, or a build
    /// fails.
    pub(super) fn ensure(&self, cache: &Cache) -> Result<PathBuf> {
        let path = cache.path(self.entry);
        if path.exists() {
            return Ok(path);
        }
        if sh::which("go").is_none() {
            apt::install(&["golang-go"])?;
        }
        let have = sh::capture(Command::new("go").arg("version"))?;
        let need = directive(self.go_mod)
            .with_context(|| format!("the go.mod of {} names no Go version", self.what))?;
        let toolchain = toolchain(self.what, &have, need)?;
        cache.entry(self.entry, |dir| {
            let source = dir.join("build");
            fs::create_dir(&source)?;
            fs::write(source.join("go.mod"), self.go_mod)?;
            fs::write(source.join("go.sum"), self.go_sum)?;
            for program in self.programs {
                let Program { name, .. } = program;
                sh::step(&format!("building {name} of {} with Go", self.what), || {
                    let binary = dir.join(name);
                    sh::quiet(&mut self.build(program, &source, &binary, toolchain.as_deref()))?;
                    sh::quiet(Command::new(binary).args(program.tried_with))
                })?;
            }
            fs::remove_dir_all(source).context("removing the folder of the build")
        })
    }

    /// The folder of the programs that an earlier [`Programs::ensure`] has built.
    ///
    /// # Errors
    /// If it is not there.
    pub(super) fn find(&self, cache: &Cache) -> Result<PathBuf> {
        let path = cache.path(self.entry);
        if !path.exists() {
            bail!(
                "{} is missing: cargo xtask setup {}",
                path.display(),
                self.part
            );
        }
        Ok(path)
    }

    fn build(
        &self,
        program: &Program,
        source: &Path,
        binary: &Path,
        toolchain: Option<&str>,
    ) -> Command {
        let mut flags = vec!["-s", "-w"];
        flags.extend(self.stamps.iter().flat_map(|stamp| ["-X", *stamp]));
        let mut go = Command::new("go");
        go.current_dir(source)
            // No C compiler, and no setting of this user's, has a say.
            .envs([("CGO_ENABLED", "0"), ("GOFLAGS", ""), ("GOWORK", "off")])
            .args(["build", "-trimpath"])
            .arg(format!("-ldflags={}", flags.join(" ")))
            .arg("-o")
            .arg(binary)
            .arg(program.package);
        if let Some(toolchain) = toolchain {
            go.env("GOTOOLCHAIN", toolchain);
        }
        go
    }
}

/// What `GOTOOLCHAIN` has to say so that a Go of at least `need` builds; none
/// if the one at hand is that.
fn toolchain(what: &str, have: &str, need: &str) -> Result<Option<String>> {
    let version = have
        .split_whitespace()
        .find_map(|word| version(word.strip_prefix("go")?));
    let version = version.with_context(|| format!("`go version` said {have:?}"))?;
    if Some(version) >= self::version(need) {
        return Ok(None);
    }
    if version < GO_THAT_UPDATES_ITSELF {
        bail!(
            "{what} needs Go {need}, and Go {}.{} is too old to fetch it: install Go 1.21 or newer",
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

/// Asserts that the module files pin what is built: every package is a tool of
/// the module, and each of `modules` stands in both files in its version.
#[cfg(test)]
pub(super) fn assert_pinned(programs: &Programs, modules: &[(&str, &str)]) {
    for program in programs.programs {
        assert!(
            programs.go_mod.contains(program.package),
            "{}",
            program.package
        );
    }
    assert!(directive(programs.go_mod).and_then(version).is_some());
    for (module, version) in modules {
        let of = |line: &str| {
            let rest = line.trim().strip_prefix(module)?.strip_prefix(' ')?;
            rest.split(' ').next().map(str::to_owned)
        };
        let pinned = programs.go_mod.lines().filter_map(of);
        let pinned: Vec<_> = pinned.filter(|word| word.starts_with('v')).collect();
        assert_eq!(pinned, [version.to_string()], "{module}");
        let sum = format!("{module} {version} h1:");
        assert!(programs.go_sum.contains(&sum), "{sum}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_go_fetches_the_one_that_is_needed_or_says_why_not() {
        let of = |have: &str| {
            toolchain(
                "It",
                &format!("go version go{have} linux/amd64\n"),
                "1.25.0",
            )
        };
        assert_eq!(of("1.26.8").unwrap(), None);
        assert_eq!(of("1.25rc1").unwrap(), None);
        assert_eq!(of("1.24.6").unwrap().as_deref(), Some("go1.25.0+auto"));
        assert!(of("1.19.8").unwrap_err().to_string().contains("1.21"));
        assert!(toolchain("It", "no go", "1.25.0").is_err());
    }
}
