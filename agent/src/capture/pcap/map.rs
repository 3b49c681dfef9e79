//! Parts of a file as memory, without a copy.
//!
//! A mapping is deadly where somebody cuts the file short (`SIGBUS`), so one is
//! made only under a read lease (`fcntl(2)`, "Leases"): nobody has the file
//! open for writing, and whoever opens or truncates it has to wait until the
//! lease is given back, for `/proc/sys/fs/lease-break-time` (45 s). Before each
//! part is mapped the lease is asked for, and given back when somebody waits;
//! then the file has to be read.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::ptr::NonNull;

use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};

/// Parts begin at multiples of this, which every page size divides.
const ALIGNMENT: u64 = 64 * 1024;

/// Which signal tells of the lease's end (`fcntl.h`; the libc crate has it not).
const F_SETSIG: libc::c_int = 10;

/// A regular file that nobody can change without asking first.
#[derive(Debug)]
pub(super) struct Leased {
    file: File,
    length: u64,
}

/// A part of it.
#[derive(Debug)]
pub(super) struct Part {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: it is read-only memory of its own, which no thread has a part in.
unsafe impl Send for Part {}

impl Leased {
    /// Takes the lease; gives the file back where there is none to be had.
    pub(super) fn new(file: File) -> Result<Self, File> {
        let Ok(metadata) = file.metadata() else {
            return Err(file);
        };
        if !metadata.is_file() || metadata.len() == 0 || !take_lease(&file) {
            return Err(file);
        }
        // Nobody changes it any more.
        match file.metadata() {
            Ok(metadata) => Ok(Self {
                length: metadata.len(),
                file,
            }),
            Err(_) => Err(file),
        }
    }

    /// The part that holds this place and `wanted` bytes behind it, if the file
    /// has as many; with the place where the part begins. `None` if somebody
    /// wants to change the file, or it cannot be mapped.
    pub(super) fn part(&self, at: u64, wanted: usize) -> Option<(u64, Part)> {
        if !has_lease(&self.file) {
            return None;
        }
        let start = at - at % ALIGNMENT;
        let wanted = (at - start).checked_add(wanted as u64)?;
        let length = usize::try_from(wanted.min(self.length.checked_sub(start)?)).ok()?;
        Some((start, Part::map(&self.file, start, length)?))
    }

    /// Gives the lease back.
    pub(super) fn into_file(self) -> File {
        lease(&self.file, libc::F_SETLEASE, libc::F_UNLCK);
        self.file
    }
}

/// Asks for a lease whose end is told by a signal that does nothing.
fn take_lease(file: &File) -> bool {
    lease(file, F_SETSIG, libc::SIGURG) == 0 && lease(file, libc::F_SETLEASE, libc::F_RDLCK) == 0
}

/// Whether the lease holds, and nobody waits for its end.
fn has_lease(file: &File) -> bool {
    lease(file, libc::F_GETLEASE, 0) == libc::F_RDLCK
}

fn lease(file: &File, command: libc::c_int, argument: libc::c_int) -> libc::c_int {
    // SAFETY: these commands take an integer and touch no memory.
    unsafe { libc::fcntl(file.as_raw_fd(), command, argument) }
}

impl Part {
    fn map(file: &File, at: u64, length: usize) -> Option<Self> {
        if length == 0 {
            return None;
        }
        // SAFETY: a new mapping takes nothing from others; the lease keeps the
        // file as long as it is.
        let start = unsafe {
            mmap(
                std::ptr::null_mut(),
                length,
                ProtFlags::READ,
                MapFlags::PRIVATE,
                file,
                at,
            )
        };
        let start = NonNull::new(start.ok()?.cast())?;
        Some(Self { start, length })
    }
}

impl Deref for Part {
    type Target = [u8];

    #[inline(always)]
    fn deref(&self) -> &[u8] {
        // SAFETY: the mapping is this long, stays until it is dropped, and is
        // written by nobody.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.length) }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // SAFETY: it was mapped here, and no reference to it is left.
        let unmapped: Result<(), io::Error> =
            unsafe { munmap(self.start.as_ptr().cast(), self.length) }.map_err(Into::into);
        if let Err(error) = unmapped {
            tracing::debug!("unmapping a part of the capture: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;
    use std::io::Write;

    use super::*;

    fn file(bytes: usize) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let content: Vec<u8> = (0..bytes).map(|n| (n / 1000) as u8).collect();
        std::fs::write(&path, content).unwrap();
        (dir, path)
    }

    #[test]
    fn parts_hold_what_is_wanted() {
        let (_dir, path) = file(300_000);
        let leased = Leased::new(File::open(&path).unwrap()).unwrap();
        for (at, wanted, start, length) in [
            (0, 10, 0, 10),
            (70_000, 10, 65_536, 4_474),
            (70_000, 400_000, 65_536, 234_464),
        ] {
            let (begin, part) = leased.part(at, wanted).unwrap();
            assert_eq!((begin, part.len()), (start, length), "{at} {wanted}");
            let place = (at - begin) as usize;
            assert_eq!(part[place], (at / 1000) as u8);
        }
    }

    #[test]
    fn a_writer_keeps_the_file_from_being_mapped() {
        let (_dir, path) = file(1000);
        let writer = OpenOptions::new().append(true).open(&path).unwrap();
        assert!(Leased::new(File::open(&path).unwrap()).is_err());
        drop(writer);
        assert!(Leased::new(File::open(&path).unwrap()).is_ok());
    }

    #[test]
    fn a_writer_waits_until_the_lease_is_given_back() {
        let (_dir, path) = file(1000);
        let leased = Leased::new(File::open(&path).unwrap()).unwrap();
        let (_, part) = leased.part(0, 1000).unwrap();
        let late = std::thread::spawn({
            let path = path.clone();
            move || {
                let mut writer = OpenOptions::new().append(true).open(path).unwrap();
                writer.write_all(b"more").unwrap();
            }
        });
        while leased.part(0, 1000).is_some() {
            std::thread::yield_now();
        }
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1000);
        assert_eq!(part.len(), 1000);
        drop(part);
        drop(leased.into_file());
        late.join().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 1004);
    }
}
