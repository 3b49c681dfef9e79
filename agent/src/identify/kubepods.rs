//! Which pod a cgroup's path belongs to. Pure.
//!
//! The kubelet names a pod's cgroup by the pod's UID
//! (`pkg/kubelet/cm/pod_container_manager_linux.go`, `GetPodContainerName`;
//! `cgroup_manager_linux.go` for systemd's form), and the runtime puts each
//! container below it:
//!
//! | driver | Guaranteed | the others |
//! |---|---|---|
//! | cgroupfs | `/kubepods/podUID/ID` | `/kubepods/burstable/podUID/ID` |
//! | systemd | `/kubepods.slice/kubepods-podUID.slice/RUNTIME-ID.scope` | `/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID.slice/…` |
//!
//! In systemd's form the UID's dashes are underscores. A static pod's UID is
//! an MD5 hash without dashes. What stands before (`--cgroup-root`, a node
//! that is a container itself, a cgroup namespace) is not looked at.

use std::sync::Arc;

use super::cgroup::container_id;
use super::directory::PodUid;

/// A container of a pod, as a path names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) pod: PodUid,
    /// The runtime's id. What a container has in it (Docker in a pod) is part
    /// of it.
    pub(super) container: Arc<str>,
}

/// The pods that this path is in, the innermost first. There are several where
/// a cluster runs in pods of another, and a node knows only those of its own.
pub(super) fn places(path: &str) -> Vec<Place> {
    let mut places = Vec::new();
    let mut pod = None;
    for name in path.split('/') {
        // containerd, if its driver and the kubelet's disagree:
        // `SLICE:cri-containerd:ID`.
        let (parent, own) = name.split_once(':').unwrap_or((name, name));
        if let Some(uid) = pod_uid(parent) {
            pod = Some(uid);
        }
        if let (Some(uid), Some(id)) = (&pod, container_id(own)) {
            places.push(Place {
                pod: uid.clone(),
                container: id.into(),
            });
            pod = None;
        }
    }
    places.reverse();
    places
}

/// The UID in the name of a pod's cgroup.
fn pod_uid(name: &str) -> Option<PodUid> {
    let uid = match name.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => name.strip_prefix("pod")?.to_owned(),
    };
    is_uid(&uid).then(|| PodUid(uid.into()))
}

/// A UUID, or an MD5 hash.
fn is_uid(uid: &str) -> bool {
    let dashed = match uid.len() {
        36 => true,
        32 => false,
        _ => return false,
    };
    uid.bytes().enumerate().all(|(n, byte)| match byte {
        b'0'..=b'9' | b'a'..=b'f' => !dashed || !is_dash(n),
        b'-' => dashed && is_dash(n),
        _ => false,
    })
}

const fn is_dash(place: usize) -> bool {
    matches!(place, 8 | 13 | 18 | 23)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    const UID: &str = "8a4f9c1e-2b7d-4d3a-9f60-5c1b2e7d8f90";
    const HASH: &str = "d41d8cd98f00b204e9800998ecf8427e";

    fn fill(path: &str) -> String {
        path.replace("U_D", &UID.replace('-', "_"))
            .replace("OUTER", "11111111-2222-3333-4444-555555555555")
            .replace("UID", UID)
            .replace("HASH", HASH)
            .replace("OTHER", OTHER)
            .replace("ID", ID)
    }

    /// The innermost pod and its container.
    fn innermost(path: &str) -> Option<(String, String)> {
        let place = places(&fill(path)).into_iter().next()?;
        Some((place.pod.0.to_string(), place.container.to_string()))
    }

    #[test]
    fn containers_of_pods() {
        for (path, uid) in [
            // cgroupfs: containerd and Docker, CRI-O.
            ("/kubepods/podUID/ID", UID),
            ("/kubepods/burstable/podUID/ID", UID),
            ("/kubepods/besteffort/podUID/ID", UID),
            ("/kubepods/besteffort/podUID/crio-ID", UID),
            ("/kubepods/burstable/podHASH/ID", HASH),
            // systemd: containerd, CRI-O, Docker with cri-dockerd.
            (
                "/kubepods.slice/kubepods-podU_D.slice/cri-containerd-ID.scope",
                UID,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/cri-containerd-ID.scope",
                UID,
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/crio-ID.scope",
                UID,
            ),
            (
                "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podU_D.slice/docker-ID.scope",
                UID,
            ),
            // crun puts the processes one deeper.
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podU_D.slice/crio-ID.scope/container",
                UID,
            ),
            // Static pods: etcd, kube-apiserver.
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podHASH.slice/cri-containerd-ID.scope",
                HASH,
            ),
            // kind: the node is a container, the kubelet has a root of its own.
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-podU_D.slice/cri-containerd-ID.scope",
                UID,
            ),
            (
                "/docker/OTHER/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-podU_D.slice/cri-containerd-ID.scope",
                UID,
            ),
            (
                "/system.slice/docker-OTHER.scope/kubelet/kubepods/burstable/podUID/ID",
                UID,
            ),
            // minikube, k3s: below a unit.
            (
                "/system.slice/k3s.service/kubepods/burstable/podUID/ID",
                UID,
            ),
            // The drivers disagree.
            (
                "/system.slice/containerd.service/kubepods-burstable-podU_D.slice:cri-containerd:ID",
                UID,
            ),
            ("/kubepods-podU_D.slice:cri-containerd:ID", UID),
            // From within another cgroup namespace: a pod of the same class,
            // of another.
            ("/../../podUID/ID", UID),
            (
                "/../../kubepods-besteffort-podU_D.slice/cri-containerd-ID.scope",
                UID,
            ),
            // What a container makes for itself is its own.
            ("/kubepods/podUID/ID/init.scope", UID),
            ("/kubepods/podUID/ID/docker/OTHER", UID),
            ("/kubepods/podUID/ID/system.slice/nginx.service", UID),
            // A cluster in a pod of another.
            (
                "/kubepods/podOUTER/OTHER/kubelet/kubepods/burstable/podUID/ID",
                UID,
            ),
        ] {
            let expected = Some((uid.to_owned(), ID.to_owned()));
            assert_eq!(innermost(path), expected, "{path}");
        }
    }

    #[test]
    fn of_nested_clusters_all_are_named() {
        let path = fill("/kubepods/podOUTER/OTHER/kubelet/kubepods/podUID/ID");
        let found: Vec<_> = places(&path)
            .into_iter()
            .map(|place| (place.pod.0, place.container))
            .collect();
        let outer = "11111111-2222-3333-4444-555555555555";
        assert_eq!(
            found,
            [
                (UID.into(), ID.into()),
                (Arc::from(outer), Arc::from(OTHER))
            ]
        );
    }

    #[test]
    fn what_is_in_no_pod() {
        for path in [
            "",
            "/",
            "/kubepods.slice",
            "/kubepods.slice/kubepods-burstable.slice",
            // The pod itself has no processes; its monitors are no containers.
            "/kubepods.slice/kubepods-podU_D.slice",
            "/kubepods.slice/kubepods-podU_D.slice/crio-conmon-ID.scope",
            "/kubepods/podUID",
            // Podman's pods are none of a cluster (`podman kube play`).
            "/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope/container",
            "/libpod_parent/OTHER/libpod-ID",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_OTHER.slice/libpod-ID.scope",
            // Plain containers, and names that only look like a pod's.
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/podcafe/ID",
            "/podman/ID",
            "/a-podcafe.slice/ID",
            "/kubepods/podU_D/ID",
            "/kubepods/pod8A4F9C1E-2B7D-4D3A-9F60-5C1B2E7D8F90/ID",
            "/kubepods/pod8a4f9c1e-2b7d-4d3a-9f605c1b2e7d8f90--/ID",
            "/kubepods/podéééééééééééééééé/ID",
            // Kubelet without a cgroup for each pod (`--cgroups-per-qos=false`).
            "/system.slice/cri-containerd-ID.scope",
        ] {
            assert_eq!(innermost(path), None, "{path}");
        }
    }
}
