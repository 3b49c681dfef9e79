//! Jaeger 2, built from its Go module: some 300 modules, pinned by
//! `xtask/jaeger`.

use std::path::PathBuf;

use anyhow::Result;

use super::go::{Program, Programs};
use crate::cache::Cache;

/// The tag in `xtask/jaeger/go.mod` is 1.76.0: Jaeger 2.13.0 is the same commit.
const JAEGER: Programs = Programs {
    what: "Jaeger 2.13.0",
    entry: "jaeger-2.13.0",
    part: "jaeger",
    go_mod: include_str!("../../jaeger/go.mod"),
    go_sum: include_str!("../../jaeger/go.sum"),
    stamps: &[],
    programs: &[Program {
        name: "jaeger",
        package: "github.com/jaegertracing/jaeger/cmd/jaeger",
        tried_with: &["version"],
    }],
};

/// Builds it unless it is there.
///
/// # Errors
/// If Go is missing or too old, a module cannot be fetched, or the build
/// fails.
pub(crate) fn ensure(cache: &Cache) -> Result<PathBuf> {
    Ok(JAEGER.ensure(cache)?.join("jaeger"))
}

/// The program that an earlier [`ensure`] has built.
///
/// # Errors
/// If it is not there.
pub(crate) fn find(cache: &Cache) -> Result<PathBuf> {
    Ok(JAEGER.find(cache)?.join("jaeger"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::go::assert_pinned;

    #[test]
    fn the_module_file_pins_what_is_built() {
        assert_pinned(&JAEGER, &[("github.com/jaegertracing/jaeger", "v1.76.0")]);
    }
}
