//! The licenses of what is linked in, as their texts ask for it.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result};

use super::packages::Package;

/// Every license text of these packages, once, below the names of those that
/// come with it.
///
/// # Errors
/// If a package's source cannot be read.
pub(crate) fn text(packages: &[Package]) -> Result<String> {
    let mut by_text: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut without = Vec::new();
    // What belongs to this workspace has its licenses beside this file.
    for package in packages.iter().filter(|package| package.checksum.is_some()) {
        let texts = texts(&package.folder)?;
        let name = format!("{} {}", package.id.name, package.id.version);
        if texts.is_empty() {
            let license = package.license.as_deref().unwrap_or("no license named");
            without.push(format!("{name}: {license}"));
        }
        for text in texts {
            by_text.entry(text).or_default().push(name.clone());
        }
    }
    // In the order of names, not of texts.
    let mut sections: Vec<(String, String)> = by_text
        .into_iter()
        .map(|(text, mut names)| {
            names.sort();
            names.dedup();
            (names.join(", "), text)
        })
        .collect();
    sections.sort();
    let mut whole = "The binary contains these packages, under these licenses.\n".to_owned();
    let line = "-".repeat(72);
    for (names, text) in sections {
        whole.push_str(&format!("\n{line}\n{names}\n{line}\n\n{text}\n"));
    }
    if !without.is_empty() {
        whole.push_str(&format!(
            "\n{line}\nPackages that come without a text of their license\n{line}\n\n{}\n",
            without.join("\n")
        ));
    }
    Ok(whole)
}

fn texts(folder: &Path) -> Result<Vec<String>> {
    let mut texts = Vec::new();
    let entries = fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().to_ascii_uppercase();
        let wanted = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE"];
        if entry.file_type()?.is_file() && wanted.iter().any(|start| name.starts_with(start)) {
            let text = String::from_utf8_lossy(&fs::read(entry.path())?).into_owned();
            texts.push(text.replace("\r\n", "\n").trim().to_owned());
        }
    }
    Ok(texts)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::dist::packages::Id;

    #[test]
    fn each_text_once() {
        let folder = tempfile::tempdir().unwrap();
        let package = |name: &str, license: Option<&str>| {
            let folder = folder.path().join(name);
            fs::create_dir_all(folder.join("licenses")).unwrap();
            if let Some(text) = license {
                fs::write(folder.join("LICENSE-MIT"), text).unwrap();
            }
            Package {
                id: Id {
                    name: name.to_owned(),
                    version: "1.0.0".to_owned(),
                },
                license: Some("MIT".to_owned()),
                repository: None,
                checksum: Some(String::new()),
                folder,
                uses: BTreeSet::new(),
            }
        };
        let packages = [
            package("b", Some("Be good.\r\n")),
            package("a", Some("Be good.")),
            package("c", None),
        ];
        let text = text(&packages).unwrap();
        assert_eq!(text.matches("Be good.").count(), 1);
        assert!(text.contains("\na 1.0.0, b 1.0.0\n"));
        assert!(text.ends_with("\nc 1.0.0: MIT\n"));
    }
}
