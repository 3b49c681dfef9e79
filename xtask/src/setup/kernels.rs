//! Debian's kernels, unpacked into the cache and never installed.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{apt::PrivateApt, cache::Cache, kernel::Kernel, sh};

/// Where the four kernel lines come from; each suite may bring several.
const SUITES: &[&str] = &[
    "bullseye",
    "bookworm",
    "bookworm-security",
    "trixie",
    "trixie-security",
    "trixie-backports",
];

/// Point releases tried before giving up: a mirror may list a package that
/// its pool no longer has.
const ATTEMPTS: usize = 4;

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct KernelTree {
    /// The release, as `uname -r` prints it.
    pub(crate) release: String,
    /// The kernel image.
    pub(crate) image: PathBuf,
    /// The folder that holds `lib/modules/RELEASE`, decompressed, with `modules.dep`.
    pub(crate) root: PathBuf,
}

impl KernelTree {
    /// The module tree.
    pub(crate) fn modules(&self) -> PathBuf {
        self.root.join("lib/modules").join(&self.release)
    }
}

/// The kernel's tree in the cache, if setup has put it there.
///
/// # Errors
/// If an entry is there but does not look like a kernel.
pub(crate) fn find(cache: &Cache, kernel: Kernel) -> Result<Option<KernelTree>> {
    let root = cache.path(entry_name(kernel));
    if !root.exists() {
        return Ok(None);
    }
    let modules = root.join("lib/modules");
    let release = fs::read_dir(&modules)
        .with_context(|| format!("reading {}", modules.display()))?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .next()
        .with_context(|| format!("{} holds no kernel; remove it", root.display()))?;
    Ok(Some(KernelTree {
        release,
        image: root.join("vmlinuz"),
        root,
    }))
}

/// Brings the kernels that are missing.
///
/// # Errors
/// If none of a kernel's newest packages can be fetched and unpacked.
pub(crate) fn ensure(cache: &Cache, kernels: &[Kernel]) -> Result<()> {
    let missing: Vec<Kernel> = kernels
        .iter()
        .copied()
        .filter(|kernel| !cache.path(entry_name(*kernel)).exists())
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    if std::env::consts::ARCH != "x86_64" {
        bail!(
            "guests need an x86_64 machine, this is {}",
            std::env::consts::ARCH
        );
    }
    let apt = PrivateApt::open(cache, SUITES)?;
    for kernel in missing {
        sh::step(&format!("fetching kernel {kernel}"), || {
            cache.entry(&entry_name(kernel), |dir| fetch(&apt, kernel, dir))
        })?;
    }
    Ok(())
}

fn entry_name(kernel: Kernel) -> String {
    format!("kernels/{kernel}")
}

fn fetch(apt: &PrivateApt, kernel: Kernel, dir: &Path) -> Result<()> {
    let mut images = apt.names(&image_pattern(kernel))?;
    images.sort_by_key(|name| std::cmp::Reverse(sort_key(name)));
    if images.is_empty() {
        bail!("no Debian suite lists a package of kernel {kernel}");
    }
    let mut failures = String::new();
    for image in images.iter().take(ATTEMPTS) {
        match fetch_image(apt, image, dir) {
            Ok(()) => return Ok(()),
            Err(error) => failures.push_str(&format!("\n{image}: {error:#}")),
        }
        for entry in fs::read_dir(dir)? {
            fs::remove_dir_all(entry?.path())?;
        }
    }
    bail!("none of the newest packages of kernel {kernel} could be used:{failures}")
}

fn fetch_image(apt: &PrivateApt, image: &str, dir: &Path) -> Result<()> {
    // From 7.x on the image is a package of dependencies.
    let mut packages: Vec<String> = apt
        .depends(image)?
        .into_iter()
        .filter(|name| {
            ["linux-binary-", "linux-modules-", "linux-base-"]
                .iter()
                .any(|prefix| name.starts_with(prefix))
        })
        .collect();
    packages.push(image.to_owned());
    apt.unpack(&packages, dir)?;
    arrange(dir)
}

/// Brings both of Debian's layouts into one: `vmlinuz`, `config` and
/// `lib/modules/RELEASE` with plain `.ko` files.
fn arrange(dir: &Path) -> Result<()> {
    let modules = dir.join("lib/modules");
    if !modules.exists() {
        fs::create_dir_all(dir.join("lib"))?;
        fs::rename(dir.join("usr/lib/modules"), &modules)
            .context("the package holds no lib/modules")?;
    }
    let release = fs::read_dir(&modules)?
        .next()
        .context("the package holds no modules")??
        .file_name()
        .into_string()
        .map_err(|name| anyhow::anyhow!("odd kernel release {}", name.display()))?;
    let tree = modules.join(&release);
    for name in ["vmlinuz", "config"] {
        let boot = dir.join("boot").join(format!("{name}-{release}"));
        let from = if boot.exists() { boot } else { tree.join(name) };
        fs::rename(&from, dir.join(name))
            .with_context(|| format!("the package holds no {name}"))?;
    }
    for leftover in ["boot", "usr"] {
        let leftover = dir.join(leftover);
        if leftover.exists() {
            fs::remove_dir_all(leftover)?;
        }
    }
    decompress(&tree)?;
    // Done here because it is slow in a guest.
    sh::quiet(
        Command::new(sbin("depmod")?)
            .arg("-b")
            .arg(dir)
            .arg(&release),
    )
}

/// Busybox's insmod reads plain modules only.
fn decompress(tree: &Path) -> Result<()> {
    let script = "find . -name '*.ko.xz' -print0 | xargs -0 -r -P2 -n64 xz -d && \
                  find . -name '*.ko.zst' -print0 | xargs -0 -r -P2 -n64 zstd -q -d --rm";
    sh::quiet(Command::new("sh").args(["-c", script]).current_dir(tree))
}

fn sbin(program: &str) -> Result<PathBuf> {
    sh::which(program).with_context(|| format!("{program} is missing (package kmod)"))
}

fn image_pattern(kernel: Kernel) -> String {
    let version = kernel.name().replace('.', "\\.");
    format!("^linux-image-{version}\\.[0-9][^ ]*-cloud-amd64(-unsigned)?$")
}

/// Newest version first; of one version the signed package, which mirrors
/// keep longer.
fn sort_key(package: &str) -> (Vec<u32>, bool) {
    let numbers = package
        .split(|c: char| !c.is_ascii_digit())
        .filter_map(|digits| digits.parse().ok())
        .collect();
    (numbers, !package.ends_with("-unsigned"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn newest_signed_image_first() {
        let mut names = [
            "linux-image-6.12.94+deb13-cloud-amd64",
            "linux-image-6.12.117+deb12-cloud-amd64-unsigned",
            "linux-image-6.12.117+deb13-cloud-amd64",
            "linux-image-6.12.117+deb13-cloud-amd64-unsigned",
        ];
        names.sort_by_key(|name| std::cmp::Reverse(sort_key(name)));
        assert_eq!(names[0], "linux-image-6.12.117+deb13-cloud-amd64");
        assert_eq!(names[1], "linux-image-6.12.117+deb13-cloud-amd64-unsigned");
        assert_eq!(names[3], "linux-image-6.12.94+deb13-cloud-amd64");
    }
}
