//! Programs of Debian's packages that are unpacked into the cache and never
//! installed, so that nothing of them runs by itself on this machine.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::{apt::PrivateApt, cache::Cache, sh};

/// What is unpacked together, as one entry of the cache.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// What people call it.
    pub(super) what: &'static str,
    /// The entry in the cache.
    pub(super) entry: &'static str,
    /// The part of the set-up that brings it.
    pub(super) part: &'static str,
    /// All of one release.
    pub(super) suites: &'static [&'static str],
    pub(super) packages: &'static [&'static str],
    /// What must be there afterwards.
    pub(super) programs: &'static [&'static str],
}

impl Unpacked {
    /// Brings it unless it is there, and returns its root folder.
    ///
    /// # Errors
    /// If a package cannot be fetched or unpacked.
    pub(super) fn ensure(&self, cache: &Cache) -> Result<PathBuf> {
        let path = cache.path(self.entry);
        if path.exists() {
            return Ok(path);
        }
        let apt = PrivateApt::open(cache, self.suites)?;
        sh::step(&format!("fetching {}", self.what), || {
            cache.entry(self.entry, |dir| {
                let packages = self.packages.iter().map(|&name| name.to_owned());
                apt.unpack(&packages.collect::<Vec<_>>(), dir)?;
                self.complete(dir)
            })
        })
    }

    /// The root folder of what an earlier [`Unpacked::ensure`] has unpacked.
    ///
    /// # Errors
    /// If it is not there.
    pub(super) fn find(&self, cache: &Cache) -> Result<PathBuf> {
        let path = cache.path(self.entry);
        if !path.exists() {
            let (path, part) = (path.display(), self.part);
            bail!("{path} is missing: cargo xtask setup {part}");
        }
        Ok(path)
    }

    fn complete(&self, dir: &Path) -> Result<()> {
        self.programs.iter().try_for_each(|program| {
            let file = dir.join(program);
            file.metadata()
                .map(drop)
                .with_context(|| format!("the packages hold no {program}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use crate::scratch::ScratchDir;
    use crate::setup::{builder, runtime};

    #[test]
    fn a_missing_program_is_named() {
        for unpacked in [builder::BUILDER, runtime::RUNTIME] {
            let dir = ScratchDir::new().unwrap();
            for program in unpacked.programs {
                let said = unpacked.complete(dir.path()).unwrap_err().to_string();
                assert!(said.contains(program), "{said}");
                let file = dir.path().join(program);
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(file, "").unwrap();
            }
            unpacked.complete(dir.path()).unwrap();
        }
    }
}
