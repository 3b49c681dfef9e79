//! Loading and attaching the programs.

use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use agent_ebpf::Settings;
use aya::maps::MapError;
use aya::programs::{FEntry, FExit, KProbe, ProgramError};
use aya::{Ebpf, EbpfLoader};
use rustix::thread::CapabilitySet;

use super::inside::Inside;
use super::report::{ProgramReport, Report};
use super::{LiveError, Options, object};
use crate::capture::btf::Btf;
use crate::capture::layout::{self, Kernel};

/// Programs in the kernel, attached until this is dropped.
pub(super) struct Probes {
    pub(super) ebpf: Ebpf,
    pub(super) kernel: Kernel,
    pub(super) programs: Vec<ProgramReport>,
    pub(super) by_cgroup: bool,
    pub(super) kprobes: bool,
    /// The kernel preempts its tasks, so each program is attached twice.
    pub(super) twice: bool,
    pub(super) degraded: Vec<String>,
    /// Threads inside a receive that began before the programs were there.
    pub(super) inside: Option<Inside>,
}

/// The program for them.
const COPY: &str = "copy_exit";

/// The functions that programs sit on, besides [`layout::PAST`].
const FUNCTIONS: [&str; 5] = [
    "skb_copy_datagram_iter",
    "tcp_close",
    "tcp_recvmsg",
    "tcp_sendmsg",
    "tcp_sendpage",
];

/// The programs that count, each with the function it sits on.
const PAST: [(&str, &str); 7] = [
    ("past_sockmap_recv", "__tcp_bpf_recvmsg"),
    ("past_mptcp_recv", "mptcp_recvmsg"),
    ("past_mptcp_send", "mptcp_sendmsg"),
    ("past_sockmap_recv", "sk_msg_recvmsg"),
    ("past_sockmap_send", "tcp_bpf_sendmsg"),
    ("past_kernel_tls", "tcp_set_ulp"),
    ("past_splice_read", "tcp_splice_read"),
];

const BTF_PATH: &str = "/sys/kernel/btf/vmlinux";

impl Probes {
    pub(super) fn load(options: &Options) -> Result<Self, LiveError> {
        let object = if options.kernel_log {
            object::logging()
        } else {
            object::plain()
        };
        let object = object.ok_or(LiveError::NoObject)?;
        if !permitted() {
            return Err(not_permitted());
        }
        let blob = fs::read(BTF_PATH).map_err(|source| {
            if source.kind() == io::ErrorKind::PermissionDenied {
                not_permitted()
            } else {
                LiveError::NoBtf {
                    path: BTF_PATH,
                    source,
                }
            }
        })?;
        let whole = Btf::parse(&blob)?;
        let kernel = Kernel::resolve(&whole)?;
        // The loader's own reader makes a tree of every type; all that it is
        // asked for is where these functions are.
        let functions: Vec<&str> = FUNCTIONS.into_iter().chain(layout::PAST).collect();
        let skeleton = whole.skeleton(&functions);
        drop(whole);
        drop(blob);
        let by_cgroup = fs::exists("/sys/fs/cgroup/cgroup.controllers").unwrap_or(false);
        raise_memlock();
        let twice = preempts();
        let mut probes = Self {
            ebpf: open(object, by_cgroup, twice, &kernel, options)?,
            kernel,
            programs: Vec::new(),
            by_cgroup,
            kprobes: options.force_kprobes,
            twice,
            degraded: Vec::new(),
            inside: None,
        };
        if !by_cgroup {
            probes
                .degraded
                .push("no cgroup v2 at /sys/fs/cgroup: owners are processes".to_owned());
        }
        // After `open`, which has the kernel's whole BTF in memory for a moment.
        let btf = aya::Btf::parse(&skeleton, aya::Endianness::default())
            .map_err(|source| LiveError::Object(Box::new(aya::EbpfError::BtfError(source))))?;
        probes.attach_all(object, options, &btf)?;
        drop(btf);
        give_back();
        Ok(probes)
    }

    /// Attaches fentry and fexit programs, or kprobes where there is no
    /// fentry.
    fn attach_all(
        &mut self,
        object: &[u8],
        options: &Options,
        btf: &aya::Btf,
    ) -> Result<(), LiveError> {
        if options.force_kprobes {
            self.degraded
                .push("kprobes instead of fentry: asked for".to_owned());
            return self.attach_kprobes().map_err(|error| match error {
                refused if no_such_kind(&refused) => LiveError::NoProbes(refused.to_string()),
                other => other,
            });
        }
        let mut outcome = self.attach(btf);
        if outcome.is_err() && self.twice && self.kernel.preempt.take().is_some() {
            // Up to 6.14 a program that turned preemption off may not call
            // functions that are verified by themselves.
            self.programs.clear();
            self.inside = None;
            self.ebpf = open(object, self.by_cgroup, true, &self.kernel, options)?;
            self.degraded.push(
                "this kernel preempts and does not let programs turn that off: a call may be missed".to_owned(),
            );
            outcome = self.attach(btf);
        }
        let Err(refused) = outcome else {
            return Ok(());
        };
        // A verifier that refuses one kind of program will refuse the other.
        if !no_such_kind(&refused) {
            return Err(refused);
        }
        // What is attached already goes with the object it came from.
        self.programs.clear();
        self.inside = None;
        self.ebpf = open(object, self.by_cgroup, false, &self.kernel, options)?;
        self.kprobes = true;
        self.degraded
            .push(format!("kprobes instead of fentry: {refused}"));
        self.attach_kprobes()
            .map_err(|error| LiveError::NoProbes(format!("fentry: {refused}; kprobe: {error}")))
    }

    fn attach_kprobes(&mut self) -> Result<(), LiveError> {
        self.kprobe("kprobe_close", "tcp_close")?;
        let receive = if self.kernel.recvmsg_flags == 4 {
            "kprobe_recv_4"
        } else {
            "kprobe_recv_3"
        };
        self.kprobe(receive, "tcp_recvmsg")?;
        self.kprobe("kprobe_took", "tcp_rcv_space_adjust")?;
        self.kprobe("kretprobe_recv", "tcp_recvmsg")?;
        self.kprobe("kprobe_sent", "release_sock")?;
        self.kprobe("kprobe_send", "tcp_sendmsg")?;
        self.kprobe("kretprobe_send", "tcp_sendmsg")?;
        self.degraded.push(
            "kretprobes miss returns when more tasks wait in a function than they have instances for: the end of a stream, or a send that was cut short".to_owned(),
        );
        if self.twice {
            // `bpf_disable_instrumentation` (kernel/bpf/syscall.c) keeps kprobe
            // programs from running on a CPU while a map is changed, and only
            // migration off meanwhile.
            self.degraded.push(
                "this kernel preempts: a call is missed where a task is kept from finishing a change of a map".to_owned(),
            );
        }
        self.degraded.push(
            "what goes past the probes (MPTCP, splice, sockmap, kernel TLS) is not counted"
                .to_owned(),
        );
        if self.kernel.sendpage {
            self.degraded.push(
                "bytes sent by sendfile are not seen (tcp_sendpage has no kprobe here)".to_owned(),
            );
        }
        Ok(())
    }

    fn kprobe(&mut self, name: &'static str, function: &'static str) -> Result<(), LiveError> {
        let program: &mut KProbe = self.program(name)?;
        program.load().map_err(|e| refused(name, e))?;
        program.attach(function, 0).map_err(|e| refused(name, e))?;
        let report = report(name, function, program.info());
        self.programs.push(report);
        Ok(())
    }

    /// What became of it all.
    pub(super) fn report(&self) -> Report {
        Report {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            kernel: self.kernel.clone(),
            programs: self.programs.clone(),
            kprobes: self.kprobes,
            twice: self.twice && !self.kprobes,
            by_cgroup: self.by_cgroup,
            degraded: self.degraded.clone(),
            self_test: String::new(),
        }
    }

    /// Descriptors of the attached programs, to ask the kernel about them.
    pub(super) fn descriptors(&self) -> Vec<(&'static str, OwnedFd)> {
        self.programs
            .iter()
            .filter_map(|report| {
                let program = self.ebpf.program(report.name)?;
                Some((
                    report.name,
                    program.fd().ok()?.as_fd().try_clone_to_owned().ok()?,
                ))
            })
            .collect()
    }

    fn attach(&mut self, btf: &aya::Btf) -> Result<(), LiveError> {
        self.watch_inside(btf)?;
        // The close first: a socket that is tracked must be forgotten again.
        self.entry("close", "tcp_close", btf)?;
        let (receive, again) = match self.kernel.recvmsg_arity {
            6 => ("recv_exit_6", "recv_exit_6_again"),
            5 => ("recv_exit_5", "recv_exit_5_again"),
            _ => ("recv_exit_4", "recv_exit_4_again"),
        };
        self.exit(receive, "tcp_recvmsg", btf)?;
        self.entry("send_entry", "tcp_sendmsg", btf)?;
        self.exit("send_exit", "tcp_sendmsg", btf)?;
        if self.twice {
            self.entry("close_again", "tcp_close", btf)?;
            self.exit(again, "tcp_recvmsg", btf)?;
            self.entry("send_entry_again", "tcp_sendmsg", btf)?;
            self.exit("send_exit_again", "tcp_sendmsg", btf)?;
        }
        if self.kernel.sendpage {
            self.exit("sendpage_exit", "tcp_sendpage", btf)?;
        }
        self.count_past(btf);
        if let Some(inside) = &mut self.inside {
            inside.look();
        }
        Ok(())
    }

    /// Counts what goes past the other programs. A function that cannot be had
    /// costs its count, nothing else.
    fn count_past(&mut self, btf: &aya::Btf) {
        for (program, function) in PAST {
            if !self.kernel.past.contains(&function) {
                continue;
            }
            let attached = if function == "tcp_set_ulp" {
                self.exit(program, function, btf)
            } else {
                self.entry(program, function, btf)
            };
            if let Err(error) = attached {
                self.degraded
                    .push(format!("{function} is not counted: {error}"));
            }
        }
    }

    /// Watches the threads that are inside a receive already, if there are
    /// any; those that enter one meanwhile are added once all is attached.
    fn watch_inside(&mut self, btf: &aya::Btf) -> Result<(), LiveError> {
        let map = self.ebpf.take_map("INSIDE");
        let map = map.and_then(|map| aya::maps::HashMap::try_from(map).ok());
        let Some(map) = map else {
            return Err(LiveError::NoProbes(
                "the kernel object has no map INSIDE".to_owned(),
            ));
        };
        let mut inside = Inside::new(map);
        let hidden = inside.look();
        if hidden > 0 {
            self.degraded.push(format!(
                "{hidden} threads cannot be looked at (CAP_SYS_PTRACE, and CAP_DAC_READ_SEARCH for other users' processes): what a call brings them that has begun before the start is not seen"
            ));
        }
        self.exit(COPY, "skb_copy_datagram_iter", btf)?;
        self.inside = Some(inside);
        Ok(())
    }

    /// Detaches the program for threads inside a receive: there are none left.
    pub(super) fn unwatch_inside(&mut self) {
        self.inside = None;
        if let Some(aya::programs::Program::FExit(program)) = self.ebpf.program_mut(COPY)
            && let Err(error) = program.unload()
        {
            tracing::debug!("{COPY} stays: {error}");
        }
    }

    /// Detaches everything: from now on the programs report nothing.
    pub(super) fn detach(&mut self) {
        use aya::programs::Program;
        self.unwatch_inside();
        for name in self.programs.iter().map(|report| report.name) {
            let unloaded = match self.ebpf.program_mut(name) {
                Some(Program::FEntry(program)) => program.unload(),
                Some(Program::FExit(program)) => program.unload(),
                Some(Program::KProbe(program)) => program.unload(),
                _ => continue,
            };
            // It was unloaded before.
            if let Err(error) = unloaded {
                tracing::debug!("{name}: {error}");
            }
        }
    }

    fn entry(
        &mut self,
        name: &'static str,
        function: &'static str,
        btf: &aya::Btf,
    ) -> Result<(), LiveError> {
        let program: &mut FEntry = self.program(name)?;
        program.load(function, btf).map_err(|e| refused(name, e))?;
        program.attach().map_err(|e| refused(name, e))?;
        let report = report(name, function, program.info());
        self.programs.push(report);
        Ok(())
    }

    fn exit(
        &mut self,
        name: &'static str,
        function: &'static str,
        btf: &aya::Btf,
    ) -> Result<(), LiveError> {
        let program: &mut FExit = self.program(name)?;
        program.load(function, btf).map_err(|e| refused(name, e))?;
        program.attach().map_err(|e| refused(name, e))?;
        let report = report(name, function, program.info());
        self.programs.push(report);
        Ok(())
    }

    fn program<'a, P>(&'a mut self, name: &'static str) -> Result<&'a mut P, LiveError>
    where
        &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = ProgramError>,
    {
        let program = self.ebpf.program_mut(name).ok_or_else(|| {
            LiveError::NoProbes(format!("the kernel object has no program {name}"))
        })?;
        program.try_into().map_err(|e| refused(name, e))
    }
}

/// Loads the object's maps and reads its programs.
fn open(
    object: &[u8],
    by_cgroup: bool,
    twice: bool,
    kernel: &Kernel,
    options: &Options,
) -> Result<Ebpf, LiveError> {
    // Only where it is needed: elsewhere it costs, and up to 6.14 functions of
    // several callers must not be called so.
    let preempt = kernel.preempt.filter(|_| twice);
    let settings = Settings {
        by_cgroup: u32::from(by_cgroup),
        wake_bytes: options.ring_bytes / 4,
        twice: u32::from(twice),
    };
    EbpfLoader::new()
        // It has read the kernel's to relocate by; here `Layout` does that.
        .btf(None)
        .override_global("LAYOUT", &super::control::Plain(kernel.layout), true)
        .override_global("SETTINGS", &super::control::Plain(settings), true)
        .map_max_entries("RING", options.ring_bytes)
        .map_max_entries("SOCKETS", options.sockets)
        .map_max_entries("SKIPS", options.sockets)
        .load(&super::patch::preempt(object, preempt))
        .map_err(|source| {
            if permission(&source) {
                not_permitted()
            } else {
                LiveError::Object(Box::new(source))
            }
        })
}

/// Gives what was needed at the start alone back to the system. glibc keeps what
/// is freed below what is still in use: 17 MB after BTF was read, and the other
/// threads, with arenas of their own, would not use it.
fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: takes a number, and may be called at any time (malloc_trim(3)).
    let _given = unsafe { libc::malloc_trim(0) };
}

/// Whether tasks are preempted inside the kernel: then a program may be kept
/// from running, and a second one must stand by.
///
/// `sched/preempt` in debugfs has the mode in brackets (kernel ≥ 5.12). Where it
/// cannot be read, the kernel's version string says whether it could: the mode
/// of `PREEMPT_DYNAMIC` is not known then, so it counts.
fn preempts() -> bool {
    if let Ok(modes) = fs::read_to_string("/sys/kernel/debug/sched/preempt") {
        return modes.contains("(full)") || modes.contains("(lazy)");
    }
    rustix::system::uname()
        .version()
        .to_string_lossy()
        .contains("PREEMPT")
}

/// Whether this process has CAP_BPF and CAP_PERFMON, or CAP_SYS_ADMIN, which
/// stood for both before 5.8.
fn permitted() -> bool {
    let Ok(sets) = rustix::thread::capabilities(None) else {
        return true;
    };
    let has = |one| sets.effective.contains(one);
    has(CapabilitySet::SYS_ADMIN) || (has(CapabilitySet::BPF) && has(CapabilitySet::PERFMON))
}

fn not_permitted() -> LiveError {
    LiveError::NotPermitted {
        uid: rustix::process::geteuid().as_raw(),
    }
}

/// Whether a refusal means that the kernel does not have this kind of program,
/// rather than that it dislikes this one.
fn no_such_kind(error: &LiveError) -> bool {
    match error {
        LiveError::Program { source, .. } => match &**source {
            ProgramError::LoadError { verifier_log, .. } => {
                verifier_log.to_string().trim().is_empty()
            }
            _ => true,
        },
        _ => false,
    }
}

fn report(
    name: &'static str,
    function: &'static str,
    info: Result<aya::programs::ProgramInfo, ProgramError>,
) -> ProgramReport {
    let info = info.ok();
    ProgramReport {
        name,
        function,
        verified: info
            .as_ref()
            .and_then(aya::programs::ProgramInfo::verified_instruction_count),
        instructions: info
            .as_ref()
            .and_then(aya::programs::ProgramInfo::size_translated)
            .map_or(0, |bytes| bytes / 8),
    }
}

fn refused(program: &str, source: ProgramError) -> LiveError {
    let reason = match &source {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log.lines().collect();
            let last = lines
                .get(lines.len().saturating_sub(40)..)
                .unwrap_or_default()
                .join("\n");
            format!("{io_error} {last}").trim_end().to_owned()
        }
        other => chain(other),
    };
    LiveError::Program {
        program: program.to_owned(),
        reason,
        source: Box::new(source),
    }
}

/// An error and what caused it, in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

fn permission(error: &aya::EbpfError) -> bool {
    let denied = |e: &io::Error| e.kind() == io::ErrorKind::PermissionDenied;
    match error {
        aya::EbpfError::MapError(MapError::CreateError { io_error, .. }) => denied(io_error),
        _ => false,
    }
}

/// Up to 5.10 maps count against this limit; from 5.11 on against the memory
/// cgroup.
fn raise_memlock() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let unlimited = Rlimit {
        current: None,
        maximum: None,
    };
    if setrlimit(Resource::Memlock, unlimited).is_err() {
        tracing::debug!("RLIMIT_MEMLOCK stays as it is");
    }
}
