//! What this kernel offers and what became of it.

use std::fmt;

use crate::capture::layout::Kernel;

/// What this kernel offers and what became of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// `uname -r`.
    pub release: String,
    /// What BTF said.
    pub kernel: Kernel,
    /// Programs that are attached.
    pub programs: Vec<ProgramReport>,
    /// Whether kprobes stand in for fentry.
    pub kprobes: bool,
    /// Programs are attached twice, because this kernel preempts.
    pub twice: bool,
    /// Owners are cgroups; otherwise processes.
    pub by_cgroup: bool,
    /// What does not work as well as it could, and why.
    pub degraded: Vec<String>,
    /// What the self-test saw.
    pub self_test: String,
}

/// One attached program.
#[derive(Clone, Debug)]
pub struct ProgramReport {
    /// Its name in the object.
    pub name: &'static str,
    /// The kernel function it sits on.
    pub function: &'static str,
    /// Instructions the verifier went through (kernel ≥ 5.16).
    pub verified: Option<u32>,
    /// Instructions of the program.
    pub instructions: u32,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hooks = if self.kprobes {
            "kprobe/kretprobe (degraded)"
        } else {
            "fentry/fexit"
        };
        writeln!(f, "kernel      {}", self.release)?;
        writeln!(f, "hooks       {hooks}")?;
        writeln!(
            f,
            "owners      {}",
            if self.by_cgroup {
                "cgroup v2"
            } else {
                "process (no cgroup v2)"
            }
        )?;
        writeln!(
            f,
            "layout      tcp_recvmsg with {} parameters; {:?}",
            self.kernel.recvmsg_arity, self.kernel.layout
        )?;
        for program in &self.programs {
            write!(
                f,
                "program     {:<16} on {:<14}",
                program.name, program.function
            )?;
            match program.verified {
                Some(verified) => writeln!(f, " {verified:>7} instructions verified")?,
                None => writeln!(f, " verified instructions not told before 5.16")?,
            }
        }
        writeln!(f, "self-test   {}", self.self_test)?;
        if self.degraded.is_empty() {
            writeln!(f, "degraded    nothing")?;
        }
        for line in &self.degraded {
            writeln!(f, "degraded    {line}")?;
        }
        Ok(())
    }
}
