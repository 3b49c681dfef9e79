//! Debugging information out of an object.

use anyhow::{Context, Result};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// The object without its DWARF, three quarters of it. BTF stays, which names
/// the maps and says where an instruction came from when the verifier refuses
/// it. What is left is held in memory while the programs are loaded.
///
/// # Errors
/// If it is not an object file.
pub(crate) fn debug(object: &[u8]) -> Result<Vec<u8>> {
    let mut builder = Builder::read(object).context("reading the kernel object")?;
    for section in &mut builder.sections {
        let name = section.name.to_string();
        let of = name.strip_prefix(".rel").unwrap_or(&name);
        if of.starts_with(".debug_") {
            section.delete = true;
        }
    }
    builder.delete_orphans();
    // LLVM keeps names of sections and symbols in one table, the writer in two.
    let names = builder.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    let mut stripped = Vec::new();
    builder
        .write(&mut stripped)
        .context("writing the kernel object")?;
    Ok(stripped)
}
