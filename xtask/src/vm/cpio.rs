//! Writes the "newc" archive from which a kernel fills its first root.

/// An archive in the making. Entries must come after their folders.
#[derive(Debug, Default)]
pub(crate) struct Archive {
    bytes: Vec<u8>,
    entries: u32,
}

const DIRECTORY: u32 = 0o040_755;
const FILE: u32 = 0o100_000;
const CHAR_DEVICE: u32 = 0o020_600;

impl Archive {
    /// Adds a folder.
    pub(crate) fn directory(&mut self, name: &str) {
        self.entry(name, DIRECTORY, (0, 0), &[]);
    }

    /// Adds a file with the given permissions.
    pub(crate) fn file(&mut self, name: &str, permissions: u32, content: &[u8]) {
        self.entry(name, FILE | permissions, (0, 0), content);
    }

    /// Adds a character device.
    pub(crate) fn device(&mut self, name: &str, major: u32, minor: u32) {
        self.entry(name, CHAR_DEVICE, (major, minor), &[]);
    }

    /// The finished archive.
    pub(crate) fn finish(mut self) -> Vec<u8> {
        self.entries = 0; // The trailer's inode number is zero by custom.
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        let fields = [
            self.entries,
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // time
            content.len() as u32,
            0,
            0,
            device.0,
            device.1,
            name.len() as u32 + 1,
            0, // checksum, unused
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes
                .extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(content);
        self.pad();
        self.entries += 1;
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names_and_padding_follow_newc() {
        let mut archive = Archive::default();
        archive.directory("dev");
        archive.file("init", 0o755, b"hello");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[110..114], b"dev\0");
        let second = 116; // 110 + 4, rounded up to four.
        assert_eq!(&bytes[second..second + 6], b"070701");
        let field = |at: usize, n: usize| {
            let from = at + 6 + n * 8;
            u32::from_str_radix(std::str::from_utf8(&bytes[from..from + 8]).unwrap(), 16).unwrap()
        };
        assert_eq!(field(second, 1), 0o100_755);
        assert_eq!(field(second, 6), 5);
        assert_eq!(field(second, 11), 5);
        assert_eq!(&bytes[second + 116..second + 121], b"hello");
        let tail = String::from_utf8_lossy(&bytes[bytes.len() - 16..]).into_owned();
        assert!(tail.contains("TRAILER!!!"));
    }

    #[test]
    fn agrees_with_the_cpio_program_where_there_is_one() {
        let Some(cpio) = crate::sh::which("cpio") else {
            return;
        };
        let mut archive = Archive::default();
        archive.directory("bin");
        archive.file("bin/a", 0o644, b"abc");
        let path = std::env::temp_dir().join(format!("xtask-cpio-{}", std::process::id()));
        std::fs::write(&path, archive.finish()).unwrap();
        let listing = crate::sh::capture(
            std::process::Command::new(cpio)
                .args(["-t", "-F"])
                .arg(&path),
        );
        std::fs::remove_file(&path).unwrap();
        assert_eq!(listing.unwrap(), "bin\nbin/a\n");
    }
}
