//! What is in the archive, and what in the image.

use std::{fs, path::Path};

use anyhow::{Context, Result};

use super::{archive::Tree, digest};

/// Everything that a release is put together from.
#[derive(Debug)]
pub(crate) struct Release<'a> {
    /// The workspace.
    pub(crate) root: &'a Path,
    /// The binary.
    pub(crate) agent: Vec<u8>,
    /// The bill of materials.
    pub(crate) sbom: String,
    /// The licenses of what is linked in.
    pub(crate) notices: String,
}

/// Files of the repository that the archive has, at the same places, so that
/// what they say of one another is true there too.
const FILES: &[&str] = &[
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "SECURITY.md",
    "deploy/Dockerfile",
    "deploy/nodespan.service",
    "deploy/nodespan.toml",
];

/// Folders, of which it has all files.
const FOLDERS: &[&str] = &["deploy/docs", "deploy/examples", "deploy/kubernetes"];

/// What the image's users are called. `nobody` owns nothing; files belong to
/// `nodespan`, whom no process has to be.
const PASSWD: &str = "\
root:x:0:0:root:/:/sbin/nologin
nodespan:x:65532:65532:nodespan:/:/sbin/nologin
nobody:x:65534:65534:nobody:/:/sbin/nologin
";
const GROUP: &str = "\
root:x:0:
nodespan:x:65532:
nogroup:x:65534:
";

impl Release<'_> {
    /// The archive's content, with the sums of its files.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn archive(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        tree.file("nodespan", 0o755, self.agent.as_slice());
        tree.file("sbom.cdx.json", 0o644, self.sbom.as_str());
        tree.file("THIRD-PARTY-LICENSES.txt", 0o644, self.notices.as_str());
        for file in FILES {
            tree.file(file, 0o644, self.read(file)?);
        }
        for folder in FOLDERS {
            let entries = fs::read_dir(self.root.join(folder));
            for entry in entries.with_context(|| format!("reading {folder}"))? {
                let entry = entry?;
                let name = entry.file_name().to_string_lossy().into_owned();
                // What an editor leaves is hidden, or ends with a tilde.
                if entry.file_type()?.is_file() && !name.starts_with('.') && !name.ends_with('~') {
                    let path = format!("{folder}/{name}");
                    let content = self.read(&path)?;
                    tree.file(&path, 0o644, content);
                }
            }
        }
        let sums: String = tree
            .files()
            .map(|(path, content)| format!("{}  {path}\n", digest(content)))
            .collect();
        tree.file("SHA256SUMS", 0o644, sums);
        Ok(tree)
    }

    /// The image's root.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub(crate) fn image(&self) -> Result<Tree> {
        let mut tree = Tree::default();
        // Where a runtime mounts something.
        for folder in [
            "dev",
            "etc",
            "etc/nodespan",
            "proc",
            "sys",
            "usr",
            "usr/bin",
            "usr/share",
            "usr/share/doc",
            "usr/share/doc/nodespan",
        ] {
            tree.folder(folder, 0o555);
        }
        tree.file("etc/passwd", 0o444, PASSWD);
        tree.file("etc/group", 0o444, GROUP);
        tree.file("usr/bin/nodespan", 0o555, self.agent.as_slice());
        for (name, content) in [
            ("LICENSE-APACHE", self.read("LICENSE-APACHE")?),
            ("LICENSE-MIT", self.read("LICENSE-MIT")?),
            ("THIRD-PARTY-LICENSES.txt", self.notices.clone().into()),
            ("sbom.cdx.json", self.sbom.clone().into()),
        ] {
            tree.file(&format!("usr/share/doc/nodespan/{name}"), 0o444, content);
        }
        Ok(tree)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        fs::read(self.root.join(path)).with_context(|| format!("reading {path}"))
    }
}
