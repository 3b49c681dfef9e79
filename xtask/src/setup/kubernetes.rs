//! A Kubernetes API: `kube-apiserver`, the `etcd` it keeps everything in, and
//! `kubectl`, built from their Go modules, pinned by `xtask/kubernetes`.

use std::path::PathBuf;

use anyhow::Result;

use super::go::{Program, Programs};
use crate::cache::Cache;

const KUBERNETES: Programs = Programs {
    what: "Kubernetes 1.34.2",
    entry: "kubernetes-1.34.2",
    part: "kubernetes",
    go_mod: include_str!("../../kubernetes/go.mod"),
    go_sum: include_str!("../../kubernetes/go.sum"),
    // A server without a version calls itself v0.0.0-master, and clients judge
    // by it what it can do.
    stamps: &[
        "k8s.io/component-base/version.gitVersion=v1.34.2",
        "k8s.io/component-base/version.gitMajor=1",
        "k8s.io/component-base/version.gitMinor=34",
    ],
    programs: &[
        Program {
            name: "kube-apiserver",
            package: "k8s.io/kubernetes/cmd/kube-apiserver",
            tried_with: &["--version"],
        },
        Program {
            name: "etcd",
            package: "go.etcd.io/etcd/server/v3",
            tried_with: &["--version"],
        },
        Program {
            name: "kubectl",
            package: "k8s.io/kubernetes/cmd/kubectl",
            tried_with: &["version", "--client"],
        },
    ],
};

/// Where the programs are.
#[derive(Clone, Debug)]
pub(crate) struct Kubernetes {
    pub(crate) apiserver: PathBuf,
    pub(crate) etcd: PathBuf,
    pub(crate) kubectl: PathBuf,
}

/// Builds them unless they are there.
///
/// # Errors
/// If Go is missing or too old, a module cannot be fetched, or a build fails.
pub(crate) fn ensure(cache: &Cache) -> Result<Kubernetes> {
    KUBERNETES.ensure(cache).map(|dir| programs(&dir))
}

/// The programs that an earlier [`ensure`] has built.
///
/// # Errors
/// If they are not there.
pub(crate) fn find(cache: &Cache) -> Result<Kubernetes> {
    KUBERNETES.find(cache).map(|dir| programs(&dir))
}

fn programs(dir: &std::path::Path) -> Kubernetes {
    Kubernetes {
        apiserver: dir.join("kube-apiserver"),
        etcd: dir.join("etcd"),
        kubectl: dir.join("kubectl"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::go::assert_pinned;

    #[test]
    fn the_module_file_pins_what_is_built() {
        assert_pinned(
            &KUBERNETES,
            &[
                ("k8s.io/kubernetes", "v1.34.2"),
                ("go.etcd.io/etcd/server/v3", "v3.6.4"),
            ],
        );
        // Kubernetes asks for its staging modules in version 0.0.0.
        for module in ["api", "apiserver", "client-go", "kubectl"] {
            let line = format!("k8s.io/{module} => k8s.io/{module} v0.34.2\n");
            assert!(KUBERNETES.go_mod.contains(&line), "{line}");
        }
    }

    #[test]
    fn the_stamps_say_the_version_that_is_built() {
        let version = KUBERNETES.what.rsplit(' ').next().unwrap();
        assert!(KUBERNETES.entry.ends_with(version));
        assert!(KUBERNETES.stamps[0].ends_with(&format!("=v{version}")));
    }
}
