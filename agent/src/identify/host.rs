//! Workloads of a live host, from `/proc`, the cgroup tree and the container
//! runtime's files.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use agent_ebpf::OWNER_PROCESS;
use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::cgroup::Granularity;
use super::command::command_name;
use super::directory::Directory;
use super::kubepods::Place;
use super::listening::listening;
use super::pods::{Found, Pods};
use super::process::instance;
use super::tree::CgroupTree;
use super::{Identify, Known, Naming, Origin, Workload, WorkloadKey, WorkloadKind, key_of};
use crate::units::{Comm, MonoNanos, OwnerId};

mod ask;
mod introduced;
mod kept;
mod options;

use self::ask::Answer;
use self::introduced::Introduced;
use self::kept::{Named, settle_address};
pub use self::options::{Counters, Options};

const SECOND: u64 = 1_000_000_000;
/// How long a process that is no more is remembered.
const REMEMBERED: u64 = 60 * SECOND;
/// How often owners that are no more are looked for.
const SWEEP: u64 = 30 * SECOND;

/// Names the workloads of this host.
#[derive(Debug)]
pub struct Identifier {
    options: Options,
    node: Arc<str>,
    /// What is known of an owner key; processes have [`OWNER_PROCESS`].
    owners: HashMap<u64, Owner, FxBuildHasher>,
    known: HashMap<WorkloadKey, Named, FxBuildHasher>,
    /// What the kernel has called processes that have not been found since.
    introduced: Introduced,
    tree: CgroupTree,
    /// Where there is a cluster.
    pods: Option<Pods>,
    /// When owners that are no more were last forgotten.
    swept: MonoNanos,
    counters: Counters,
}

#[derive(Clone, Copy, Debug)]
struct Owner {
    is: Is,
    until: MonoNanos,
    /// Of a process: which of those that have had its id
    /// ([`instance`](super::process::instance)).
    instance: Option<u64>,
    /// Of a process: what it was called when it was found last, empty if nobody
    /// has said so.
    comm: Comm,
    /// A process that is no more: when that was found.
    over: Option<MonoNanos>,
}

/// What an owner is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Is {
    One(WorkloadKey),
    /// Its processes are workloads of their own.
    Several,
    /// A container of a pod that the cluster has not spoken of yet.
    Awaited,
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
            introduced: Introduced::default(),
            tree,
            pods: None,
            swept: MonoNanos::default(),
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
        if owner.0 & OWNER_PROCESS == 0 && self.owner(owner.0, pid, now).is == Is::Several {
            Granularity::PerProcess
        } else {
            Granularity::PerCgroup
        }
    }

    /// Whether this owner is known to be no more, so that nothing need be kept
    /// of it. Of processes, and where cgroups are not listened to, nothing is
    /// known.
    #[must_use]
    pub fn is_gone(&self, owner: OwnerId) -> bool {
        owner.0 & OWNER_PROCESS == 0 && self.tree.is_gone(owner.0)
    }

    /// How many owners and workloads are known, and how many cgroups.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> [usize; 3] {
        [self.owners.len(), self.known.len(), self.tree.size()]
    }

    /// What is known of an owner; asks the host if that is nothing, or old.
    fn owner(&mut self, id: u64, pid: u32, now: MonoNanos) -> Owner {
        let old = self.owners.get(&id).copied();
        let is_process = id & OWNER_PROCESS != 0;
        let instance = is_process.then(|| instance(&self.options.root, process_of(id)));
        let instance = instance.flatten();
        // One that is there says of itself what it is called.
        let introduced = match instance {
            Some(_) => self.introduced.take(process_of(id)),
            None if is_process => self.introduced.get(process_of(id)),
            None => None,
        };
        let is_another = old.is_some_and(|old| match (instance, introduced) {
            (Some(_), _) => old.instance != instance,
            // It has come and gone since the one before was found.
            (None, Some(comm)) => {
                let was_named = !old.comm.is_empty() || old.instance.is_none();
                was_named && old.comm != comm
            }
            // These are the last records of the one that was.
            (None, None) => false,
        });
        if let Some(owner) = self.owners.get_mut(&id)
            && owner.until > now
            && !is_another
        {
            owner.comm = introduced.unwrap_or(owner.comm);
            return *owner;
        }
        let old = old.filter(|_| !is_another);
        let (answer, comm, ttl) = if is_process {
            let (answer, comm) = self.ask_process(process_of(id));
            (answer, comm, self.options.process_ttl)
        } else {
            let answer = self.ask_cgroup(id, pid, now);
            (answer, None, self.options.cgroup_ttl)
        };
        let comm = comm.or(introduced).or(old.map(|old| old.comm));
        let (is, ttl) = match (answer, old) {
            (Answer::Is(key, origin), _) => {
                self.keep(key, origin);
                (Is::One(key), ttl)
            }
            // The cluster has forgotten a pod that is still there.
            (Answer::Await(places), Some(old)) if places.iter().any(|at| at.is(old.is)) => {
                (old.is, ttl)
            }
            (Answer::Await(places), _) => {
                if let Some(pods) = &mut self.pods {
                    pods.wait(id, places);
                }
                (Is::Awaited, ttl)
            }
            (Answer::PerProcess, _) => (Is::Several, ttl),
            // It ended, and these are its last records.
            (Answer::Gone, Some(old)) => (old.is, ttl),
            (Answer::Gone, None) => {
                self.counters.gone += 1;
                (Is::One(self.insert_gone(id, introduced)), SECOND.min(ttl))
            }
        };
        let owner = Owner {
            is,
            until: MonoNanos(now.0.saturating_add(ttl)),
            instance: instance.or(old.and_then(|old| old.instance)),
            comm: comm.unwrap_or_default(),
            over: old.and_then(|old| old.over).filter(|_| instance.is_none()),
        };
        if self.owners.len() >= self.options.capacity {
            self.owners.retain(|_, owner| owner.until > now);
            if self.owners.len() >= self.options.capacity {
                self.owners.clear();
                self.counters.forgotten += 1;
            }
            self.owners.insert(id, owner);
            self.forget_unowned();
        }
        self.owners.insert(id, owner);
        owner
    }

    /// Remembers an owner that is over, of which nothing but what a process was
    /// called can be said: whether that was in a container or a unit is not
    /// known.
    fn insert_gone(&mut self, id: u64, introduced: Option<Comm>) -> WorkloadKey {
        let (space, number) = match id & OWNER_PROCESS {
            0 => ("cgroup", format!("cgroup-{id}")),
            _ => ("process", format!("pid-{}", process_of(id))),
        };
        let name = introduced.map(|comm| command_name(&comm.as_str_lossy(), None, &[]));
        // Another process of this id is another workload.
        let key = match &name {
            Some(name) => key_of(space, &format!("{number} {name}")),
            None => key_of(space, &number),
        };
        let name = name.unwrap_or(number);
        self.insert(key, &name, WorkloadKind::Command, Origin::Gone);
        key
    }

    /// Forgets what no owner needs any more.
    fn forget_unowned(&mut self) {
        let keys = self.owners.values().filter_map(|owner| match owner.is {
            Is::One(key) => Some(key),
            Is::Several | Is::Awaited => None,
        });
        let live: hashbrown::HashSet<_> = keys.collect();
        self.known.retain(|known, _| live.contains(known));
        if let Some(pods) = &mut self.pods {
            pods.keep(|owner| self.owners.contains_key(&owner));
        }
    }

    /// Forgets owners that are no more: cgroups that were removed so long ago
    /// that the tree does not remember them, or their processes ended, whose ids
    /// will be others'.
    fn sweep(&mut self, now: MonoNanos) {
        if now.since(self.swept) < SWEEP {
            return;
        }
        self.swept = now;
        self.introduced.age();
        let (tree, root) = (&self.tree, &self.options.root);
        self.owners.retain(|id, owner| {
            if id & OWNER_PROCESS == 0 {
                return !tree.is_gone(*id) || tree.listened(*id).is_some();
            }
            let lives =
                owner.instance.is_some() && instance(root, process_of(*id)) == owner.instance;
            let over = *owner.over.get_or_insert(now);
            if lives {
                owner.over = None;
            }
            lives || now.since(over) < REMEMBERED
        });
        self.forget_unowned();
    }

    /// Whether an owner is a cgroup that is known not to hold several workloads.
    fn is_one_cgroup(&self, owner: OwnerId) -> bool {
        let known = self.owners.get(&owner.0);
        owner.0 & OWNER_PROCESS == 0 && known.is_some_and(|owner| owner.is != Is::Several)
    }

    /// The processes of an owner: those of its cgroup if that is one workload,
    /// else this one.
    fn processes(&self, owner: OwnerId, pid: u32) -> Vec<u32> {
        let path = self
            .is_one_cgroup(owner)
            .then(|| self.unified_path(pid))
            .flatten()
            .filter(|path| self.tree.is(path, owner.0));
        let mut processes = path.map_or_else(Vec::new, |path| self.tree.processes(&path));
        if processes.is_empty() {
            processes.push(pid);
        }
        processes
    }
}

impl Place {
    /// Whether this is what an owner was known as.
    fn is(&self, known: Is) -> bool {
        known == Is::One(key_of("container", &self.container))
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
        let mut is = self.owner(owner.0, pid, now).is;
        if is == Is::Several {
            // Without a process (softirq, a kernel thread) the cgroup has to do.
            is = match pid {
                0 => {
                    let key = key_of("cgroup", &owner.0.to_string());
                    if !self.known.contains_key(&key) {
                        self.counters.gone += 1;
                        let name = format!("cgroup-{}", owner.0);
                        self.insert(key, &name, WorkloadKind::Command, Origin::Gone);
                    }
                    Is::One(key)
                }
                pid => self.owner(OWNER_PROCESS | u64::from(pid), pid, now).is,
            };
        }
        let Is::One(key) = is else {
            return None;
        };
        let Named { known, .. } = self.known.get_mut(&key)?;
        settle_address(known, local);
        Some(known)
    }

    fn introduce(&mut self, owner: OwnerId, pid: u32, comm: Comm) {
        if !self.is_one_cgroup(owner) && pid != 0 && !comm.is_empty() {
            self.introduced.keep(pid, comm);
        }
    }

    fn rename(&mut self, naming: Naming) {
        if naming == self.options.naming {
            return;
        }
        self.options.naming = naming;
        self.node = node(&self.options);
        for Named { known, own } in self.known.values_mut() {
            let Workload { address, pod, .. } = Workload::clone(&known.workload);
            let naming = &self.options.naming;
            known.workload = naming.workload(own.clone(), &self.node, address, pod);
        }
    }

    fn awaits(&self, owner: OwnerId, pid: u32) -> bool {
        let is = |id| self.owners.get(&id).map(|owner| owner.is);
        let of_process = || is(OWNER_PROCESS | u64::from(pid));
        match is(owner.0) {
            Some(Is::Several) => of_process() == Some(Is::Awaited),
            is => is == Some(Is::Awaited),
        }
    }

    fn recall(&self, owner: OwnerId) -> Option<&Known> {
        match self.owners.get(&owner.0)?.is {
            Is::One(key) => self.known.get(&key).map(|named| &named.known),
            Is::Several | Is::Awaited => None,
        }
    }

    fn learn(&mut self, directory: &Arc<Directory>, now: MonoNanos) {
        let Some(pods) = &mut self.pods else {
            self.pods = Some(Pods::new(Arc::clone(directory)));
            // What was taken for a plain container may be a pod's.
            self.owners.clear();
            self.known.clear();
            self.tree.listen();
            return;
        };
        pods.learn(directory, now);
        let changed = self.known.values().filter_map(|Named { known, .. }| {
            let found = match &known.origin {
                Origin::Pod { pod, id, .. } => Found {
                    pod: Arc::clone(pods.pod(&pod.uid).filter(|of| !Arc::ptr_eq(of, pod))?),
                    container: Arc::clone(id),
                },
                Origin::Container { id, .. } => pods.of_container(id)?,
                _ => return None,
            };
            Some(found)
        });
        let changed: Vec<Found> = changed.collect();
        let arrived = pods.arrived();
        for found in changed {
            if let Answer::Is(key, origin) = found.into() {
                self.keep(key, origin);
            }
        }
        for (id, found) in arrived {
            if let (Answer::Is(key, origin), Some(owner)) = (found.into(), self.owners.get_mut(&id))
            {
                owner.is = Is::One(key);
                self.keep(key, origin);
            }
        }
    }

    fn look(&mut self, now: MonoNanos) {
        if let Some(pods) = &mut self.pods {
            self.tree.look(now, |id| {
                self.owners.remove(&id);
                pods.forget(id);
            });
        }
        self.sweep(now);
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

const fn process_of(id: u64) -> u32 {
    (id & 0xffff_ffff) as u32
}

#[cfg(test)]
mod gone_tests;
#[cfg(test)]
mod pod_tests;
#[cfg(test)]
mod tests;
