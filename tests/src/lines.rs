//! What the servers say they answered: the lines of their access logs.

use std::fmt;
use std::path::Path;

use anyhow::{Context as _, Result};

/// One request as a server or a span tells it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Line {
    /// Request method.
    pub method: String,
    /// Path without the query; `*` and `host:port` stay as they are.
    pub path: String,
    /// Status, if a response line was on the wire.
    pub status: Option<u16>,
}

impl Line {
    /// Reads `METHOD TARGET STATUS [BYTES]`. A status counts only if it is a
    /// final one and, where BYTES is given, any byte was sent.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        let mut words = line.split_whitespace();
        let (method, target, status) = (words.next()?, words.next()?, words.next()?);
        let silent = words.next() == Some("0");
        let status = status
            .parse()
            .ok()
            .filter(|status| *status >= 100 && !silent);
        Some(Self {
            method: method.to_owned(),
            path: path_of(target).to_owned(),
            status,
        })
    }

    /// The tag of the case it belongs to.
    #[must_use]
    pub fn case(&self) -> &str {
        case_of(&self.path)
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.method, self.path)?;
        match self.status {
            Some(status) => write!(f, "{status}"),
            None => write!(f, "-"),
        }
    }
}

/// The lines of a log file.
///
/// # Errors
/// If it cannot be read, or a line is not understood.
pub fn read(path: &Path) -> Result<Vec<Line>> {
    let text =
        std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    text.lines()
        .map(|line| Line::parse(line).with_context(|| format!("{}: {line:?}", path.display())))
        .collect()
}

/// The path of a request target or URL, without its query.
#[must_use]
pub fn path_of(target: &str) -> &str {
    let rest = target
        .strip_prefix("http://")
        .map_or(target, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
    rest.split('?').next().unwrap_or(rest)
}

/// The second part of `/VERB/CASE/N`, the tag of a case; empty if there is none.
#[must_use]
pub fn case_of(path: &str) -> &str {
    path.split('/').nth(2).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_all_servers_are_understood() {
        let line = Line::parse("GET /small/nginx-head/1?a=b 200 240").unwrap();
        assert_eq!(line.to_string(), "GET /small/nginx-head/1 200");
        assert_eq!(line.case(), "nginx-head");
        assert_eq!(Line::parse("GET /a 499 0").unwrap().status, None);
        assert_eq!(Line::parse("GET /a 0").unwrap().status, None);
        assert_eq!(Line::parse("GET /a -").unwrap().status, None);
        assert_eq!(Line::parse("GET /a"), None);
    }

    #[test]
    fn paths_of_urls() {
        assert_eq!(path_of("http://host:80/a/b?c"), "/a/b");
        assert_eq!(path_of("http://host"), "/");
        assert_eq!(path_of("*"), "*");
        assert_eq!(path_of("host:443"), "host:443");
    }
}
