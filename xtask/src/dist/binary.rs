//! What must be true of a binary that is to run anywhere.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

/// `ET_EXEC`, `ET_DYN`; `EM_X86_64`; `PT_INTERP` (elf(5)).
const TYPES: [u16; 2] = [2, 3];
const X86_64: u16 = 62;
const INTERPRETER: u32 = 3;

/// It is a program for x86-64 that needs no loader, and so no shared library,
/// and does not say in which folders it was built.
///
/// # Errors
/// With what it is instead.
pub(crate) fn check(bytes: &[u8]) -> Result<()> {
    ensure!(bytes.starts_with(b"\x7fELF\x02\x01"), "no ELF of 64 bits");
    let short = |at: usize| field::<2>(bytes, at).map(u16::from_le_bytes);
    ensure!(TYPES.contains(&short(16)?), "no program");
    ensure!(short(18)? == X86_64, "not for x86-64");
    let table = usize::try_from(u64::from_le_bytes(field(bytes, 32)?))?;
    let (size, count) = (short(54)?, short(56)?);
    for n in 0..usize::from(count) {
        let kind = u32::from_le_bytes(field(bytes, table + n * usize::from(size))?);
        ensure!(kind != INTERPRETER, "it needs a loader: it is not static");
    }
    for place in places() {
        let text = place.to_string_lossy();
        if contains(bytes, text.as_bytes()) {
            bail!("it says where it was built: {text}");
        }
    }
    Ok(())
}

/// Folders of this machine that are nobody else's business.
fn places() -> Vec<PathBuf> {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    // A home that is a word like any other would be found by chance.
    let home = home.filter(|home| home.components().count() > 1);
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    let cargo = home.map(|home| home.join(".cargo"));
    cargo.into_iter().chain(root.map(Path::to_owned)).collect()
}

fn contains(bytes: &[u8], text: &[u8]) -> bool {
    bytes.windows(text.len()).any(|window| window == text)
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> Result<[u8; N]> {
    let field = bytes.get(at..).and_then(<[u8]>::first_chunk);
    field.copied().context("the file ends too early")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A header with one segment of this kind behind it.
    fn program(kind: u32) -> Vec<u8> {
        let mut bytes = vec![0; 64 + 56];
        bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
        bytes[16] = 3;
        bytes[18] = 62;
        bytes[32] = 64;
        bytes[54] = 56;
        bytes[56] = 1;
        bytes[64..68].copy_from_slice(&kind.to_le_bytes());
        bytes
    }

    #[test]
    fn what_needs_a_loader_is_refused() {
        check(&program(1)).unwrap();
        let error = check(&program(INTERPRETER)).unwrap_err();
        assert!(error.to_string().contains("not static"), "{error}");
        assert!(check(&program(1)[..60]).is_err());
        assert!(check(b"#!/bin/sh").is_err());
    }

    #[test]
    fn what_names_its_builders_folder_is_refused() {
        for place in places() {
            let mut bytes = program(1);
            bytes.extend(place.to_string_lossy().as_bytes());
            let error = check(&bytes).unwrap_err();
            assert!(error.to_string().contains("where it was built"), "{error}");
        }
    }
}
