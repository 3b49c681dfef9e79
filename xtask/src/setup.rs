//! `cargo xtask setup`: brings what a bare Debian or Ubuntu machine with
//! rustup lacks. Every part checks before it fetches.

use anyhow::Result;

use crate::{cache::Cache, kernel::Kernel};

pub(crate) mod bpf;
pub(crate) mod builder;
mod go;
pub(crate) mod jaeger;
pub(crate) mod kernels;
pub(crate) mod kubernetes;
pub(crate) mod qemu;
pub(crate) mod runtime;
pub(crate) mod servers;
mod unpacked;

/// What a verb may need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// Rust for the BPF target, and bpf-linker.
    Bpf,
    /// QEMU and virtiofsd.
    Qemu,
    /// Kernels to boot.
    Kernels(Vec<Kernel>),
    /// Servers, clients and backends to test against.
    Servers,
    /// A Jaeger, whose build takes minutes.
    Jaeger,
    /// A Kubernetes API server with its store and client, whose build takes
    /// many minutes.
    Kubernetes,
    /// A container runtime for guests.
    Runtime,
    /// Who makes an image of a Dockerfile.
    Builder,
    /// Those of them that the demonstration uses.
    Demo,
}

impl Part {
    /// Everything.
    pub(crate) fn all() -> Vec<Self> {
        vec![
            Self::Bpf,
            Self::Qemu,
            Self::Kernels(Kernel::ALL.to_vec()),
            Self::Servers,
            Self::Jaeger,
            Self::Kubernetes,
            Self::Runtime,
            Self::Builder,
        ]
    }

    /// The part's name on the command line.
    pub(crate) const fn name(&self) -> &'static str {
        match self {
            Self::Bpf => "bpf",
            Self::Qemu => "qemu",
            Self::Kernels(_) => "kernels",
            Self::Servers => "servers",
            Self::Jaeger => "jaeger",
            Self::Kubernetes => "kubernetes",
            Self::Runtime => "runtime",
            Self::Builder => "builder",
            Self::Demo => "demo",
        }
    }
}

impl std::str::FromStr for Part {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::all()
            .into_iter()
            .find(|part| part.name() == text)
            .ok_or_else(|| {
                format!(
                    "no part {text}: bpf, qemu, kernels, servers, jaeger, kubernetes, runtime or builder"
                )
            })
    }
}

/// Brings what is missing of the given parts.
///
/// # Errors
/// If something cannot be fetched or installed.
pub(crate) fn ensure(parts: &[Part]) -> Result<()> {
    let cache = Cache::open()?;
    let _lock = cache.lock()?;
    for part in parts {
        match part {
            Part::Bpf => bpf::ensure(&cache).map(drop)?,
            Part::Qemu => qemu::ensure()?,
            Part::Kernels(kernels) => kernels::ensure(&cache, kernels)?,
            Part::Servers => servers::ensure(&cache).map(drop)?,
            Part::Jaeger => jaeger::ensure(&cache).map(drop)?,
            Part::Kubernetes => kubernetes::ensure(&cache).map(drop)?,
            Part::Runtime => runtime::ensure(&cache).map(drop)?,
            Part::Builder => builder::ensure(&cache).map(drop)?,
            Part::Demo => servers::ensure_demo(&cache)?,
        }
    }
    Ok(())
}
