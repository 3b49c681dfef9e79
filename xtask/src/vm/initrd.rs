//! The archive a guest starts from: busybox, the modules that reach the
//! host's files, the two stages of init, and the command.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fs,
    os::unix::ffi::OsStrExt,
    path::Path,
};

use anyhow::{Context, Result, bail};

use super::{Guest, cpio::Archive, modules::Modules};
use crate::{
    setup::{kernels::KernelTree, qemu::Qemu},
    sh,
};

/// What it takes to mount the host's files and to speak to the host.
const BOOT_MODULES: &[&str] = &["virtio_pci", "virtio_console", "virtiofs", "overlay"];

/// What tests, demo and benchmark expect to be there, besides what the kernel
/// loads by itself.
const MODULES: &[&str] = &[
    "virtio_net",
    "veth",
    "bridge",
    "dummy",
    "nf_tables",
    "nf_conntrack",
    "nf_nat",
    "nft_chain_nat",
    "nft_nat",
    "nft_masq",
    "nft_redir",
    "nft_ct",
    "nft_counter",
    "nft_reject_inet",
    "sch_netem",
    "tls",
];

/// Variables of this process that the guest's command sees, as prefixes.
const PASSED: &[&str] = &[
    "PATH",
    "HOME",
    "LANG",
    "LC_",
    "CARGO_",
    "NODESPAN_",
    "RUST_LOG",
    "RUST_BACKTRACE",
];

/// Builds the archive.
///
/// # Errors
/// If a file cannot be read or a path cannot be expressed.
pub(super) fn build(
    guest: &Guest,
    tree: &KernelTree,
    tools: &Qemu,
    command: &[OsString],
) -> Result<Vec<u8>> {
    let mut archive = Archive::default();
    for name in [
        "bin", "dev", "proc", "sys", "lower", "scratch", "new", "modules", "nodespan",
    ] {
        archive.directory(name);
    }
    // The kernel opens it for init before devtmpfs is there.
    archive.device("dev/console", 5, 1);
    archive.file("bin/busybox", 0o755, &read(&tools.busybox)?);
    archive.file("init", 0o755, include_bytes!("stage1.sh"));
    archive.file("nodespan/stage2.sh", 0o644, include_bytes!("stage2.sh"));
    archive.file(
        "nodespan/settings",
        0o644,
        settings(guest, tree)?.as_bytes(),
    );
    archive.file(
        "nodespan/command.sh",
        0o644,
        &command_script(guest, std::env::vars_os(), command),
    );

    let dep = fs::read_to_string(tree.modules().join("modules.dep"))
        .with_context(|| format!("reading modules.dep of {}", tree.release))?;
    let mut order = String::new();
    for file in Modules::parse(&dep).load_order(BOOT_MODULES) {
        let name = file.rsplit('/').next().unwrap_or(file);
        archive.file(
            &format!("modules/{name}"),
            0o644,
            &read(&tree.modules().join(file))?,
        );
        order.push_str(name);
        order.push('\n');
    }
    archive.file("modules/order", 0o644, order.as_bytes());
    Ok(archive.finish())
}

fn settings(guest: &Guest, tree: &KernelTree) -> Result<String> {
    let modprobe = sh::which("modprobe").context("modprobe is missing (package kmod)")?;
    let mut shares = Vec::new();
    for (n, dir) in guest.shares.iter().enumerate() {
        let dir = dir.to_str().context("the name of a share is not UTF-8")?;
        if dir.contains(char::is_whitespace) {
            bail!("the name of a share must not hold spaces: {dir}");
        }
        shares.push(format!("share{n}={dir}"));
    }
    Ok(format!(
        "module_tree={}\nmodprobe={}\nmodules={}\nshares={}\nnet={}\n",
        quote_text(&tree.modules()),
        quote_text(&modprobe),
        quote_str(&MODULES.join(" ")),
        quote_str(&shares.join(" ")),
        u8::from(guest.net),
    ))
}

/// The command with its environment and working directory, as a script.
fn command_script(
    guest: &Guest,
    environment: impl Iterator<Item = (OsString, OsString)>,
    command: &[OsString],
) -> Vec<u8> {
    let mut passed: BTreeMap<OsString, OsString> = environment
        .filter(|(name, _)| {
            PASSED
                .iter()
                .any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()))
        })
        .collect();
    passed.extend(guest.env.iter().cloned());
    passed.insert("NODESPAN_GUEST".into(), guest.kernel.name().into());

    let mut script = Vec::new();
    for (name, value) in passed {
        // Names that a shell cannot express are none of ours.
        if name
            .as_bytes()
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || *b == b'_')
        {
            script.extend_from_slice(b"export ");
            script.extend_from_slice(name.as_bytes());
            script.push(b'=');
            script.extend_from_slice(&quote(&value));
            script.push(b'\n');
        }
    }
    script.extend_from_slice(b"cd ");
    script.extend_from_slice(&quote(guest.directory.as_os_str()));
    script.extend_from_slice(b" || exit 126\nexec");
    for word in command {
        script.push(b' ');
        script.extend_from_slice(&quote(word));
    }
    script.push(b'\n');
    script
}

/// Quotes a word for a POSIX shell.
fn quote(word: &OsStr) -> Vec<u8> {
    let mut quoted = vec![b'\''];
    for byte in word.as_bytes() {
        match byte {
            b'\'' => quoted.extend_from_slice(b"'\\''"),
            _ => quoted.push(*byte),
        }
    }
    quoted.push(b'\'');
    quoted
}

fn quote_str(word: &str) -> String {
    String::from_utf8_lossy(&quote(OsStr::new(word))).into_owned()
}

fn quote_text(path: &Path) -> String {
    quote_str(&path.to_string_lossy())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("reading {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel;

    #[test]
    fn command_arrives_as_it_was_given() {
        let mut guest = Guest::new(Kernel::V6_12);
        guest.directory = "/a b".into();
        guest.env.push(("NODESPAN_X".into(), "it's".into()));
        let host = [
            ("SECRET", "no"),
            ("RUST_LOG", "debug"),
            ("NODESPAN_X", "old"),
        ];
        let script = command_script(
            &guest,
            host.iter().map(|(n, v)| (n.into(), v.into())),
            &["echo".into(), "x $HOME".into()],
        );
        assert_eq!(
            String::from_utf8(script).unwrap(),
            "export NODESPAN_GUEST='6.12'\n\
             export NODESPAN_X='it'\\''s'\n\
             export RUST_LOG='debug'\n\
             cd '/a b' || exit 126\n\
             exec 'echo' 'x $HOME'\n"
        );
    }
}
