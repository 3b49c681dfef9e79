//! Where a kubelet has the cgroups of a pod.

use serde_json::{Value, json};

/// Who names cgroups.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Driver {
    /// `/kubepods/burstable/podUID/ID`
    Cgroupfs,
    /// `/kubepods.slice/…/cri-containerd-ID.scope`
    Systemd,
}

/// A pod's class, by what its containers ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Its cgroup is beside those of the other classes.
    Guaranteed,
    Burstable,
    BestEffort,
}

/// Where a pod is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) driver: Driver,
    pub(super) class: Class,
}

impl Driver {
    pub(super) const fn with(self, class: Class) -> Place {
        Place {
            driver: self,
            class,
        }
    }
}

impl Class {
    /// What the API calls it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Guaranteed => "Guaranteed",
            Self::Burstable => "Burstable",
            Self::BestEffort => "BestEffort",
        }
    }

    /// What the containers of a pod ask for that is to be of it.
    pub(super) fn resources(self) -> Value {
        let some = json!({"cpu": "10m", "memory": "16Mi"});
        match self {
            Self::Guaranteed => json!({"requests": some, "limits": some}),
            Self::Burstable => json!({"requests": some}),
            Self::BestEffort => json!({}),
        }
    }
}

impl Place {
    /// A container's path below the root cgroup.
    pub(super) fn path(self, uid: &str, id: &str) -> String {
        let class = match self.class {
            Class::Guaranteed => None,
            class => Some(class.name().to_lowercase()),
        };
        match (self.driver, class) {
            (Driver::Cgroupfs, None) => format!("/kubepods/pod{uid}/{id}"),
            (Driver::Cgroupfs, Some(class)) => format!("/kubepods/{class}/pod{uid}/{id}"),
            (Driver::Systemd, class) => {
                let dashed = uid.replace('-', "_");
                let (slice, prefix) = class.map_or_else(Default::default, |class| {
                    (format!("/kubepods-{class}.slice"), format!("-{class}"))
                });
                format!(
                    "/kubepods.slice{slice}/kubepods{prefix}-pod{dashed}.slice/\
                     cri-containerd-{id}.scope"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `agent/src/identify/kubepods.rs` says where these are from.
    #[test]
    fn paths_are_those_of_a_kubelet() {
        use {Class::*, Driver::*};
        for (place, path) in [
            (Cgroupfs.with(Guaranteed), "/kubepods/poda-b/ID"),
            (Cgroupfs.with(BestEffort), "/kubepods/besteffort/poda-b/ID"),
            (
                Systemd.with(Guaranteed),
                "/kubepods.slice/kubepods-poda_b.slice/cri-containerd-ID.scope",
            ),
            (
                Systemd.with(Burstable),
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-poda_b.slice/\
                 cri-containerd-ID.scope",
            ),
        ] {
            assert_eq!(place.path("a-b", "ID"), path);
        }
    }
}
