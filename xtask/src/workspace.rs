//! What Cargo knows of this workspace.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::sh;

/// The workspace as `cargo metadata` describes it.
#[derive(Debug)]
pub(crate) struct Workspace {
    /// The folder of the workspace's `Cargo.toml`.
    pub(crate) root: PathBuf,
    /// Where Cargo builds.
    pub(crate) target: PathBuf,
    metadata: Value,
}

impl Workspace {
    /// Asks Cargo.
    ///
    /// # Errors
    /// If Cargo cannot answer.
    pub(crate) fn load() -> Result<Self> {
        // Set by `cargo xtask`: the worktree it was called in, which need not
        // be the one this binary was last built in.
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("xtask has no parent folder")?
            .to_owned();
        let text = sh::capture(
            Command::new("cargo")
                .args(["metadata", "--format-version", "1", "--no-deps"])
                .current_dir(&root),
        )?;
        let metadata: Value = serde_json::from_str(&text).context("reading cargo metadata")?;
        let target = metadata["target_directory"]
            .as_str()
            .context("no target folder")?
            .into();
        Ok(Self {
            root,
            target,
            metadata,
        })
    }

    /// `cargo` in the workspace's root.
    pub(crate) fn cargo(&self) -> Command {
        let mut command = Command::new("cargo");
        command.current_dir(&self.root);
        // What `cargo xtask` says of xtask: a build script that asks for such a
        // variable (ring's does) would run again whenever somebody builds without
        // xtask, and all that depends on it be built again.
        for (name, _) in env::vars_os() {
            let is_of_package =
                |name: &str| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_");
            if name.to_str().is_some_and(is_of_package) {
                command.env_remove(name);
            }
        }
        command
    }

    /// The compiler that `cargo` uses there.
    pub(crate) fn rustc(&self) -> Command {
        let mut command = Command::new("rustc");
        command.current_dir(&self.root);
        command
    }

    /// Whether a package has a binary of this name yet.
    pub(crate) fn has_binary(&self, package: &str, binary: &str) -> bool {
        let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
        list(&self.metadata, "packages")
            .iter()
            .filter(|one| one["name"] == package)
            .flat_map(|one| list(one, "targets"))
            .any(|one| one["name"] == binary && list(&one, "kind").iter().any(|k| k == "bin"))
    }
}
