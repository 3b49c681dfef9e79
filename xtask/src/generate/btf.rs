//! `cargo xtask gen btf`: extracts of each kernel's BTF.

use std::{fmt::Write as _, fs, path::Path};

use anyhow::{Context, Result, ensure};

use super::extract::{Extract, Roots};
use crate::{kernel::Kernel, scratch::ScratchDir, vm::Guest, workspace::Workspace};

/// What `agent/src/capture/layout.rs` asks, and what it hopes not to find.
const ROOTS: Roots = Roots {
    structs: &[
        "cgroup",
        "iov_iter",
        "kernfs_node",
        "msghdr",
        "sk_buff",
        "sock",
        "sock_common",
        "task_struct",
        "tcp_skb_cb",
        "tcp_sock",
    ],
    functions: &[
        "__tcp_bpf_recvmsg",
        "mptcp_recvmsg",
        "mptcp_sendmsg",
        "sk_msg_recvmsg",
        "tcp_bpf_sendmsg",
        "tcp_close",
        "tcp_recvmsg",
        "tcp_sendmsg",
        "tcp_sendpage",
        "tcp_set_ulp",
        "tcp_splice_read",
    ],
    enumerators: &["ITER_", "SOCK_DONE"],
};

/// Writes tests/data/btf anew.
///
/// # Errors
/// If a guest does not run or its BTF cannot be read.
pub(super) fn run(kernels: &[Kernel]) -> Result<()> {
    let dir = Workspace::load()?.root.join("tests/data/btf");
    fs::create_dir_all(&dir)?;
    let readme = dir.join("README.md");
    let mut table = fs::read_to_string(&readme)
        .map(|text| rows(&text))
        .unwrap_or_default();
    for kernel in kernels {
        let (blob, release) = fetch(*kernel)?;
        let extract = Extract::of(&blob, &ROOTS)
            .with_context(|| format!("the BTF of kernel {kernel} ({release})"))?;
        let file = dir.join(format!("{kernel}.btf"));
        fs::write(&file, extract.bytes()?)
            .with_context(|| format!("writing {}", file.display()))?;
        let row = format!(
            "| `{kernel}.btf` | {release} | {} of {} |",
            extract.types(),
            extract.types_before()
        );
        println!("{} {row}", file.display());
        table.retain(|(its, _)| its != kernel);
        table.push((*kernel, row));
    }
    table.sort();
    fs::write(&readme, describe(&table)).with_context(|| format!("writing {}", readme.display()))
}

/// Boots the kernel and brings its BTF and its release.
fn fetch(kernel: Kernel) -> Result<(Vec<u8>, String)> {
    let scratch = ScratchDir::new()?;
    let (blob, release) = (
        scratch.path().join("vmlinux"),
        scratch.path().join("release"),
    );
    let script = "cat /sys/kernel/btf/vmlinux > \"$1\" && uname -r > \"$2\"";
    let word = |path: &Path| path.as_os_str().to_owned();
    let code = Guest::new(kernel).share(scratch.path()).run(&[
        "sh".into(),
        "-c".into(),
        script.into(),
        "sh".into(),
        word(&blob),
        word(&release),
    ])?;
    ensure!(code == 0, "kernel {kernel} has no BTF (status {code})");
    let release = fs::read_to_string(&release)?.trim().to_owned();
    Ok((fs::read(&blob)?, release))
}

/// The rows of an earlier table.
fn rows(readme: &str) -> Vec<(Kernel, String)> {
    Kernel::ALL
        .into_iter()
        .filter_map(|kernel| {
            let start = format!("| `{kernel}.btf` |");
            let row = readme.lines().find(|line| line.starts_with(&start))?;
            Some((kernel, row.to_owned()))
        })
        .collect()
}

fn describe(table: &[(Kernel, String)]) -> String {
    let mut text = "\
# What four kernels say of themselves

Extracts of `/sys/kernel/btf/vmlinux`, written by `cargo xtask gen btf` from
Debian's x86-64 kernels. Each holds the structs, functions and enumerators that
`agent/src/capture/layout.rs` asks for and what lies inside those by value, with
all names and offsets; what pointers point to is left out. The tests of the BTF
reader and of the layout read them, without root and without a kernel.

| file | kernel | types |
|---|---|---|
"
    .to_owned();
    for (_, row) in table {
        let _infallible = writeln!(text, "{row}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_other_kernels_stay() {
        let row = |kernel: Kernel| {
            (
                kernel,
                format!("| `{kernel}.btf` | {kernel}.0-x | 1 of 2 |"),
            )
        };
        let table = [row(Kernel::V5_10), row(Kernel::V7)];
        assert_eq!(rows(&describe(&table)), table);
        assert_eq!(rows(""), []);
    }
}
