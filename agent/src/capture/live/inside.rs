//! Threads that wait in a receive that began before the programs were there.
//!
//! The exit program does not see such a call return (`agent-ebpf`,
//! `inside.rs`), so the copying itself is watched for these threads, until
//! each has received something or is gone.

use std::fs;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use agent_ebpf::RawRecord;
use aya::maps::{HashMap, MapData};
use hashbrown::HashSet;

/// How often it is looked whether the threads still exist.
const ROUND: Duration = Duration::from_secs(5);

/// System calls that end in `tcp_recvmsg`, by their numbers on x86-64. A
/// program of 32 bits has others, and is not found by them.
const RECEIVES: [i64; 5] = [
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
];

/// The threads that are watched.
pub(super) struct Inside {
    map: HashMap<MapData, u32, u32>,
    threads: HashSet<u32>,
    /// Threads whose call has brought something: at the next round of reading
    /// it has returned.
    done: Vec<u32>,
    looked: Instant,
}

impl Inside {
    pub(super) fn new(map: HashMap<MapData, u32, u32>) -> Self {
        Self {
            map,
            threads: HashSet::new(),
            done: Vec::new(),
            looked: Instant::now(),
        }
    }

    /// Adds the threads that are in `tcp_recvmsg` now; returns how many threads
    /// could not be looked at.
    pub(super) fn look(&mut self) -> usize {
        let waiting = waiting();
        for thread in waiting.threads {
            if self.map.insert(thread, 1, 0).is_ok() {
                self.threads.insert(thread);
            }
        }
        waiting.hidden
    }

    /// Whether there is anything left to watch.
    pub(super) fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// Notes who received something.
    pub(super) fn see(&mut self, raw: &RawRecord) {
        let thread = raw.pid_tgid as u32;
        if raw.direction == agent_ebpf::Direction::In as u8 && self.threads.contains(&thread) {
            self.done.push(thread);
        }
    }

    /// Lets go of threads that have received something, and of dead ones.
    pub(super) fn tidy(&mut self) {
        let mut gone = std::mem::take(&mut self.done);
        if self.looked.elapsed() > ROUND {
            self.looked = Instant::now();
            gone.extend(
                self.threads
                    .iter()
                    .filter(|thread| !fs::exists(format!("/proc/{thread}")).unwrap_or(true)),
            );
        }
        for thread in gone {
            self.threads.remove(&thread);
            // Gone already is as good.
            let _gone = self.map.remove(&thread);
        }
    }
}

/// Threads that may be in `tcp_recvmsg`.
#[derive(Debug, Default)]
struct Waiting {
    threads: Vec<u32>,
    /// Threads that nobody shows us.
    hidden: usize,
}

/// Asks `/proc` what threads do. Their kernel stacks tell it exactly, to whom
/// has `CAP_SYS_ADMIN` (`proc_pid_stack` in `fs/proc/base.c`, from 4.20) on a
/// kernel with `CONFIG_STACKTRACE`. Otherwise their system calls have to do,
/// which `CAP_SYS_PTRACE` shows; the file (mode 0400) and the folder of
/// descriptors (0500) are of the process's user, so for others it takes
/// `CAP_DAC_READ_SEARCH` as well (`proc_pid_permission`).
fn waiting() -> Waiting {
    if fs::read("/proc/thread-self/stack").is_ok() {
        return threads(|thread| {
            let stack = fs::read_to_string(thread.join("stack"))?;
            Ok(stack.contains("tcp_recvmsg"))
        });
    }
    threads(|thread| {
        let call = fs::read_to_string(thread.join("syscall"))?;
        let Some(file) = receives_from(&call) else {
            return Ok(false);
        };
        let file = fs::read_link(thread.join("fd").join(file.to_string()))?;
        Ok(file.to_string_lossy().starts_with("socket:"))
    })
}

/// The threads of all processes for whose folder in `/proc` this holds.
fn threads(holds: impl Fn(&Path) -> io::Result<bool>) -> Waiting {
    let mut waiting = Waiting::default();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let threads = processes
        .filter(|process| process.file_name().to_string_lossy().parse::<u32>().is_ok())
        .filter_map(|process| fs::read_dir(process.path().join("task")).ok())
        .flatten()
        .flatten();
    for thread in threads {
        let Ok(id) = thread.file_name().to_string_lossy().parse() else {
            continue;
        };
        match holds(&thread.path()) {
            Ok(true) => waiting.threads.push(id),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => waiting.hidden += 1,
            // Most often it is gone.
            Ok(false) | Err(_) => {}
        }
    }
    waiting
}

/// The descriptor that a thread receives from, by its line of
/// `/proc/PID/syscall`: the call's number and its arguments in hexadecimal.
fn receives_from(line: &str) -> Option<u64> {
    let mut words = line.split_ascii_whitespace();
    let call: i64 = words.next()?.parse().ok()?;
    let descriptor = words.next()?.strip_prefix("0x")?;
    RECEIVES
        .contains(&call)
        .then(|| u64::from_str_radix(descriptor, 16).ok())?
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};
    use std::os::fd::OwnedFd;
    use std::os::unix::process::CommandExt as _;
    use std::process::Command;
    use std::sync::mpsc;
    use std::thread;

    use rustix::thread::{CapabilitySet, CapabilitySets};

    use super::*;

    #[test]
    fn calls_that_receive() {
        for (line, descriptor) in [
            ("0 0x5 0x7ffd 0x400 0x0 0x0 0x0 0x7ffd 0x7f12\n", Some(5)),
            ("45 0x1f 0x7ffd 0x400 0x0 0x0 0x0 0x7ffd 0x7f12\n", Some(31)),
            ("47 0x5 0x7ffd 0x0 0x0 0x0 0x0 0x7ffd 0x7f12", Some(5)),
            ("1 0x5 0x7ffd 0x400 0x0 0x0 0x0 0x7ffd 0x7f12", None),
            ("202 0x5 0x7ffd 0x400 0x0 0x0 0x0 0x7ffd 0x7f12", None),
            ("running", None),
            ("-1 0x7ffd 0x7f12", None),
            ("0 5", None),
            ("0 0x", None),
            ("", None),
        ] {
            assert_eq!(receives_from(line), descriptor, "{line}");
        }
    }

    /// A thread that waits in a receive is found among all of this machine, by
    /// its system call at least; by its stack too, if that may be read.
    #[test]
    fn a_thread_that_waits_is_found() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let (send, receive) = mpsc::sync_channel(1);
        let waiter = thread::spawn(move || {
            send.send(rustix::thread::gettid()).unwrap();
            server.read_exact(&mut [0; 1]).unwrap();
        });
        let id = receive.recv().unwrap();
        let id = u32::try_from(id.as_raw_nonzero().get()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        let by_call = |thread: &Path| {
            let call = fs::read_to_string(thread.join("syscall"))?;
            Ok(receives_from(&call).is_some())
        };
        while !(waiting().threads.contains(&id) && threads(by_call).threads.contains(&id)) {
            assert!(Instant::now() < deadline, "thread {id} is not found");
        }
        client.write_all(b"x").unwrap();
        waiter.join().unwrap();
        assert!(!waiting().threads.contains(&id));
    }

    /// Who waits now, as a thread sees it that has no other capabilities.
    fn waiting_with(capabilities: CapabilitySet) -> Waiting {
        let sets = CapabilitySets {
            effective: capabilities,
            permitted: capabilities,
            inheritable: CapabilitySet::empty(),
        };
        let looks = move || {
            rustix::thread::set_capabilities(None, sets).unwrap();
            waiting()
        };
        thread::spawn(looks).join().unwrap()
    }

    /// Why the DaemonSet grants `CAP_DAC_READ_SEARCH`: most pods run as another
    /// user than the agent.
    #[test]
    fn threads_of_other_users_take_two_capabilities() {
        let both = CapabilitySet::SYS_PTRACE | CapabilitySet::DAC_READ_SEARCH;
        let had = rustix::thread::capabilities(None).unwrap().effective;
        if !had.contains(both | CapabilitySet::SETUID) {
            return;
        }
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (server, _) = listener.accept().unwrap();
        let mut command = Command::new("cat");
        command.uid(65534).stdin(OwnedFd::from(server));
        let mut child = command.spawn().unwrap();
        // It has the other end.
        drop(command);
        let finds = |capabilities| waiting_with(capabilities).threads.contains(&child.id());
        let deadline = Instant::now() + Duration::from_secs(20);
        while !finds(both) {
            assert!(
                Instant::now() < deadline,
                "process {} is not found",
                child.id()
            );
        }
        assert!(!finds(CapabilitySet::SYS_PTRACE));
        assert!(waiting_with(CapabilitySet::SYS_PTRACE).hidden > 0);
        drop(client);
        child.wait().unwrap();
    }
}
