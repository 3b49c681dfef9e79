//! Why the probes do not run.

use std::io;

use aya::maps::MapError;
use aya::programs::ProgramError;

use crate::capture::btf::BtfError;
use crate::capture::layout::LayoutError;

/// Why the probes do not run.
#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    /// Built without `cargo xtask build`.
    #[error("this build has no kernel programs in it; `cargo xtask build` makes one that has")]
    NoObject,
    /// Not root, or not enough of it.
    #[error(
        "loading kernel programs needs root, or CAP_BPF and CAP_PERFMON (kernel 5.8 and later); this process \
         runs as user {uid}"
    )]
    NotPermitted {
        /// Effective user id.
        uid: u32,
    },
    /// The kernel does not describe its types.
    #[error("this kernel has no BTF at {path} ({source}); it needs CONFIG_DEBUG_INFO_BTF=y")]
    NoBtf {
        /// Where it was looked for.
        path: &'static str,
        /// What reading it gave.
        source: io::Error,
    },
    /// The kernel's description of its types cannot be read.
    #[error("the kernel's BTF cannot be read: {0}")]
    Btf(#[from] BtfError),
    /// The kernel's structures or functions are not as the probes need them.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// The kernel has no way to run programs on its functions.
    #[error(
        "this kernel offers neither fentry nor kprobes (it needs CONFIG_BPF_EVENTS, CONFIG_FUNCTION_TRACER and CONFIG_KPROBES, and no lockdown or security module that forbids them): {0}"
    )]
    NoProbes(String),
    /// The object could not be loaded.
    #[error("the kernel object could not be loaded: {0}")]
    Object(#[source] Box<aya::EbpfError>),
    /// A program was refused.
    #[error("program {program} was refused: {reason}")]
    Program {
        /// Its name.
        program: String,
        /// The loader's and the verifier's words, the end of them.
        reason: String,
        /// What the loader said.
        #[source]
        source: Box<ProgramError>,
    },
    /// A map is not as expected.
    #[error("map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// What went wrong.
        #[source]
        source: Box<MapError>,
    },
    /// The programs' own log cannot be read.
    #[error("the kernel programs' log cannot be read: {0}")]
    KernelLog(String),
    /// Waiting for records failed.
    #[error("waiting for records: {0}")]
    Wait(#[source] io::Error),
    /// The probes are attached but do not see what they must.
    #[error("the probes failed their self-test on a loopback connection: {0}")]
    SelfTest(String),
}

impl LiveError {
    /// Whether it is the kernel, and not the user or the build, that cannot.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        match self {
            Self::NoObject
            | Self::NotPermitted { .. }
            | Self::Wait(_)
            | Self::Map { .. }
            | Self::KernelLog(_) => false,
            Self::NoBtf { .. }
            | Self::Btf(_)
            | Self::Layout(_)
            | Self::NoProbes(_)
            | Self::Object(_)
            | Self::Program { .. }
            | Self::SelfTest(_) => true,
        }
    }
}
