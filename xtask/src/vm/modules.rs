//! The order in which kernel modules must be loaded, from `modules.dep`.

use std::collections::{HashMap, HashSet};

/// What `modules.dep` says: each module's file and the files it needs.
#[derive(Debug, Default)]
pub(crate) struct Modules<'a> {
    needs: HashMap<&'a str, Vec<&'a str>>,
    by_name: HashMap<String, &'a str>,
}

impl<'a> Modules<'a> {
    /// Reads the text of a `modules.dep`. Lines that are none are passed over.
    pub(crate) fn parse(text: &'a str) -> Self {
        let mut modules = Self::default();
        for line in text.lines() {
            if let Some((file, needs)) = line.split_once(':') {
                modules
                    .needs
                    .insert(file, needs.split_whitespace().collect());
                modules.by_name.insert(module_name(file), file);
            }
        }
        modules
    }

    /// Files of the named modules and all they need, in loading order.
    /// Names that are no module are built in, or this kernel has no such thing.
    pub(crate) fn load_order(&self, names: &[&str]) -> Vec<&'a str> {
        let mut order = Vec::new();
        let mut seen = HashSet::new();
        for name in names {
            if let Some(file) = self.by_name.get(&module_name(name)) {
                self.visit(file, &mut seen, &mut order);
            }
        }
        order
    }

    fn visit(&self, file: &'a str, seen: &mut HashSet<&'a str>, order: &mut Vec<&'a str>) {
        if !seen.insert(file) {
            return;
        }
        for need in self.needs.get(file).into_iter().flatten() {
            self.visit(need, seen, order);
        }
        order.push(file);
    }
}

/// `kernel/net/virtio-net.ko.xz` and `virtio_net` are the same module.
fn module_name(file: &str) -> String {
    let base = file.rsplit('/').next().unwrap_or(file);
    base.split(".ko").next().unwrap_or(base).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEP: &str = "\
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_pci_modern_dev.ko kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/virtio/virtio_pci_modern_dev.ko:
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/fs/fuse/fuse.ko:
kernel/fs/fuse/virtio-fs.ko: kernel/fs/fuse/fuse.ko kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
";

    #[test]
    fn needs_come_first_and_once() {
        let modules = Modules::parse(DEP);
        let order = modules.load_order(&["virtio_pci", "virtio_fs", "built_in"]);
        assert_eq!(
            order,
            [
                "kernel/drivers/virtio/virtio_pci_modern_dev.ko",
                "kernel/drivers/virtio/virtio.ko",
                "kernel/drivers/virtio/virtio_ring.ko",
                "kernel/drivers/virtio/virtio_pci.ko",
                "kernel/fs/fuse/fuse.ko",
                "kernel/fs/fuse/virtio-fs.ko",
            ]
        );
    }

    #[test]
    fn a_circle_ends() {
        let modules = Modules::parse("a.ko: b.ko\nb.ko: a.ko\n");
        assert_eq!(modules.load_order(&["a"]), ["b.ko", "a.ko"]);
    }
}
