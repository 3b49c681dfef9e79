//! Which packages are inside what is built.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{sh, workspace::Workspace};

/// A package of Cargo.lock.
#[derive(Clone, Debug)]
pub(crate) struct Package {
    pub(crate) id: Id,
    /// As its Cargo.toml says: an SPDX expression, or the older form with `/`.
    pub(crate) license: Option<String>,
    pub(crate) repository: Option<String>,
    /// SHA-256 of what the registry has; none of this workspace's own.
    pub(crate) checksum: Option<String>,
    /// Where its source lies on this machine.
    pub(crate) folder: PathBuf,
    /// Those that it may use, whether they are inside or not.
    pub(crate) uses: BTreeSet<Id>,
}

/// Name and version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Id {
    pub(crate) name: String,
    pub(crate) version: String,
}

/// The packages that are linked into a binary of `package`, with their source:
/// neither what runs at build time only, nor what other targets have.
///
/// # Errors
/// If Cargo cannot tell.
pub(crate) fn inside(
    workspace: &Workspace,
    package: &str,
    arguments: &[&str],
) -> Result<Vec<Package>> {
    let tree = sh::capture(
        cargo(workspace)
            .args(["tree", "--locked", "--edges", "normal,no-proc-macro"])
            .args(["--prefix", "none", "--package", package])
            .args(arguments),
    )?;
    let inside: BTreeSet<Id> = tree.lines().filter_map(id_of_line).collect();
    // What features bring is chosen by the tree above.
    let everything = ["--all-features", "--locked", "--format-version", "1"];
    let metadata = sh::capture(cargo(workspace).arg("metadata").args(everything))?;
    let metadata: Value = serde_json::from_str(&metadata).context("reading cargo metadata")?;
    let lock = fs::read_to_string(workspace.root.join("Cargo.lock"))?;
    let mut all = of_metadata(&metadata, &checksums(&lock));
    inside
        .iter()
        .map(|id| {
            let package = all.remove(id);
            package.with_context(|| format!("cargo metadata has no {} {}", id.name, id.version))
        })
        .collect()
}

fn cargo(workspace: &Workspace) -> Command {
    let mut command = workspace.cargo();
    command.env("CARGO_TERM_COLOR", "never");
    command
}

/// `name v1.2.3`, and what else there is.
fn id_of_line(line: &str) -> Option<Id> {
    let (name, rest) = line.split_once(" v")?;
    Some(Id {
        name: name.to_owned(),
        version: rest.split_whitespace().next()?.to_owned(),
    })
}

fn of_metadata(metadata: &Value, checksums: &BTreeMap<Id, String>) -> BTreeMap<Id, Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let packages = list(&metadata["packages"]);
    let ids: BTreeMap<&str, Id> = packages
        .iter()
        .filter_map(|package| {
            let id = Id {
                name: text(&package["name"])?,
                version: text(&package["version"])?,
            };
            Some((package["id"].as_str()?, id))
        })
        .collect();
    let mut uses: BTreeMap<&str, BTreeSet<Id>> = BTreeMap::new();
    let nodes = list(&metadata["resolve"]["nodes"]);
    for node in &nodes {
        let normal = |edge: &&Value| {
            let kinds = list(&edge["dep_kinds"]);
            kinds.iter().any(|kind| kind["kind"].is_null())
        };
        let edges = list(&node["deps"]);
        let used = edges.iter().filter(normal);
        let used = used.filter_map(|edge| ids.get(edge["pkg"].as_str()?).cloned());
        uses.insert(node["id"].as_str().unwrap_or_default(), used.collect());
    }
    packages
        .iter()
        .filter_map(|package| {
            let key = package["id"].as_str()?;
            let id = ids.get(key)?.clone();
            let manifest = Path::new(package["manifest_path"].as_str()?);
            let found = Package {
                license: text(&package["license"]),
                repository: text(&package["repository"]),
                checksum: checksums.get(&id).cloned(),
                folder: manifest.parent()?.to_owned(),
                uses: uses.remove(key).unwrap_or_default(),
                id: id.clone(),
            };
            Some((id, found))
        })
        .collect()
}

/// What Cargo.lock has for packages of a registry.
fn checksums(lock: &str) -> BTreeMap<Id, String> {
    let value = |block: &str, key: &str| {
        let line = block.lines().find_map(|line| line.strip_prefix(key))?;
        Some(line.trim_matches('"').to_owned())
    };
    lock.split("[[package]]")
        .filter_map(|block| {
            let id = Id {
                name: value(block, "name = ")?,
                version: value(block, "version = ")?,
            };
            Some((id, value(block, "checksum = ")?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_tree() {
        let id = |name: &str, version: &str| {
            Some(Id {
                name: name.to_owned(),
                version: version.to_owned(),
            })
        };
        assert_eq!(id_of_line("aya v0.14.0"), id("aya", "0.14.0"));
        assert_eq!(
            id_of_line("nodespan v0.1.0 (/work/x/agent)"),
            id("nodespan", "0.1.0")
        );
        assert_eq!(
            id_of_line("wasi v0.11.1+wasi-snapshot-preview1 (*)"),
            id("wasi", "0.11.1+wasi-snapshot-preview1")
        );
        assert_eq!(id_of_line(""), None);
    }

    #[test]
    fn checksums_of_a_lock() {
        let lock = r#"
version = 4

[[package]]
name = "nodespan"
version = "0.1.0"
dependencies = [
 "aya",
]

[[package]]
name = "aya"
version = "0.14.0"
source = "registry+https://example.org/index"
checksum = "0123"
"#;
        let found: Vec<_> = checksums(lock).into_iter().collect();
        let aya = Id {
            name: "aya".to_owned(),
            version: "0.14.0".to_owned(),
        };
        assert_eq!(found, [(aya, "0123".to_owned())]);
    }
}
