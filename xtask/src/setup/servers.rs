//! Servers, clients and backends that tests, demo and benchmark run.

use std::path::PathBuf;

use anyhow::Result;

use crate::cache::Cache;

/// Where the ones are that are no plain programs on PATH.
#[derive(Clone, Debug)]
pub(crate) struct Servers {
    /// Envoy.
    pub(crate) envoy: PathBuf,
    /// The Zipkin server's jar.
    pub(crate) zipkin: PathBuf,
}

/// Brings them all.
///
/// # Errors
/// If something cannot be fetched or installed.
pub(crate) fn ensure(cache: &Cache) -> Result<Servers> {
    let _ = cache;
    anyhow::bail!("not yet")
}
