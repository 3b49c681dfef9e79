//! Where resources are read from.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::config::resources::MAX_FILE;

/// A text and what it is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: String,
}

/// Why a text cannot be read.
#[derive(Debug, thiserror::Error)]
pub(super) enum SourceError {
    /// The system refuses.
    #[error("cannot read {name}: {source}")]
    Read {
        /// What.
        name: String,
        /// What the system said.
        source: io::Error,
    },
    /// It is on another machine.
    #[error("{0}: nothing is fetched; write `curl -f {0} | nodespan apply -f -`")]
    Url(String),
    /// A folder without resources.
    #[error("no .yaml, .yml or .json in {0}")]
    Empty(String),
}

/// The texts that a `-f` means: a file, the files of a folder as `kumactl`
/// takes them, or `-`, what comes on standard input.
pub(super) fn read(given: &str) -> Result<Vec<Source>, SourceError> {
    let failed = |name: &str| {
        let name = name.to_owned();
        move |source| SourceError::Read { name, source }
    };
    if given == "-" {
        let name = "standard input";
        let text = text(io::stdin().lock()).map_err(failed(name))?;
        let name = name.to_owned();
        return Ok(vec![Source { name, text }]);
    }
    if given.starts_with("http://") || given.starts_with("https://") {
        return Err(SourceError::Url(given.to_owned()));
    }
    let path = Path::new(given);
    let paths = match path.is_dir() {
        true => files(path).map_err(failed(given))?,
        false => vec![path.to_owned()],
    };
    if paths.is_empty() {
        return Err(SourceError::Empty(given.to_owned()));
    }
    let mut sources = Vec::new();
    for path in paths {
        let name = path.display().to_string();
        let text = File::open(&path).and_then(text).map_err(failed(&name))?;
        sources.push(Source { name, text });
    }
    Ok(sources)
}

/// The resource files in a folder, sorted.
fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let hidden = path
            .file_name()
            .is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let extension = path.extension().and_then(|extension| extension.to_str());
        if !hidden && matches!(extension, Some("yaml" | "yml" | "json")) && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn text(from: impl Read) -> io::Result<String> {
    let mut text = String::new();
    from.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(io::Error::other(format!(
            "it is longer than {MAX_FILE} bytes"
        )));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_gives_its_files_in_order() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", "c.json", "d.txt", ".e.yaml"] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        fs::create_dir(folder.path().join("f.yaml")).unwrap();
        let given = folder.path().to_str().unwrap();
        let texts: Vec<_> = read(given).unwrap().into_iter().map(|s| s.text).collect();
        assert_eq!(texts, ["a.yaml", "b.yml", "c.json"]);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name).display().to_string();
        fs::write(file("long.yaml"), vec![b' '; MAX_FILE as usize + 1]).unwrap();
        fs::create_dir(file("empty")).unwrap();
        for (given, wanted) in [
            (file("nothing.yaml"), "nothing.yaml"),
            (file("long.yaml"), "longer than"),
            (file("empty"), "no .yaml"),
            ("https://x/y.yaml".to_owned(), "curl -f https://x/y.yaml"),
        ] {
            let error = read(&given).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        }
    }
}
