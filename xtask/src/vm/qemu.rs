//! QEMU's and virtiofsd's command lines.

use std::{ffi::OsString, path::Path};

use super::{Guest, Idle};
use crate::setup::kernels::KernelTree;

/// The kernel's messages go to a file, so that they never mix with the
/// command's output. An Oops is the end: a kernel that had one proves nothing.
const CMDLINE: &str = "console=ttyS0 panic=-1 oops=panic quiet random.trust_cpu=on";

/// The ports that carry the command's output and the report of its end.
pub(super) const PORTS: [&str; 3] = ["control", "out", "err"];

/// Arguments of `qemu-system-x86_64`, with its sockets and log in `dir`.
pub(super) fn arguments(guest: &Guest, tree: &KernelTree, dir: &Path) -> Vec<OsString> {
    let mut args = Arguments::default();
    // One thread for all processors: with a thread each, the kernel patching
    // its own code (as attaching fentry does) kills a boot now and then.
    args.pair("-accel", "tcg,thread=single");
    args.pair("-cpu", "max");
    if let Some(idle) = guest.icount {
        let sleep = match idle {
            Idle::Skipped => "off",
            Idle::Waited => "on",
        };
        args.pair("-icount", format!("shift=0,sleep={sleep}"));
    }
    args.pair("-smp", guest.processors().to_string());
    args.pair("-m", format!("{}M", guest.memory_mib));
    let memory = format!(
        "memory-backend-memfd,id=mem,size={}M,share=on",
        guest.memory_mib
    );
    args.pair("-object", memory);
    args.pair("-numa", "node,memdev=mem");
    args.flag("-nodefaults");
    args.flag("-no-user-config");
    args.flag("-no-reboot");
    args.pair("-display", "none");
    args.pair("-monitor", "none");
    args.pair("-rtc", "base=utc");
    args.pair("-kernel", &tree.image);
    args.pair("-initrd", dir.join("initrd"));
    args.pair("-append", CMDLINE);
    args.pair("-serial", format!("file:{}", dir.join("console").display()));
    args.pair("-device", "virtio-serial-pci");
    for port in PORTS {
        let socket = dir.join(port);
        args.pair(
            "-chardev",
            format!("socket,id={port},path={}", socket.display()),
        );
        args.pair(
            "-device",
            format!("virtserialport,chardev={port},name=nodespan.{port}"),
        );
    }
    for tag in tags(guest) {
        let socket = dir.join(format!("{tag}.sock"));
        args.pair(
            "-chardev",
            format!("socket,id={tag},path={}", socket.display()),
        );
        args.pair(
            "-device",
            format!("vhost-user-fs-pci,chardev={tag},tag={tag}"),
        );
    }
    if guest.net {
        args.pair("-netdev", "user,id=net");
        args.pair("-device", "virtio-net-pci,netdev=net,romfile=");
    }
    args.0
}

/// Arguments of virtiofsd, which serves `source` read-write; the guest mounts
/// the host's root read-only. The form is the C version's, which the Rust
/// version understands too.
pub(super) fn virtiofsd_arguments(socket: &Path, source: &Path, cache: &str) -> Vec<OsString> {
    let mut args = Arguments::default();
    let mut path = OsString::from("--socket-path=");
    path.push(socket);
    args.0.push(path);
    let mut from = OsString::from("source=");
    from.push(source);
    args.pair("-o", from);
    args.pair("-o", format!("cache={cache}"));
    args.pair("-o", "sandbox=chroot");
    args.0
}

/// The tags of all file systems that the guest mounts from the host.
pub(super) fn tags(guest: &Guest) -> Vec<String> {
    std::iter::once("hostroot".to_owned())
        .chain((0..guest.shares.len()).map(|n| format!("share{n}")))
        .collect()
}

#[derive(Default)]
struct Arguments(Vec<OsString>);

impl Arguments {
    fn flag(&mut self, flag: &str) {
        self.0.push(flag.into());
    }

    fn pair(&mut self, flag: &str, value: impl Into<OsString>) {
        self.flag(flag);
        self.0.push(value.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::Kernel;

    fn line(guest: &Guest) -> String {
        let tree = KernelTree {
            release: "6.12.0".into(),
            image: "/k/vmlinuz".into(),
            root: "/k".into(),
        };
        let args = arguments(guest, &tree, Path::new("/d"));
        args.iter()
            .map(|a| a.to_string_lossy())
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn never_kvm_and_one_thread() {
        let line = line(&Guest::new(Kernel::V6_12));
        assert!(line.contains("-accel tcg,thread=single"), "{line}");
        assert!(!line.contains("kvm"), "{line}");
        assert!(!line.contains("-netdev"), "{line}");
    }

    #[test]
    fn counting_instructions_takes_one_processor() {
        let guest = Guest::new(Kernel::V6_12).processors_set(4).with_net();
        for (idle, sleep) in [(Idle::Skipped, "off"), (Idle::Waited, "on")] {
            let line = line(&guest.clone().with_icount(idle));
            let wanted = format!("-icount shift=0,sleep={sleep} -smp 1 ");
            assert!(line.contains(&wanted), "{line}");
            assert!(line.contains("-netdev user,id=net"), "{line}");
        }
    }

    #[test]
    fn every_share_has_its_device() {
        let guest = Guest::new(Kernel::V5_10).share("/a").share("/b");
        let line = line(&guest);
        assert!(line.contains("chardev=hostroot,tag=hostroot"), "{line}");
        assert!(line.contains("chardev=share1,tag=share1"), "{line}");
    }
}
