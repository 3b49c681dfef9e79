use std::net::Ipv4Addr;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use super::*;
use crate::identify::tree::inode;

const ID: &str = "0f1e2d3c4b5a69788796a5b4c3d2e1f00f1e2d3c4b5a69788796a5b4c3d2e1f0";

/// A made-up host.
pub(super) struct Host {
    root: tempfile::TempDir,
}

impl Host {
    pub(super) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let host = Self { root };
        host.write("proc/sys/kernel/hostname", "box-1\n");
        host.write("sys/fs/cgroup/cgroup.procs", "");
        host
    }

    pub(super) fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    pub(super) fn write(&self, path: &str, content: &str) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Makes a cgroup and gives its id.
    pub(super) fn cgroup(&self, path: &str) -> u64 {
        let path = self
            .path("sys/fs/cgroup")
            .join(path.trim_start_matches('/'));
        fs::create_dir_all(&path).unwrap();
        inode(&path).unwrap()
    }

    pub(super) fn process(&self, pid: u32, comm: &str, args: &[&str], cgroups: &str) {
        self.write(&format!("proc/{pid}/comm"), &format!("{comm}\n"));
        self.write(&format!("proc/{pid}/cmdline"), &(args.join("\0") + "\0"));
        self.write(&format!("proc/{pid}/cgroup"), cgroups);
        let exe = self.path(&format!("proc/{pid}/exe"));
        drop(fs::remove_file(&exe));
        symlink(args.first().unwrap_or(&""), exe).unwrap();
    }

    pub(super) fn kill(&self, pid: u32) {
        fs::remove_dir_all(self.path(&format!("proc/{pid}"))).unwrap();
    }

    pub(super) fn options(&self) -> Options {
        Options {
            root: self.root.path().to_owned(),
            ..Options::default()
        }
    }

    pub(super) fn identifier(&self) -> Identifier {
        Identifier::new(self.options())
    }
}

pub(super) fn ask(identifier: &mut Identifier, owner: u64, pid: u32, seconds: u64) -> Known {
    let now = MonoNanos(seconds * SECOND);
    identifier
        .known(OwnerId(owner), pid, None, now)
        .unwrap()
        .clone()
}

pub(super) fn service(known: &Known) -> &str {
    &known.workload.service
}

#[test]
fn units_containers_and_commands() {
    let host = Host::new();
    let unit = host.cgroup("/system.slice/nginx.service");
    let container = host.cgroup(&format!("/system.slice/docker-{ID}.scope"));
    let session = host.cgroup("/user.slice/user-0.slice/session-3.scope");
    host.process(
        10,
        "nginx",
        &["/usr/sbin/nginx"],
        "0::/system.slice/nginx.service\n",
    );
    host.process(
        11,
        "server",
        &["/server"],
        &format!("0::/system.slice/docker-{ID}.scope\n"),
    );
    host.process(
        12,
        "python3",
        &["python3", "/srv/app.py"],
        "0::/user.slice/user-0.slice/session-3.scope\n",
    );
    host.process(
        13,
        "curl",
        &["/usr/bin/curl"],
        "0::/user.slice/user-0.slice/session-3.scope\n",
    );
    let mut identifier = host.identifier();

    let known = ask(&mut identifier, unit, 10, 0);
    assert_eq!(service(&known), "nginx");
    assert_eq!(
        known.workload.kind,
        WorkloadKind::Unit("nginx.service".into())
    );
    assert_eq!(&*known.workload.node, "box-1");

    let known = ask(&mut identifier, container, 11, 0);
    assert_eq!(service(&known), &ID[..12]);
    assert_eq!(known.workload.kind, WorkloadKind::Container(ID.into()));

    let app = ask(&mut identifier, session, 12, 0);
    let curl = ask(&mut identifier, session, 13, 0);
    assert_eq!((service(&app), service(&curl)), ("app.py", "curl"));
    assert_ne!(app.key, curl.key);
    assert_eq!(app, ask(&mut identifier, OWNER_PROCESS | 12, 12, 0));

    let now = MonoNanos(0);
    for (owner, granularity) in [
        (unit, Granularity::PerCgroup),
        (container, Granularity::PerCgroup),
        (session, Granularity::PerProcess),
        (OWNER_PROCESS | 12, Granularity::PerCgroup),
    ] {
        assert_eq!(identifier.granularity(OwnerId(owner), 0, now), granularity);
    }
    assert_eq!(identifier.counters(), Counters::default());
}

#[test]
fn cgroups_are_found_without_their_process() {
    let host = Host::new();
    let unit = host.cgroup("/system.slice/system-x.slice/x@1.service");
    let mut identifier = host.identifier();
    assert_eq!(service(&ask(&mut identifier, unit, 0, 0)), "x@1");
    assert_eq!(identifier.counters().walks, 1);
    // A process that has moved on does not mislead.
    host.process(5, "x", &["/x"], "0::/system.slice/other.service\n");
    let other = host.cgroup("/system.slice/late.service");
    assert_eq!(
        service(&ask(&mut identifier, other, 5, 0)),
        format!("cgroup-{other}")
    );
    assert_eq!(service(&ask(&mut identifier, other, 5, 2)), "late");
    assert_eq!(
        identifier.counters(),
        Counters {
            walks: 2,
            gone: 1,
            forgotten: 0
        }
    );
}

#[test]
fn version_1_goes_by_the_process() {
    let host = Host::new();
    fs::remove_file(host.path("sys/fs/cgroup/cgroup.procs")).unwrap();
    let docker = format!("9:memory:/docker/{ID}\n1:name=systemd:/docker/{ID}\n0::/\n");
    host.process(20, "a", &["/a"], &docker);
    host.process(21, "b", &["/b"], &docker);
    host.process(
        22,
        "c",
        &["/c"],
        "9:memory:/\n1:name=systemd:/system.slice/c.service\n0::/\n",
    );
    host.process(23, "d", &["/d"], "9:memory:/some/limit\n0::/\n");
    let mut identifier = host.identifier();
    let mut ask = |pid: u32| ask(&mut identifier, OWNER_PROCESS | u64::from(pid), pid, 0);
    assert_eq!(ask(20), ask(21));
    assert_eq!(service(&ask(20)), &ID[..12]);
    assert_eq!(service(&ask(22)), "c");
    assert_eq!(service(&ask(23)), "d");
}

#[test]
fn docker_names_its_containers() {
    let host = Host::new();
    let container = host.cgroup(&format!("/docker/{ID}"));
    host.write(
        &format!("var/lib/docker/containers/{ID}/config.v2.json"),
        r#"{"ID":"x","Name":"/web","Args":[]}"#,
    );
    let known = ask(&mut host.identifier(), container, 0, 0);
    assert_eq!(service(&known), "web");
    assert_eq!(
        known.origin,
        Origin::Container {
            id: ID.into(),
            name: Some("web".into())
        }
    );
}

#[test]
fn the_configured_service_wins_and_the_origin_stays() {
    let host = Host::new();
    let unit = host.cgroup("/system.slice/nginx.service");
    let options = Options {
        naming: Naming {
            service: Some("shop".into()),
            node: Some("n".into()),
        },
        ..host.options()
    };
    let known = ask(&mut Identifier::new(options), unit, 0, 0);
    assert_eq!(service(&known), "shop");
    assert_eq!(known.workload.kind, WorkloadKind::Configured);
    assert_eq!(known.origin, Origin::Unit("nginx.service".into()));
    assert_eq!(&*known.workload.node, "n");
}

#[test]
fn names_may_change_and_workloads_stay_who_they_are() {
    let host = Host::new();
    let unit = host.cgroup("/system.slice/nginx.service");
    let mut identifier = host.identifier();
    let gone = OWNER_PROCESS | 31;
    let local = Some(IpAddr::from([10, 0, 0, 1]));
    let mut told = |naming: Naming| {
        identifier.rename(naming);
        let mut of = |owner, pid, local| {
            let known = identifier.known(OwnerId(owner), pid, local, MonoNanos(0));
            let Known { key, workload, .. } = known.unwrap();
            assert_eq!(workload.address, local);
            (*key, format!("{}@{}", workload.service, workload.node))
        };
        [of(unit, 0, local), of(gone, 31, None)]
    };
    let naming = |service: Option<&str>, node: Option<&str>| Naming {
        service: service.map(Into::into),
        node: node.map(Into::into),
    };
    let own = told(naming(None, Some("n")));
    assert_eq!([&own[0].1, &own[1].1], ["nginx@n", "pid-31@n"]);
    let all = told(naming(Some("shop"), Some("m")));
    assert_eq!([&all[0].1, &all[1].1], ["shop@m", "shop@m"]);
    assert_eq!([all[0].0, all[1].0], [own[0].0, own[1].0]);
    assert_eq!(told(naming(None, Some("n"))), own);
}

#[test]
fn what_ended_keeps_its_name_and_what_is_reused_gets_a_new_one() {
    let host = Host::new();
    let mut identifier = host.identifier();
    let id = OWNER_PROCESS | 30;
    host.process(30, "first", &["/first"], "0::/\n");
    assert_eq!(service(&ask(&mut identifier, id, 30, 0)), "first");
    host.kill(30);
    assert_eq!(service(&ask(&mut identifier, id, 30, 20)), "first");
    host.process(30, "second", &["/second"], "0::/\n");
    assert_eq!(service(&ask(&mut identifier, id, 30, 40)), "second");
    host.kill(30);
    assert_eq!(
        service(&ask(&mut identifier, OWNER_PROCESS | 31, 31, 40)),
        "pid-31"
    );
    assert_eq!(identifier.counters().gone, 1);
    // It was only slow to appear.
    host.process(31, "slow", &["/slow"], "0::/\n");
    assert_eq!(
        service(&ask(&mut identifier, OWNER_PROCESS | 31, 31, 42)),
        "slow"
    );
    // The root cgroup without a process.
    let root = host.cgroup("/");
    assert_eq!(
        service(&ask(&mut identifier, root, 0, 40)),
        format!("cgroup-{root}")
    );
}

#[test]
fn the_address_stays() {
    let host = Host::new();
    let unit = host.cgroup("/system.slice/nginx.service");
    let mut identifier = host.identifier();
    let mut address = |ip: Option<[u8; 4]>, seconds| {
        let ip = ip.map(|ip| IpAddr::V4(Ipv4Addr::from(ip)));
        let now = MonoNanos(seconds * SECOND);
        let known = identifier.known(OwnerId(unit), 0, ip, now).unwrap();
        known.workload.address.map(|a| a.to_string())
    };
    let (lo, one, two) = ([127, 0, 0, 1], [10, 0, 0, 1], [10, 0, 0, 2]);
    assert_eq!(address(None, 0), None);
    assert_eq!(address(Some(lo), 0).as_deref(), Some("127.0.0.1"));
    assert_eq!(address(None, 0).as_deref(), Some("127.0.0.1"));
    assert_eq!(address(Some(one), 0).as_deref(), Some("10.0.0.1"));
    assert_eq!(address(Some(two), 0).as_deref(), Some("10.0.0.1"));
    assert_eq!(address(Some(lo), 1000).as_deref(), Some("10.0.0.1"));
}

#[test]
fn memory_is_bounded() {
    let host = Host::new();
    let options = Options {
        capacity: 8,
        ..host.options()
    };
    let mut identifier = Identifier::new(options);
    for pid in 1..=1000 {
        ask(
            &mut identifier,
            OWNER_PROCESS | u64::from(pid),
            pid,
            u64::from(pid) / 100,
        );
    }
    assert!(identifier.owners.len() <= 8 && identifier.known.len() <= 9);
    assert_eq!(identifier.counters().gone, 1000);
    assert!(identifier.counters().forgotten > 0);
}

#[test]
fn this_process_has_a_name() {
    let mut identifier = Identifier::new(Options::default());
    let pid = std::process::id();
    let known = ask(&mut identifier, OWNER_PROCESS | u64::from(pid), pid, 0);
    assert_ne!(known.origin, Origin::Gone);
    assert!(!service(&known).is_empty());
    assert_ne!(&**identifier.node(), "unknown");
}

#[test]
fn a_cgroup_listens_where_its_processes_listen() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let host = Host::new();
    let path = format!("/system.slice/docker-{ID}.scope");
    let id = host.cgroup(&path);
    let own = std::process::id();
    host.write(
        &format!("sys/fs/cgroup{path}/cgroup.procs"),
        &format!("{own}\n4000000\n"),
    );
    // The process that called is another of that cgroup.
    host.process(50, "worker", &["/worker"], &format!("0::{path}\n"));
    symlink(format!("/proc/{own}"), host.path(&format!("proc/{own}"))).unwrap();
    let mut identifier = host.identifier();
    identifier
        .known(OwnerId(id), 50, None, MonoNanos(1))
        .unwrap();
    let found = identifier.listening(OwnerId(id), 50);
    assert!(found.contains(&listener.local_addr().unwrap()));
    // A process of its own is asked alone.
    assert!(
        identifier
            .listening(OwnerId(OWNER_PROCESS | 50), 50)
            .is_empty()
    );
}

/// A process's directory in `/proc` is another's when its id is.
pub(super) fn replace(host: &Host, pid: u32, comm: &str, started: u64) {
    let gone = host.path(&format!("gone-{pid}-{started}"));
    // It stays, so that no other gets its inode.
    let directory = host.path(&format!("proc/{pid}"));
    if directory.exists() {
        fs::rename(directory, gone).unwrap();
    }
    if comm.is_empty() {
        return;
    }
    host.process(pid, comm, &[comm], "5:name=systemd:/user.slice\n");
    let rest = "0 ".repeat(30);
    let stat = format!("{pid} ({comm}) S 1 1 1 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 {started} {rest}\n");
    host.write(&format!("proc/{pid}/stat"), &stat);
}

#[test]
fn a_process_id_that_is_used_again_never_has_the_old_name() {
    let host = Host::new();
    let mut identifier = host.identifier();
    let owner = OWNER_PROCESS | 20;
    let mut named = |second| ask(&mut identifier, owner, 20, second);
    replace(&host, 20, "old", 100);
    let old = named(0);
    assert_eq!(service(&old), "old");
    assert_eq!(named(1).key, old.key);
    // At once, before what is known of it is old.
    replace(&host, 20, "new", 200);
    let new = named(1);
    assert_eq!(service(&new), "new");
    // One of the same name is another workload all the same.
    replace(&host, 20, "new", 300);
    let newer = named(2);
    assert_eq!(service(&newer), "new");
    assert!(newer.key != new.key && new.key != old.key);
    // A look when it is time does not make another of it.
    assert_eq!(named(20).key, newer.key);
}

#[test]
fn a_process_that_ended_has_its_name_for_its_last_records_only() {
    let host = Host::new();
    let mut identifier = host.identifier();
    let owner = OWNER_PROCESS | 20;
    replace(&host, 20, "server", 100);
    assert_eq!(service(&ask(&mut identifier, owner, 20, 0)), "server");
    // It was silent for an hour.
    for minute in 1..=60 {
        identifier.look(MonoNanos(minute * 60 * SECOND));
    }
    replace(&host, 20, "", 100);
    let last = ask(&mut identifier, owner, 20, 3601);
    assert_eq!(service(&last), "server");
    identifier.look(MonoNanos(3632 * SECOND));
    assert_eq!(service(&ask(&mut identifier, owner, 20, 3640)), "server");
    // By now a process of this id, which ended before it could be asked about,
    // is another one.
    identifier.look(MonoNanos(3663 * SECOND));
    identifier.look(MonoNanos(3694 * SECOND));
    let unknown = ask(&mut identifier, owner, 20, 3695);
    assert_eq!(service(&unknown), "pid-20");
    assert_ne!(unknown.key, last.key);
    assert!(identifier.owners.len() == 1 && identifier.known.len() == 1);
}

#[test]
fn paths_from_within_a_cgroup_namespace_are_those_of_the_tree() {
    let root = tempfile::tempdir().unwrap();
    let path = |path: &str| root.path().join(path);
    let own = format!("/system.slice/docker-{ID}.scope");
    // The host's tree by way of its first process, and this container's part.
    let tree = "proc/1/root/sys/fs/cgroup";
    for cgroup in [
        "",
        "/system.slice/nginx.service",
        "/other.slice",
        "/system.slice/..in",
        &own,
        &format!("{own}/in"),
    ] {
        fs::create_dir_all(path(&format!("{tree}{cgroup}"))).unwrap();
        fs::write(path(&format!("{tree}{cgroup}/cgroup.procs")), "7\n8\n").unwrap();
    }
    fs::write(path(&format!("{tree}{own}/cgroup.events")), "populated 1\n").unwrap();
    fs::create_dir_all(path("sys/fs")).unwrap();
    symlink(path(&format!("{tree}{own}")), path("sys/fs/cgroup")).unwrap();
    let found = CgroupTree::find(root.path());
    for (said, is) in [
        ("/../nginx.service", "/system.slice/nginx.service"),
        ("/../../other.slice", "/other.slice"),
        ("/../..", "/"),
        ("/..", "/system.slice"),
        ("/", &own),
        ("/in", &format!("{own}/in")),
        ("/../..in", "/system.slice/..in"),
        ("/../../../../other.slice", "/other.slice"),
    ] {
        let absolute = found.absolute(said.to_owned());
        assert_eq!(absolute, is, "{said}");
        let id = inode(&path(&format!("{tree}{is}"))).unwrap();
        assert!(found.is(&absolute, id), "{said}");
    }
    assert_eq!(
        found.processes(&found.absolute("/../nginx.service".to_owned())),
        [7, 8]
    );
    // Elsewhere paths are what they are.
    let host = Host::new();
    let found = CgroupTree::find(&host.options().root);
    assert_eq!(found.absolute("/a/b".to_owned()), "/a/b");
    assert_eq!(found.absolute("/../a".to_owned()), "/../a");
}
