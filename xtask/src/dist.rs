//! `cargo xtask dist`: what is released.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use clap::Args;
use time::{OffsetDateTime, format_description::well_known::Rfc3339};

use crate::{build, sh, workspace::Workspace};

mod archive;
mod binary;
mod content;
mod notices;
mod packages;
mod sbom;

use archive::{Common, gzip};
use content::Release;
use packages::Package;
use sbom::Built;

/// Make the release archive and the root file system of the image, the same
/// bytes from the same commit.
///
/// All times in them are SOURCE_DATE_EPOCH, or else that of the commit.
#[derive(Args, Debug)]
pub(crate) struct Dist {
    /// Where they are put; target/dist if it is not given.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Build in this folder instead of target/dist/build.
    #[arg(long)]
    build: Option<PathBuf>,
}

/// Owner of the image's files: nobody that runs anything, so that the agent,
/// which is root without root's right to pass over permissions, cannot change
/// them.
pub(crate) const IMAGE_OWNER: u64 = 65532;

impl Dist {
    /// Prints what was made.
    ///
    /// # Errors
    /// If a part does not build, or cannot be written.
    pub(crate) fn run(&self) -> Result<i32> {
        let workspace = Workspace::load()?;
        let or = |given: &Option<PathBuf>, usual: &str| {
            let given = given.as_deref().map(std::path::absolute).transpose()?;
            anyhow::Ok(given.unwrap_or_else(|| workspace.target.join(usual)))
        };
        let out = or(&self.out, OUT)?;
        let target = or(&self.build, BUILD)?;
        for path in make(&workspace, &out, &target)? {
            println!("{}", path.display());
        }
        Ok(0)
    }
}

const OUT: &str = "dist";
const BUILD: &str = "dist/build";
const IMAGE: &str = "rootfs.tar";
/// Where the Dockerfile looks for it in a clone.
pub(crate) const IN_A_CLONE: &str = "target/dist/rootfs.tar";

/// Where what is released is built.
pub(crate) fn build_folder(workspace: &Workspace) -> PathBuf {
    workspace.target.join(BUILD)
}

/// Makes everything in the usual places; returns the image's root file system.
///
/// # Errors
/// As [`Dist::run`].
pub(crate) fn image(workspace: &Workspace) -> Result<PathBuf> {
    let out = workspace.target.join(OUT);
    make(workspace, &out, &build_folder(workspace))?;
    Ok(out.join(IMAGE))
}

/// Builds in `target` and writes to `out`; returns what was written.
fn make(workspace: &Workspace, out: &Path, target: &Path) -> Result<Vec<PathBuf>> {
    fs::create_dir_all(out).with_context(|| format!("making {}", out.display()))?;
    let (agent, objects) = build::released(workspace, target)?;
    let agent = fs::read(&agent).with_context(|| format!("reading {}", agent.display()))?;
    binary::check(&agent).context("what was built cannot be released")?;
    let packages = agent_packages(workspace)?;
    let of_object = object_packages(workspace)?;
    let time = time(workspace)?;
    let sbom = {
        let standard = sh::capture(workspace.rustc().arg("--version"))?;
        let core = build::kernel_compiler()?;
        let contents: Vec<_> = objects.iter().map(fs::read).collect::<Result<_, _>>()?;
        let names = objects
            .iter()
            .map(|path| path.file_name().unwrap_or_default());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        let objects = names.iter().zip(&contents).map(|(name, content)| Built {
            name,
            license: "MIT OR GPL-2.0-only",
            content,
            packages: &of_object,
            library: ("rust-core", version_of(&core)),
        });
        let agent = Built {
            name: "nodespan",
            license: "MIT OR Apache-2.0",
            content: &agent,
            packages: &packages,
            library: ("rust-std", version_of(&standard)),
        };
        let objects: Vec<_> = objects.collect();
        let at = OffsetDateTime::from_unix_timestamp(i64::try_from(time)?)?;
        sbom::document(VERSION, &at.format(&Rfc3339)?, &agent, &objects)
    };
    let mut linked = packages;
    linked.extend(of_object);
    let release = Release {
        root: &workspace.root,
        agent,
        sbom: format!("{sbom:#}\n"),
        notices: notices::text(&linked)?,
    };
    release_files(&release, time)?
        .into_iter()
        .map(|(name, bytes)| write(out, &name, &bytes))
        .collect()
}

/// The version of all packages of this workspace.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What this version's archive and the folder in it are called.
pub(crate) fn release_name() -> String {
    format!("nodespan-{VERSION}-x86_64-linux")
}

/// What is put into the folder, by name.
fn release_files(release: &Release<'_>, time: u64) -> Result<Vec<(String, Vec<u8>)>> {
    let name = release_name();
    let common = Common { owner: 0, time };
    let of_image = Common {
        owner: IMAGE_OWNER,
        time,
    };
    let archive = release.archive()?.tar(&format!("{name}/"), common)?;
    let mut files = vec![
        (format!("{name}.tar.gz"), gzip(&archive)?),
        (
            format!("{name}.cdx.json"),
            release.sbom.clone().into_bytes(),
        ),
        (IMAGE.to_owned(), release.image()?.tar("", of_image)?),
    ];
    let sums: String = files
        .iter()
        .map(|(name, bytes)| format!("{}  {name}\n", digest(bytes)))
        .collect();
    files.push(("SHA256SUMS".to_owned(), sums.into_bytes()));
    Ok(files)
}

/// What the agent's binary is made from.
fn agent_packages(workspace: &Workspace) -> Result<Vec<Package>> {
    packages::inside(workspace, "nodespan", &["--target", build::RELEASE_TARGET])
}

/// What the kernel objects are made from.
fn object_packages(workspace: &Workspace) -> Result<Vec<Package>> {
    let arguments = ["--target", build::BPF_TARGET, "--features", "log"];
    packages::inside(workspace, build::BPF_PACKAGE, &arguments)
}

/// Seconds since 1970 that everything bears.
fn time(workspace: &Workspace) -> Result<u64> {
    if let Ok(given) = env::var("SOURCE_DATE_EPOCH") {
        return given
            .parse()
            .with_context(|| format!("SOURCE_DATE_EPOCH is {given:?}, not seconds since 1970"));
    }
    let mut git = std::process::Command::new("git");
    git.current_dir(&workspace.root)
        .args(["log", "-1", "--format=%ct"]);
    let time = sh::capture(&mut git)
        .context("SOURCE_DATE_EPOCH is not set, and git does not tell the time of the commit")?;
    Ok(time.trim().parse()?)
}

/// `1.95.0` of `rustc 1.95.0 (…)`.
fn version_of(rustc: &str) -> &str {
    rustc.split_whitespace().nth(1).unwrap_or("unknown")
}

/// SHA-256 in hexadecimal.
fn digest(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|b| format!("{b:02x}")).collect()
}

fn write(folder: &Path, name: &str, bytes: &[u8]) -> Result<PathBuf> {
    let path = folder.join(name);
    fs::write(&path, bytes).with_context(|| format!("writing {}", path.display()))?;
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn files() -> Vec<(String, Vec<u8>)> {
        let workspace = Workspace::load().unwrap();
        let release = Release {
            root: &workspace.root,
            agent: b"binary".to_vec(),
            sbom: "{}\n".to_owned(),
            notices: "none\n".to_owned(),
        };
        release_files(&release, 1_700_000_000).unwrap()
    }

    fn file<'a>(files: &'a [(String, Vec<u8>)], end: &str) -> &'a [u8] {
        &files
            .iter()
            .find(|(name, _)| name.ends_with(end))
            .unwrap()
            .1
    }

    #[test]
    fn the_digest_is_sha_256() {
        // FIPS 180-2, B.1.
        assert_eq!(
            digest(b"abc"),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn two_runs_give_the_same_bytes() {
        assert_eq!(files(), files());
    }

    #[test]
    fn sums_are_those_that_sha256sum_reads() {
        let files = files();
        let sums = String::from_utf8(file(&files, "SHA256SUMS").to_vec()).unwrap();
        assert_eq!(sums.lines().count(), files.len() - 1);
        for line in sums.lines() {
            let (sum, name) = line.split_once("  ").unwrap();
            assert_eq!(sum, digest(file(&files, name)), "{name}");
        }
    }

    #[test]
    fn the_archive_has_its_own_sums_and_belongs_to_root() {
        let files = files();
        let bytes = file(&files, ".tar.gz");
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(bytes));
        let mut contents = std::collections::BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            assert_eq!(entry.header().uid().unwrap(), 0);
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            let folder = format!("nodespan-{VERSION}-x86_64-linux/");
            let path = path.strip_prefix(&folder).unwrap().to_owned();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            if !path.ends_with('/') {
                contents.insert(path, content);
            }
        }
        let sums = String::from_utf8(contents.remove("SHA256SUMS").unwrap()).unwrap();
        let expected: String = contents
            .iter()
            .map(|(path, content)| format!("{}  {path}\n", digest(content)))
            .collect();
        assert_eq!(sums, expected);
        for wanted in [
            "nodespan",
            "LICENSE-MIT",
            "LICENSE-APACHE",
            "THIRD-PARTY-LICENSES.txt",
            "README.md",
            "sbom.cdx.json",
            "deploy/nodespan.service",
            "deploy/nodespan.toml",
            "deploy/kubernetes/agent.yaml",
            "deploy/kubernetes/crds.yaml",
            "deploy/kubernetes/tracing.yaml",
            "deploy/examples/policies.yaml",
        ] {
            assert!(contents.contains_key(wanted), "{wanted}");
        }
        for (page, text) in contents.iter().filter(|(path, _)| path.ends_with(".md")) {
            for link in links(std::str::from_utf8(text).unwrap()) {
                let there = resolved(page, link);
                let mut all = contents.keys();
                let found =
                    all.any(|path| *path == there || path.starts_with(&format!("{there}/")));
                assert!(found, "{page} links to {link}, which the archive has not");
            }
        }
    }

    /// Where a page's links lead in the same tree, without anchors.
    fn links(text: &str) -> impl Iterator<Item = &str> {
        let targets = text.split("](").skip(1);
        let targets = targets.filter_map(|rest| rest.split([')', '#']).next());
        targets.filter(|target| !target.is_empty() && !target.contains("://"))
    }

    fn resolved(page: &str, link: &str) -> String {
        let mut path: Vec<&str> = page.split('/').collect();
        path.pop();
        for part in link.split('/') {
            if part == ".." {
                path.pop();
            } else {
                path.push(part);
            }
        }
        path.join("/")
    }

    /// Nobody who runs in it may write anything.
    #[test]
    fn the_image_cannot_be_changed_by_the_agent() {
        let files = files();
        let mut archive = tar::Archive::new(file(&files, "rootfs.tar"));
        let mut paths = Vec::new();
        for entry in archive.entries().unwrap() {
            let entry = entry.unwrap();
            let header = entry.header();
            assert_eq!(header.uid().unwrap(), IMAGE_OWNER);
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            assert_eq!(header.mode().unwrap() & 0o222, 0, "{path}");
            let all_read = header.mode().unwrap() & 0o444 == 0o444;
            assert!(all_read, "{path}");
            paths.push(path);
        }
        assert!(paths.contains(&"usr/bin/nodespan".to_owned()));
        assert!(paths.contains(&"etc/passwd".to_owned()));
    }
}
