//! Where everything lives that is fetched or built once: kernels, tools, jars.
//!
//! Nothing in the source tree, nothing half done: an entry is made under a
//! temporary name and renamed when it is complete, so that "it exists" means
//! "it is whole".

use std::{
    env, fs,
    fs::{File, TryLockError},
    path::{Path, PathBuf},
    process, thread,
    time::Duration,
};

use anyhow::{Context, Result};

/// The cache folder of this user.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$NODESPAN_CACHE`, else `$XDG_CACHE_HOME/nodespan`, else `~/.cache/nodespan`.
    ///
    /// # Errors
    /// If none of the variables is set or the folder cannot be made.
    pub(crate) fn open() -> Result<Self> {
        let root = root_from(|name| {
            env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        })
        .context("no cache folder: set NODESPAN_CACHE, XDG_CACHE_HOME or HOME")?;
        fs::create_dir_all(&root).with_context(|| format!("making {}", root.display()))?;
        let root = root.canonicalize()?;
        Ok(Self { root })
    }

    /// The path of an entry, whether it exists or not.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.root.join(name)
    }

    /// Holds every other xtask off the cache until the guard is dropped.
    ///
    /// # Errors
    /// If the lock file cannot be opened.
    pub(crate) fn lock(&self) -> Result<Lock> {
        let path = self.path("lock");
        let file = File::options()
            .create(true)
            .append(true)
            .open(&path)
            .with_context(|| format!("opening {}", path.display()))?;
        // Most wait for a moment only, which is not worth a line.
        for _ in 0..40 {
            match file.try_lock() {
                Ok(()) => return Ok(Lock { _file: file }),
                Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_millis(50)),
                Err(TryLockError::Error(error)) => {
                    return Err(error).with_context(|| format!("locking {}", path.display()));
                }
            }
        }
        eprintln!(
            "waiting for another xtask to finish its set-up ({})",
            path.display()
        );
        file.lock()
            .with_context(|| format!("locking {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// Makes the entry `name` with `fill` unless it is there.
    ///
    /// `fill` gets an empty folder, which becomes the entry if it succeeds.
    ///
    /// # Errors
    /// What `fill` reports; the unfinished folder is removed.
    pub(crate) fn entry(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let path = self.path(name);
        if path.exists() {
            return Ok(path);
        }
        let unfinished = self.path(format!("{name}.tmp-{}", process::id()));
        if unfinished.exists() {
            fs::remove_dir_all(&unfinished)?;
        }
        fs::create_dir_all(&unfinished)?;
        let filled = fill(&unfinished).and_then(|()| {
            fs::rename(&unfinished, &path).with_context(|| format!("publishing {}", path.display()))
        });
        if filled.is_err() {
            // The first error is the one worth reporting.
            let _ = fs::remove_dir_all(&unfinished);
        }
        filled.map(|()| path)
    }
}

/// Released when dropped.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

fn root_from(var: impl Fn(&str) -> Option<PathBuf>) -> Option<PathBuf> {
    var("NODESPAN_CACHE")
        .or_else(|| Some(var("XDG_CACHE_HOME")?.join("nodespan")))
        .or_else(|| Some(var("HOME")?.join(".cache/nodespan")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_variable_wins_then_xdg_then_home() {
        let vars = |set: &'static [(&str, &str)]| {
            root_from(move |name| {
                set.iter()
                    .find(|(n, _)| *n == name)
                    .map(|(_, v)| PathBuf::from(v))
            })
        };
        let all = &[
            ("NODESPAN_CACHE", "/n"),
            ("XDG_CACHE_HOME", "/x"),
            ("HOME", "/h"),
        ];
        assert_eq!(vars(all), Some("/n".into()));
        assert_eq!(vars(&all[1..]), Some("/x/nodespan".into()));
        assert_eq!(vars(&all[2..]), Some("/h/.cache/nodespan".into()));
        assert_eq!(vars(&[]), None);
    }

    #[test]
    fn a_failed_fill_leaves_nothing() {
        let dir = env::temp_dir().join(format!("xtask-cache-{}", process::id()));
        fs::create_dir_all(&dir).unwrap();
        let cache = Cache { root: dir.clone() };
        assert!(cache.entry("a/b", |_| anyhow::bail!("no")).is_err());
        assert!(!cache.path("a/b").exists());
        let path = cache
            .entry("c", |dir| Ok(fs::write(dir.join("f"), "x")?))
            .unwrap();
        assert_eq!(fs::read_to_string(path.join("f")).unwrap(), "x");
        cache
            .entry("c", |_| anyhow::bail!("already there, must not run"))
            .unwrap();
        fs::remove_dir_all(dir).unwrap();
    }
}
