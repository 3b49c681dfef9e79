//! What a cgroup's path says about its processes. Pure.

/// Whom a cgroup belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupOwner<'a> {
    /// A container: the runtime's id, or the name where there is no id (LXC).
    Container(&'a str),
    /// A systemd service, and its path down to the service itself, which tells
    /// equal units of two users apart.
    Unit {
        /// `nginx.service`.
        name: &'a str,
        /// `/system.slice/nginx.service`.
        path: &'a str,
    },
    /// Neither: its processes have only this place in common.
    Nobody,
}

/// Whether a cgroup is one workload, or each of its processes is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Granularity {
    /// A container or a service.
    PerCgroup,
    /// The root, `init.scope`, sessions, slices, and everything unknown.
    PerProcess,
}

/// Whether all processes of this cgroup are one workload.
#[must_use]
pub fn granularity(path: &str) -> Granularity {
    match CgroupOwner::of_path(path) {
        CgroupOwner::Nobody => Granularity::PerProcess,
        _ => Granularity::PerCgroup,
    }
}

impl<'a> CgroupOwner<'a> {
    /// Reads the path from its end: what is innermost counts, so that a
    /// container in a container is itself, and a cgroup that a container or a
    /// service made for itself belongs to it.
    #[must_use]
    pub fn of_path(path: &'a str) -> Self {
        let mut rest = path;
        loop {
            let rest_path = rest;
            let (parent, name) = rest.rsplit_once('/').unwrap_or(("", rest));
            if let Some(id) = container_id(name) {
                return Self::Container(id);
            }
            if let Some(name) = lxc_name(parent, name) {
                return Self::Container(name);
            }
            // A user's service manager is the place of that user's services
            // and sessions, not a service that serves anybody.
            if name.ends_with(".service") && !name.starts_with("user@") {
                return Self::Unit {
                    name,
                    path: rest_path,
                };
            }
            if parent.is_empty() {
                return Self::Nobody;
            }
            rest = parent;
        }
    }

    /// Of the paths of all hierarchies (cgroup v1 has several) the one that
    /// says most: a container in any of them, else a service.
    pub fn of_paths(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let mut best = Self::Nobody;
        for path in paths {
            match (Self::of_path(path), best) {
                (container @ Self::Container(_), _) => return container,
                (unit @ Self::Unit { .. }, Self::Nobody) => best = unit,
                _ => {}
            }
        }
        best
    }
}

/// The container id in a path component. Runtimes write
///
/// - `ID`: Docker, containerd and others with the cgroupfs driver;
/// - `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`,
///   `libpod-ID.scope`, `nerdctl-ID.scope`: with the systemd driver; Podman and
///   CRI-O write `libpod-ID` and `crio-ID` with the cgroupfs driver;
/// - `SLICE:cri-containerd:ID`: containerd, if driver and kubelet disagree;
/// - `TASK-NUMBER`: ECS on Fargate, the task's 32 digits and a number.
///
/// ID has 64 hexadecimal digits. `libpod-conmon-ID.scope` and
/// `crio-conmon-ID.scope` hold the container's monitor, not the container.
pub(super) fn container_id(name: &str) -> Option<&str> {
    let name = name.strip_suffix(".scope").unwrap_or(name);
    if let Some((task, number)) = name.split_once('-')
        && is_hex(task, 32)
        && !number.is_empty()
        && number.bytes().all(|b| b.is_ascii_digit())
    {
        return Some(name);
    }
    let start = name.len().checked_sub(64)?;
    let (prefix, id) = name.split_at_checked(start)?;
    let separated = prefix.is_empty() || prefix.ends_with(['-', ':']);
    (separated && !prefix.ends_with("conmon-") && is_hex(id, 64)).then_some(id)
}

/// `lxc.payload.NAME` (LXC 4 and later), `/lxc/NAME` before.
fn lxc_name<'a>(parent: &str, name: &'a str) -> Option<&'a str> {
    if let Some(name) = name.strip_prefix("lxc.payload.") {
        return Some(name);
    }
    (parent.ends_with("/lxc") && !name.is_empty()).then_some(name)
}

fn is_hex(text: &str, digits: usize) -> bool {
    text.len() == digits && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";
    const OTHER: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

    #[test]
    fn containers() {
        for path in [
            "/docker/ID",
            "/system.slice/docker-ID.scope",
            "/system.slice/docker-ID.scope/init.scope",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-ID.scope",
            "/machine.slice/libpod-ID.scope",
            "/machine.slice/libpod-ID.scope/container",
            "/machine.slice/machine-libpod_pod_OTHER.slice/libpod-ID.scope/container",
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-ID.scope/container",
            "/libpod_parent/libpod-ID",
            "/kubepods/burstable/pod0b1c2d3e-1111-2222-3333-444455556666/ID",
            "/kubepods/besteffort/pod0b1c2d3e-1111-2222-3333-444455556666/crio-ID",
            "/kubepods/pod0b1c2d3e-1111-2222-3333-444455556666/ID",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0b1c_2d.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-pod0b1c_2d.slice/cri-containerd-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0b1c.slice/crio-ID.scope",
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod0b1c.slice/docker-ID.scope",
            "/system.slice/containerd.service/kubepods-burstable-pod0b1c.slice:cri-containerd:ID",
            "/../../kubepods.slice/kubepods-pod0b1c.slice/cri-containerd-ID.scope",
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0b1c.slice/cri-containerd-ID.scope",
            "/system.slice/nerdctl-ID.scope",
            "/default/ID",
            "/ecs/0123456789abcdef0123456789abcdef/ID",
            "/docker/OTHER/docker/ID",
            "/docker/OTHER/kubepods/burstable/pod0b1c/ID",
            "/docker/ID/system.slice/session-1.scope",
            "/docker/ID/libpod-conmon-OTHER.scope",
        ] {
            let path = path.replace("ID", ID).replace("OTHER", OTHER);
            assert_eq!(
                CgroupOwner::of_path(&path),
                CgroupOwner::Container(ID),
                "{path}"
            );
            assert_eq!(granularity(&path), Granularity::PerCgroup);
        }
        for (path, name) in [
            ("/lxc.payload.web", "web"),
            ("/lxc.payload.web/system.slice", "web"),
            ("/lxc/web", "web"),
            (
                "/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-1234567",
                "0123456789abcdef0123456789abcdef-1234567",
            ),
        ] {
            assert_eq!(
                CgroupOwner::of_path(path),
                CgroupOwner::Container(name),
                "{path}"
            );
        }
    }

    #[test]
    fn units() {
        for (path, name, unit_path) in [
            (
                "/system.slice/nginx.service",
                "nginx.service",
                "/system.slice/nginx.service",
            ),
            (
                "/system.slice/system-foo.slice/foo@bar.service",
                "foo@bar.service",
                "/system.slice/system-foo.slice/foo@bar.service",
            ),
            (
                "/system.slice/app.service/worker/1",
                "app.service",
                "/system.slice/app.service",
            ),
            (
                "/system.slice/docker.service",
                "docker.service",
                "/system.slice/docker.service",
            ),
            (
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
                "web.service",
                "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service",
            ),
        ] {
            let expected = CgroupOwner::Unit {
                name,
                path: unit_path,
            };
            assert_eq!(CgroupOwner::of_path(path), expected, "{path}");
            assert_eq!(granularity(path), Granularity::PerCgroup);
        }
    }

    #[test]
    fn nobody() {
        for path in [
            "/",
            "",
            "/init.scope",
            "/user.slice",
            "/user.slice/user-1000.slice/session-3.scope",
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome-xterm-123.scope",
            "/system.slice",
            "/machine.slice/libpod-conmon-ID.scope",
            "/kubepods.slice/kubepods-pod0b1c.slice/crio-conmon-ID.scope",
            "/process_api/dfe9c977a283fd6c9ee06019a859f56a",
            "/x/IDa",
            "/x/aID",
            "/é0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f",
            "/kubepods.slice/kubepods-pod0b1c.slice",
        ] {
            let path = path.replace("ID", ID);
            assert_eq!(CgroupOwner::of_path(&path), CgroupOwner::Nobody, "{path}");
            assert_eq!(granularity(&path), Granularity::PerProcess);
        }
    }

    #[test]
    fn of_several_hierarchies_the_best_counts() {
        let docker = format!("/docker/{ID}");
        let unit = CgroupOwner::Unit {
            name: "a.service",
            path: "/system.slice/a.service",
        };
        for (paths, expected) in [
            (vec!["/", "/", docker.as_str()], CgroupOwner::Container(ID)),
            (
                vec!["/system.slice/a.service", docker.as_str()],
                CgroupOwner::Container(ID),
            ),
            (vec!["/", "/system.slice/a.service", "/b.service"], unit),
            (vec!["/", "/user.slice"], CgroupOwner::Nobody),
            (vec![], CgroupOwner::Nobody),
        ] {
            assert_eq!(CgroupOwner::of_paths(paths), expected);
        }
    }
}
