//! Workloads of a live host, from `/proc`, the cgroup tree and the container
//! runtime's files.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use agent_ebpf::OWNER_PROCESS;
use hashbrown::HashMap;
use procfs::process::Process;
use rustc_hash::FxBuildHasher;
use serde::Deserialize;

use super::cgroup::{CgroupOwner, Granularity};
use super::command::command_name;
use super::listening::listening;
use super::tree::CgroupTree;
use super::{Identify, Known, Naming, Origin, Workload, WorkloadKey, WorkloadKind, key_of};
use crate::units::{MonoNanos, OwnerId};

const SECOND: u64 = 1_000_000_000;

/// What an [`Identifier`] is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// What workloads and the node are called.
    pub naming: Naming,
    /// Where the host's file system begins: `/`, or its mount point in a
    /// container, or a made-up tree in tests.
    pub root: PathBuf,
    /// Nanoseconds after which a process is looked at again, because its id
    /// may have been reused. Default 10 s.
    pub process_ttl: u64,
    /// The same for a cgroup. Default 60 s.
    pub cgroup_ttl: u64,
    /// Owners remembered at most. Default 16,384.
    pub capacity: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            naming: Naming::default(),
            root: PathBuf::from("/"),
            process_ttl: 10 * SECOND,
            cgroup_ttl: 60 * SECOND,
            capacity: 16_384,
        }
    }
}

/// Counts of what did not go smoothly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Workloads that were over before anybody could ask for their name.
    pub gone: u64,
    /// Walks through the cgroup tree for an id whose process was gone.
    pub walks: u64,
    /// Times that all names were forgotten for room.
    pub forgotten: u64,
}

/// Names the workloads of this host.
#[derive(Debug)]
pub struct Identifier {
    options: Options,
    node: Arc<str>,
    /// What is known of an owner key; processes have [`OWNER_PROCESS`].
    owners: HashMap<u64, Owner, FxBuildHasher>,
    known: HashMap<WorkloadKey, Named, FxBuildHasher>,
    tree: CgroupTree,
    counters: Counters,
}

/// A workload, and what it is called where no configuration names it.
#[derive(Debug)]
struct Named {
    known: Known,
    own: (Arc<str>, WorkloadKind),
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    /// `None`: its processes are workloads of their own.
    key: Option<WorkloadKey>,
    until: MonoNanos,
}

/// What the host says about an owner.
enum Answer {
    Is(WorkloadKey, Origin),
    /// Ask for the process.
    PerProcess,
    /// There is no such process or cgroup (any more).
    Gone,
}

impl Identifier {
    /// An identifier that has asked for nothing but the host's name.
    #[must_use]
    pub fn new(options: Options) -> Self {
        let node = node(&options);
        let tree = CgroupTree::find(&options.root);
        Self {
            options,
            node,
            owners: HashMap::default(),
            known: HashMap::default(),
            tree,
            counters: Counters::default(),
        }
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counters(&self) -> Counters {
        self.counters
    }

    /// Name of the node.
    #[must_use]
    pub fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// Whether this owner is one workload, or the kernel should report its
    /// processes one by one.
    pub fn granularity(&mut self, owner: OwnerId, pid: u32, now: MonoNanos) -> Granularity {
        if owner.0 & OWNER_PROCESS == 0 && self.owner(owner.0, pid, now).key.is_none() {
            Granularity::PerProcess
        } else {
            Granularity::PerCgroup
        }
    }

    /// What is known of an owner; asks the host if that is nothing, or old.
    fn owner(&mut self, id: u64, pid: u32, now: MonoNanos) -> Owner {
        let old = self.owners.get(&id).copied();
        if let Some(owner) = old
            && owner.until > now
        {
            return owner;
        }
        let ttl = if id & OWNER_PROCESS == 0 {
            self.options.cgroup_ttl
        } else {
            self.options.process_ttl
        };
        let answer = if id & OWNER_PROCESS == 0 {
            self.ask_cgroup(id, pid, now)
        } else {
            self.ask_process(process_of(id))
        };
        let (key, ttl) = match (answer, old) {
            (Answer::Is(key, origin), _) => {
                self.keep(key, origin);
                (Some(key), ttl)
            }
            (Answer::PerProcess, _) => (None, ttl),
            // It ended, and these are its last records.
            (Answer::Gone, Some(old)) => (old.key, ttl),
            (Answer::Gone, None) => {
                self.counters.gone += 1;
                let (space, name) = match id & OWNER_PROCESS {
                    0 => ("cgroup", format!("cgroup-{id}")),
                    _ => ("process", format!("pid-{}", process_of(id))),
                };
                let key = key_of(space, &name);
                self.insert(key, &name, WorkloadKind::Command, Origin::Gone);
                (Some(key), SECOND.min(ttl))
            }
        };
        let owner = Owner {
            key,
            until: MonoNanos(now.0.saturating_add(ttl)),
        };
        if self.owners.len() >= self.options.capacity {
            self.owners.retain(|_, owner| owner.until > now);
            if self.owners.len() >= self.options.capacity {
                self.owners.clear();
                self.counters.forgotten += 1;
            }
            let live: hashbrown::HashSet<_> = self.owners.values().map(|o| o.key).collect();
            self.known
                .retain(|known, _| Some(*known) == key || live.contains(&Some(*known)));
        }
        self.owners.insert(id, owner);
        owner
    }

    fn ask_process(&self, pid: u32) -> Answer {
        let Some(process) = self.process(pid) else {
            return Answer::Gone;
        };
        let paths = cgroup_paths(&process);
        let owner = CgroupOwner::of_paths(paths.iter().map(|(_, path)| path.as_str()));
        if let Some(answer) = self.name(owner) {
            return answer;
        }
        let Some(comm) = comm_of(&process) else {
            return Answer::Gone;
        };
        let exe = process.exe().ok();
        let exe = exe.as_deref().and_then(Path::to_str);
        let args = process.cmdline().unwrap_or_default();
        let name = command_name(&comm, exe, &args);
        let key = key_of("process", &pid.to_string());
        Answer::Is(key, Origin::Command(name.into()))
    }

    fn ask_cgroup(&mut self, id: u64, pid: u32, now: MonoNanos) -> Answer {
        let of_process = self.unified_path(pid);
        // The process may have moved, or its id may be another's by now.
        let path = match of_process {
            Some(path) if self.tree.is(&path, id) => Some(path),
            other => self
                .tree
                .path_of(id, now, &mut self.counters)
                // A cgroup namespace hides the tree outside of it.
                .or_else(|| other.filter(|path| path.starts_with("/.."))),
        };
        match path {
            None => Answer::Gone,
            Some(path) => self
                .name(CgroupOwner::of_path(&path))
                .unwrap_or(Answer::PerProcess),
        }
    }

    fn name(&self, owner: CgroupOwner<'_>) -> Option<Answer> {
        match owner {
            CgroupOwner::Container(id) => Some(Answer::Is(
                key_of("container", id),
                Origin::Container {
                    id: id.into(),
                    name: docker_name(&self.options.root, id).map(Into::into),
                },
            )),
            CgroupOwner::Unit { name, path } => {
                Some(Answer::Is(key_of("unit", path), Origin::Unit(name.into())))
            }
            CgroupOwner::Nobody => None,
        }
    }

    /// Remembers a workload. One that is known already stays as it is, so that
    /// its spans go on sharing it.
    fn keep(&mut self, key: WorkloadKey, origin: Origin) {
        if self
            .known
            .get(&key)
            .is_some_and(|named| named.known.origin == origin)
        {
            return;
        }
        let (name, kind) = match &origin {
            Origin::Container { id, name } => {
                let short = id.get(..12).unwrap_or(id);
                let name = name.as_deref().unwrap_or(short);
                (name.to_owned(), WorkloadKind::Container(Arc::clone(id)))
            }
            Origin::Unit(unit) => {
                let name = unit.strip_suffix(".service").unwrap_or(unit);
                (name.to_owned(), WorkloadKind::Unit(Arc::clone(unit)))
            }
            Origin::Command(command) => (command.to_string(), WorkloadKind::Command),
            Origin::Address(_) | Origin::Gone => return,
        };
        self.insert(key, &name, kind, origin);
    }

    fn insert(&mut self, key: WorkloadKey, name: &str, kind: WorkloadKind, origin: Origin) {
        let own = (Arc::from(name), kind);
        let naming = &self.options.naming;
        let known = Known {
            key,
            workload: naming.workload(own.clone(), &self.node, None),
            origin,
        };
        self.known.insert(key, Named { known, own });
    }

    /// The processes of an owner: those of its cgroup if that is one workload,
    /// else this one.
    fn processes(&self, owner: OwnerId, pid: u32) -> Vec<u32> {
        let one = self.owners.get(&owner.0).is_some_and(|o| o.key.is_some());
        let path = (owner.0 & OWNER_PROCESS == 0 && one)
            .then(|| self.unified_path(pid))
            .flatten()
            .filter(|path| self.tree.is(path, owner.0));
        let mut processes = path.map_or_else(Vec::new, |path| self.tree.processes(&path));
        if processes.is_empty() {
            processes.push(pid);
        }
        processes
    }

    /// The path of a process's cgroup in the unified hierarchy.
    fn unified_path(&self, pid: u32) -> Option<String> {
        let paths = cgroup_paths(&self.process(pid)?);
        let path = paths.into_iter().find(|(unified, _)| *unified);
        path.map(|(_, path)| path)
    }

    fn process(&self, pid: u32) -> Option<Process> {
        if pid == 0 {
            return None;
        }
        let path = self.options.root.join("proc").join(pid.to_string());
        Process::new_with_root(path).ok()
    }
}

impl Identify for Identifier {
    fn known(
        &mut self,
        owner: OwnerId,
        pid: u32,
        local: Option<IpAddr>,
        now: MonoNanos,
    ) -> Option<&Known> {
        let mut key = self.owner(owner.0, pid, now).key;
        if key.is_none() {
            // Without a process (softirq, a kernel thread) the cgroup has to do.
            key = match pid {
                0 => {
                    let key = key_of("cgroup", &owner.0.to_string());
                    if !self.known.contains_key(&key) {
                        self.counters.gone += 1;
                        let name = format!("cgroup-{}", owner.0);
                        self.insert(key, &name, WorkloadKind::Command, Origin::Gone);
                    }
                    Some(key)
                }
                pid => self.owner(OWNER_PROCESS | u64::from(pid), pid, now).key,
            };
        }
        let Named { known, .. } = self.known.get_mut(&key?)?;
        settle_address(known, local);
        Some(known)
    }

    fn rename(&mut self, naming: Naming) {
        if naming == self.options.naming {
            return;
        }
        self.options.naming = naming;
        self.node = node(&self.options);
        for Named { known, own } in self.known.values_mut() {
            let address = known.workload.address;
            let naming = &self.options.naming;
            known.workload = naming.workload(own.clone(), &self.node, address);
        }
    }

    fn listening(&mut self, owner: OwnerId, pid: u32) -> Vec<SocketAddr> {
        listening(&self.options.root, &self.processes(owner, pid))
    }
}

fn node(options: &Options) -> Arc<str> {
    options.naming.node.clone().unwrap_or_else(|| {
        let name = fs::read_to_string(options.root.join("proc/sys/kernel/hostname"));
        name.as_deref().map_or("unknown", str::trim).into()
    })
}

/// Gives a workload its address: the first that it is seen with, and the first
/// that is no loopback address after that. It must stay the same on all spans
/// (DESIGN.md, Wire identity, rule 5), so it changes once at most.
fn settle_address(known: &mut Known, local: Option<IpAddr>) {
    let better = match (known.workload.address, local) {
        (None, Some(local)) => !local.is_unspecified(),
        (Some(old), Some(local)) => {
            old.is_loopback() && !local.is_loopback() && !local.is_unspecified()
        }
        (_, None) => false,
    };
    if better {
        let mut workload = Workload::clone(&known.workload);
        workload.address = local;
        known.workload = Arc::new(workload);
    }
}

const fn process_of(id: u64) -> u32 {
    (id & 0xffff_ffff) as u32
}

fn comm_of(process: &Process) -> Option<String> {
    use std::io::Read;
    let mut comm = Vec::new();
    let file = process.open_relative("comm").ok()?;
    file.take(64).read_to_end(&mut comm).ok()?;
    Some(String::from_utf8_lossy(&comm).trim_end().to_owned())
}

/// All cgroup paths of a process; true for the one of cgroup v2. What says
/// most comes first: v2, systemd's own hierarchy, the others.
fn cgroup_paths(process: &Process) -> Vec<(bool, String)> {
    let mut paths: Vec<_> = process
        .cgroups()
        .map(|groups| groups.0)
        .unwrap_or_default()
        .into_iter()
        .map(|group| {
            let unified = group.hierarchy == 0;
            let systemd = group.controllers.iter().any(|name| name == "name=systemd");
            // The kernel says so where the directory was removed.
            let path = match group.pathname.strip_suffix(" (deleted)") {
                Some(path) => path.to_owned(),
                None => group.pathname,
            };
            (!unified, !systemd, path)
        })
        .collect();
    paths.sort();
    paths
        .into_iter()
        .map(|(legacy, _, path)| (!legacy, path))
        .collect()
}

/// The name that Docker gave a container, where its files can be read.
fn docker_name(root: &Path, id: &str) -> Option<String> {
    #[derive(Deserialize)]
    struct Config {
        #[serde(rename = "Name")]
        name: String,
    }
    let path = root
        .join("var/lib/docker/containers")
        .join(id)
        .join("config.v2.json");
    let config: Config = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
    let name = config.name.trim_start_matches('/');
    (!name.is_empty()).then(|| name.to_owned())
}

#[cfg(test)]
mod tests;
