//! Debian packages: installed on the machine, or only fetched and unpacked.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result, bail};

use crate::{cache::Cache, sh};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// Installs what is missing of `packages`, without starting any service.
///
/// # Errors
/// If apt fails, with its last lines.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    let missing: Vec<&str> = packages
        .iter()
        .copied()
        .filter(|name| !is_installed(name))
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if sh::which("apt-get").is_none() {
        bail!(
            "this machine has no apt-get; install by hand: {}",
            missing.join(" ")
        );
    }
    sh::step(&format!("apt-get install {}", missing.join(" ")), || {
        // A stale package list is the usual reason for a failure; so the
        // list is brought up to date only then.
        if install_now(&missing).is_err() {
            sh::quiet(sh::root("apt-get").args(["-q", "update"]))?;
            install_now(&missing)?;
        }
        Ok(())
    })
}

/// Whether apt knows a version of `package` to install.
pub(crate) fn is_available(package: &str) -> bool {
    is_installed(package)
        || sh::capture(Command::new("apt-cache").args(["policy", package])).is_ok_and(|text| {
            text.lines().any(|line| {
                line.trim()
                    .strip_prefix("Candidate:")
                    .is_some_and(|v| v.trim() != "(none)")
            })
        })
}

/// Whether `package` is installed on this machine.
pub(crate) fn is_installed(package: &str) -> bool {
    sh::capture(Command::new("dpkg-query").args(["-W", "-f=${db:Status-Status}", package]))
        .is_ok_and(|status| status == "installed")
}

fn install_now(packages: &[&str]) -> Result<()> {
    // SYSTEMD_OFFLINE and the policy below keep packages from starting what
    // they bring: nginx would otherwise take port 80 of the machine.
    let _policy = NoServices::set()?;
    sh::quiet(
        sh::root("env")
            .args([
                "DEBIAN_FRONTEND=noninteractive",
                "SYSTEMD_OFFLINE=1",
                "RUNLEVEL=1",
            ])
            .args(["apt-get", "-q", "-y", "--no-install-recommends", "install"])
            .args(packages),
    )
}

/// While it lives, invoke-rc.d refuses to start services.
struct NoServices {
    ours: bool,
}

const POLICY: &str = "/usr/sbin/policy-rc.d";

impl NoServices {
    fn set() -> Result<Self> {
        if Path::new(POLICY).exists() {
            return Ok(Self { ours: false }); // The machine's own policy stands.
        }
        let script = format!("printf '#!/bin/sh\\nexit 101\\n' > {POLICY} && chmod 755 {POLICY}");
        sh::quiet(sh::root("sh").args(["-c", &script]))?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(error) = sh::quiet(sh::root("rm").args(["-f", POLICY]))
        {
            eprintln!("[xtask] could not remove {POLICY}: {error:#}");
        }
    }
}

/// Apt with sources of its own: nothing of the machine's configuration is
/// read or changed.
#[derive(Debug)]
pub(crate) struct PrivateApt {
    options: Vec<String>,
}

impl PrivateApt {
    /// Opens the given suites (`SUITE` of the Debian archive, `SUITE-security`
    /// of the security archive) and fetches their lists.
    ///
    /// # Errors
    /// If the keyring cannot be installed or the lists cannot be fetched.
    pub(crate) fn open(cache: &Cache, suites: &[&str]) -> Result<Self> {
        if !Path::new(KEYRING).exists() {
            install(&["debian-archive-keyring"])?;
        }
        let dir = cache.path("apt");
        for sub in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        let sources = dir.join("sources.list");
        fs::write(&sources, sources_list(suites))?;
        let set = |key: &str, value: &Path| format!("{key}={}", value.display());
        let apt = Self {
            options: vec![
                set("Dir::Etc::sourcelist", &sources),
                "Dir::Etc::sourceparts=/dev/null".into(),
                set("Dir::State::Lists", &dir.join("lists")),
                set("Dir::Cache", &dir.join("cache")),
                "APT::Architecture=amd64".into(),
                "APT::Architectures=amd64".into(),
                "APT::Get::List-Cleanup=true".into(),
                // Root's downloads go to root's cache folder, which the
                // user _apt cannot enter.
                "APT::Sandbox::User=root".into(),
            ],
        };
        sh::step("fetching Debian package lists", || {
            sh::quiet(apt.command("apt-get").args(["-q", "update"]))
        })?;
        Ok(apt)
    }

    /// Names of all packages that match the extended regular expression.
    ///
    /// # Errors
    /// If apt-cache fails.
    pub(crate) fn names(&self, pattern: &str) -> Result<Vec<String>> {
        let text =
            sh::capture(
                self.command("apt-cache")
                    .args(["search", "--names-only", pattern]),
            )?;
        Ok(text
            .lines()
            .filter_map(|line| line.split(" - ").next())
            .map(str::to_owned)
            .collect())
    }

    /// The `Depends:` of a package, as bare names.
    ///
    /// # Errors
    /// If apt-cache fails.
    pub(crate) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let text =
            sh::capture(
                self.command("apt-cache")
                    .args(["show", "--no-all-versions", package]),
            )?;
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("Depends:"))
            .unwrap_or_default();
        Ok(line
            .split([',', '|'])
            .filter_map(|one| one.split_whitespace().next())
            .map(str::to_owned)
            .collect())
    }

    /// Downloads packages and unpacks them over one another into `dir`.
    ///
    /// # Errors
    /// If a download or dpkg fails.
    pub(crate) fn unpack(&self, packages: &[String], dir: &Path) -> Result<()> {
        let debs = dir.join("debs");
        fs::create_dir_all(&debs)?;
        sh::quiet(
            self.command("apt-get")
                .args(["-q", "download"])
                .args(packages)
                .current_dir(&debs),
        )?;
        for deb in fs::read_dir(&debs)? {
            sh::quiet(Command::new("dpkg").arg("-x").arg(deb?.path()).arg(dir))?;
        }
        fs::remove_dir_all(&debs).context("removing the packages after unpacking")
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        for option in &self.options {
            command.arg("-o").arg(option);
        }
        command
    }
}

fn sources_list(suites: &[&str]) -> String {
    let mirror = std::env::var("NODESPAN_DEBIAN_MIRROR")
        .unwrap_or_else(|_| "http://deb.debian.org".to_owned());
    suites
        .iter()
        .map(|suite| {
            let archive = if suite.ends_with("-security") {
                "debian-security"
            } else {
                "debian"
            };
            format!("deb [signed-by={KEYRING}] {mirror}/{archive} {suite} main\n")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_suites_come_from_the_security_archive() {
        let list = sources_list(&["bullseye", "bookworm-security"]);
        assert!(list.contains("/debian bullseye main\n"));
        assert!(list.contains("/debian-security bookworm-security main\n"));
    }
}
