//! Reads the kernel's console for signs that waiting is useless.

use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::sh;

/// What ends a guest at once. An Oops is followed by a panic (`oops=panic`).
const DEADLY: &[&str] = &["Kernel panic", INIT];

/// How complaints of our own init begin.
pub(super) const INIT: &str = "nodespan-init: ";

/// What a kernel may recover from, and usually does not.
const SICK: &[&str] = &[
    "soft lockup",
    "hard LOCKUP",
    "self-detected stall",
    "detected stalls on CPUs",
    "detected expedited stalls",
    "blocked for more than",
];

/// Time for a dying kernel to print its trace.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Time for a sick kernel to recover.
const PATIENCE: Duration = Duration::from_secs(90);

/// Follows the console's file.
#[derive(Debug)]
pub(super) struct Console {
    path: PathBuf,
    read: u64,
    verdict: Option<(Instant, String)>,
}

impl Console {
    pub(super) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            read: 0,
            verdict: None,
        }
    }

    /// What is wrong, when it is time to act on it.
    pub(super) fn check(&mut self) -> Option<String> {
        let new = self.read_new();
        if let Some((deadly, line)) = symptom(&new) {
            let until = Instant::now() + if deadly { LAST_WORDS } else { PATIENCE };
            if !deadly {
                eprintln!("[xtask] the guest's kernel says: {line}");
            }
            let sooner = self.verdict.as_ref().is_none_or(|(old, _)| until < *old);
            if sooner {
                self.verdict = Some((until, line));
            }
        }
        self.verdict
            .as_ref()
            .filter(|(until, _)| Instant::now() >= *until)
            .map(|(_, l)| l.clone())
    }

    /// What has been wrong so far.
    pub(super) fn symptom(&self) -> Option<String> {
        self.verdict.as_ref().map(|(_, line)| line.clone())
    }

    /// The console's last lines.
    pub(super) fn tail(&self) -> String {
        let bytes = std::fs::read(&self.path).unwrap_or_default();
        sh::last_lines(String::from_utf8_lossy(&bytes).trim_end(), 40)
    }

    fn read_new(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Ok(mut file) = File::open(&self.path)
            && file.seek(SeekFrom::Start(self.read)).is_ok()
            && file.read_to_end(&mut bytes).is_ok()
        {
            // A line that is not whole yet is left for the next time.
            let whole = bytes
                .iter()
                .rposition(|b| *b == b'\n')
                .map_or(0, |at| at + 1);
            bytes.truncate(whole);
            self.read += whole as u64;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The worst line of a text, and whether it is deadly.
fn symptom(text: &str) -> Option<(bool, String)> {
    let find = |signs: &[&str]| {
        text.lines()
            .find(|line| signs.iter().any(|sign| line.contains(sign)))
            .map(str::trim)
    };
    find(DEADLY)
        .map(|line| (true, line.to_owned()))
        .or_else(|| find(SICK).map(|line| (false, line.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_outranks_a_stall() {
        let text = "rcu: INFO: rcu_preempt self-detected stall on CPU\n\
                    [ 1.0] Kernel panic - not syncing: Fatal exception\n";
        let (deadly, line) = symptom(text).unwrap();
        assert!(deadly);
        assert!(line.starts_with("[ 1.0] Kernel panic"));
        assert_eq!(symptom("all is well\n"), None);
    }
}
