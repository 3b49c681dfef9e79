//! Archives whose bytes follow from what is in them, and from nothing else.

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, Result, bail};
use flate2::{Compression, GzBuilder};
use tar::{Builder, EntryType, Header};

/// Folders and files by their paths.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tree(BTreeMap<String, Node>);

#[derive(Clone, Debug)]
struct Node {
    permissions: u32,
    /// None of a folder.
    content: Option<Vec<u8>>,
}

/// What all entries of an archive have in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Common {
    /// User and group.
    pub(crate) owner: u64,
    /// Seconds since 1970.
    pub(crate) time: u64,
}

impl Tree {
    /// Adds a folder, and those above it.
    pub(crate) fn folder(&mut self, path: &str, permissions: u32) {
        self.above(path);
        let content = None;
        self.0.insert(
            path.to_owned(),
            Node {
                permissions,
                content,
            },
        );
    }

    /// Adds a file, and the folders above it.
    pub(crate) fn file(&mut self, path: &str, permissions: u32, content: impl Into<Vec<u8>>) {
        self.above(path);
        let content = Some(content.into());
        self.0.insert(
            path.to_owned(),
            Node {
                permissions,
                content,
            },
        );
    }

    /// The files and their content.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0
            .iter()
            .filter_map(|(path, node)| Some((path.as_str(), node.content.as_deref()?)))
    }

    fn above(&mut self, path: &str) {
        if let Some((parent, _)) = path.rsplit_once('/')
            && !self.0.contains_key(parent)
        {
            self.folder(parent, 0o755);
        }
    }

    /// As a tar archive (POSIX's ustar), with `prefix` before every path.
    ///
    /// # Errors
    /// If a path cannot stand in one.
    pub(crate) fn tar(&self, prefix: &str, common: Common) -> Result<Vec<u8>> {
        let mut builder = Builder::new(Vec::new());
        // A folder sorts before what is in it.
        for (path, node) in &self.0 {
            if path.starts_with('/') || path.split('/').any(|name| ["", ".", ".."].contains(&name))
            {
                bail!("{path:?} is no path of an archive");
            }
            let mut header = Header::new_ustar();
            let content = node.content.as_deref().unwrap_or_default();
            let (kind, end) = match node.content {
                Some(_) => (EntryType::Regular, ""),
                None => (EntryType::Directory, "/"),
            };
            header.set_entry_type(kind);
            header.set_mode(node.permissions);
            header.set_uid(common.owner);
            header.set_gid(common.owner);
            header.set_mtime(common.time);
            header.set_size(content.len() as u64);
            let path = format!("{prefix}{path}{end}");
            header
                .set_path(&path)
                .with_context(|| format!("archiving {path}"))?;
            header.set_cksum();
            builder.append(&header, content)?;
        }
        Ok(builder.into_inner()?)
    }
}

/// Compresses it; without a name or a time in the header.
///
/// # Errors
/// If there is no memory for it.
pub(crate) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut writer = GzBuilder::new().write(Vec::new(), Compression::best());
    writer.write_all(bytes)?;
    Ok(writer.finish()?)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    const COMMON: Common = Common {
        owner: 65532,
        time: 1_700_000_000,
    };

    fn tree(reversed: bool) -> Tree {
        let mut files = vec![("b/d/e", 0o444, "e"), ("a", 0o755, ""), ("b-c", 0o644, "c")];
        if reversed {
            files.reverse();
        }
        let mut tree = Tree::default();
        for (path, permissions, content) in files {
            tree.file(path, permissions, content);
        }
        tree.folder("b/empty", 0o555);
        tree
    }

    #[test]
    fn entries_are_sorted_and_have_everything_in_common() {
        let bytes = tree(false).tar("top/", COMMON).unwrap();
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut seen = Vec::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let mut content = String::new();
            entry.read_to_string(&mut content).unwrap();
            let header = entry.header();
            assert_eq!(header.uid().unwrap(), COMMON.owner);
            assert_eq!(header.gid().unwrap(), COMMON.owner);
            assert_eq!(header.mtime().unwrap(), COMMON.time);
            assert_eq!(header.username().unwrap(), Some(""));
            let path = entry.path().unwrap().to_str().unwrap().to_owned();
            seen.push((path, header.mode().unwrap(), content));
        }
        let expected = [
            ("top/a", 0o755, ""),
            ("top/b/", 0o755, ""),
            ("top/b-c", 0o644, "c"),
            ("top/b/d/", 0o755, ""),
            ("top/b/d/e", 0o444, "e"),
            ("top/b/empty/", 0o555, ""),
        ];
        let expected = expected.map(|(path, mode, text)| (path.to_owned(), mode, text.to_owned()));
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_order_of_making_leaves_no_trace() {
        let first = gzip(&tree(false).tar("", COMMON).unwrap()).unwrap();
        let second = gzip(&tree(true).tar("", COMMON).unwrap()).unwrap();
        assert_eq!(first, second);
        // RFC 1952: no flags, no time.
        assert_eq!(&first[3..8], [0; 5]);
        let later = Common {
            time: COMMON.time + 1,
            ..COMMON
        };
        assert_ne!(first, gzip(&tree(false).tar("", later).unwrap()).unwrap());
    }

    #[test]
    fn paths_that_lead_elsewhere_are_refused() {
        for path in ["/a", "a//b", "../a", "a/./b", "a/"] {
            let mut tree = Tree::default();
            tree.0.insert(
                path.to_owned(),
                Node {
                    permissions: 0o644,
                    content: None,
                },
            );
            assert!(tree.tar("", COMMON).is_err(), "{path}");
        }
    }
}
