//! A small reader of BTF, the kernel's description of its own types.
//!
//! Only what the loader asks is here: where a member lies, what an
//! enumerator's value is, which parameters a function takes. The format is
//! Documentation/bpf/btf.rst; kinds up to 19 (`ENUM64`, kernel ≥ 6.0) are
//! known, others end the reading with an error. Pure and without `unsafe`:
//! the input may be anything. A question costs one pass over the types, 0.3 ms
//! for a kernel's 120,000, so names are not indexed.

#[cfg(any(test, feature = "fuzzing"))]
mod fuzz;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

#[cfg(any(test, feature = "fuzzing"))]
pub use fuzz::fuzz_btf;

/// Types of one kernel, in the blob that holds them: a kernel's has 6 MB.
#[derive(Debug)]
pub struct Btf<'blob> {
    types: &'blob [u8],
    strings: &'blob [u8],
    /// Offset of each type in `types`; ids begin with 1, 0 is void.
    offsets: Vec<u32>,
}

/// What is wrong with a BTF blob, or missing in it.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum BtfError {
    /// Too short, wrong magic or version, sections outside the blob.
    #[error("not BTF of version 1: {0}")]
    Header(&'static str),
    /// A kind this reader does not know: its size is unknown, so nothing
    /// behind it can be read.
    #[error("type {id} at offset {offset} is of kind {kind}, unknown to this reader")]
    Kind {
        /// Number of the type.
        id: u32,
        /// Where it lies in the type section.
        offset: usize,
        /// Its kind.
        kind: u32,
    },
    /// The type section ends inside a type.
    #[error("type {id} at offset {offset} is cut off")]
    Cut {
        /// Number of the type.
        id: u32,
        /// Where it lies in the type section.
        offset: usize,
    },
    /// This kernel has no such thing.
    #[error("this kernel's BTF has no {what} `{name}`")]
    Missing {
        /// Struct, member, function or enumerator.
        what: &'static str,
        /// What was looked for.
        name: String,
    },
    /// A member has no bytes of its own.
    #[error("`{path}` is a bit field on this kernel, which cannot be read by bytes")]
    BitField {
        /// The member.
        path: String,
    },
}

/// Where a member lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// From the start of the outermost struct.
    pub bits: u32,
    /// Bits of a bit field, otherwise 0.
    pub width: u32,
    /// Type id of the member.
    type_id: u32,
}

impl Member {
    /// Byte offset; none for a bit field.
    #[must_use]
    pub const fn bytes(self) -> Option<u32> {
        if self.width == 0 && self.bits.is_multiple_of(8) {
            Some(self.bits / 8)
        } else {
            None
        }
    }
}

impl<'blob> Btf<'blob> {
    /// Reads a blob as `/sys/kernel/btf/vmlinux` gives it.
    ///
    /// # Errors
    /// If it is not BTF, or holds a kind this reader does not know.
    pub fn parse(blob: &'blob [u8]) -> Result<Self, BtfError> {
        let word = |at: usize| u32_at(blob, at).ok_or(BtfError::Header("cut header"));
        let (magic, header) = (word(0)?, word(4)?);
        let (types, strings) = ((word(8)?, word(12)?), (word(16)?, word(20)?));
        if magic & 0xffff != MAGIC {
            return Err(BtfError::Header("wrong magic or byte order"));
        }
        if magic >> 16 & 0xff != 1 {
            return Err(BtfError::Header("other version"));
        }
        let section = |(offset, len): (u32, u32)| -> Option<&'blob [u8]> {
            let start = (header as usize).checked_add(offset as usize)?;
            blob.get(start..start.checked_add(len as usize)?)
        };
        let types = section(types).ok_or(BtfError::Header("types outside the blob"))?;
        let strings = section(strings).ok_or(BtfError::Header("strings outside the blob"))?;
        let mut offsets = vec![u32::MAX];
        let mut at = 0;
        while at < types.len() {
            let id = u32::try_from(offsets.len()).unwrap_or(u32::MAX);
            let info = u32_at(types, at + 4).ok_or(BtfError::Cut { id, offset: at })?;
            let extra = extra(info).ok_or(BtfError::Kind {
                id,
                offset: at,
                kind: kind(info),
            })?;
            offsets.push(u32::try_from(at).map_err(|_too_far| BtfError::Cut { id, offset: at })?);
            let end = at + HEADER + extra;
            if end > types.len() {
                return Err(BtfError::Cut { id, offset: at });
            }
            at = end;
        }
        Ok(Self {
            types,
            strings,
            offsets,
        })
    }

    /// Byte offset of the member of this path, see [`Btf::member`].
    ///
    /// # Errors
    /// If a part of the path does not exist, or the member is a bit field.
    pub fn offset(&self, path: &str) -> Result<u32, BtfError> {
        self.member(path)?
            .bytes()
            .ok_or_else(|| BtfError::BitField {
                path: path.to_owned(),
            })
    }

    /// Where the member of this path lies, `struct.member.member…`; anonymous
    /// structs and unions on the way need no name.
    ///
    /// # Errors
    /// If a part of the path does not exist.
    pub fn member(&self, path: &str) -> Result<Member, BtfError> {
        let mut parts = path.split('.');
        let outer = parts.next().unwrap_or_default();
        let mut at = Member {
            bits: 0,
            width: 0,
            type_id: self
                .named(outer, &[STRUCT, UNION])
                .ok_or_else(|| missing("struct", outer))?,
        };
        for name in parts {
            let inner = self
                .member_of(at.type_id, name)
                .ok_or_else(|| missing("member", path))?;
            at = Member {
                bits: at.bits.wrapping_add(inner.bits),
                ..inner
            };
        }
        Ok(at)
    }

    /// Value of an enumerator, whatever the enum is called.
    ///
    /// # Errors
    /// If no enum has it, or it does not fit.
    pub fn enumerator(&self, name: &str) -> Result<u32, BtfError> {
        self.entries()
            .filter_map(|(_, entry)| self.enumerator_of(&entry, name))
            .next()
            .ok_or_else(|| missing("enumerator", name))
    }

    /// Names of a function's parameters, in order.
    ///
    /// # Errors
    /// If there is no such function.
    pub fn parameters(&self, function: &str) -> Result<Vec<String>, BtfError> {
        let id = self
            .named(function, &[FUNC])
            .ok_or_else(|| missing("function", function))?;
        let proto = self
            .entry(id)
            .and_then(|func| self.entry(func.size_or_type))
            .filter(|proto| proto.kind == FUNC_PROTO)
            .ok_or_else(|| missing("prototype of function", function))?;
        Ok((0..proto.vlen)
            .filter_map(|i| u32_at(self.types, proto.body + i * 8))
            .map(|name| String::from_utf8_lossy(self.string(name)).into_owned())
            .collect())
    }

    /// Type id of a function, by which a program can call it.
    ///
    /// # Errors
    /// If there is no such function.
    pub fn function_id(&self, name: &str) -> Result<u32, BtfError> {
        self.named(name, &[FUNC])
            .ok_or_else(|| missing("function", name))
    }

    /// Whether there is a function of this name.
    #[must_use]
    pub fn has_function(&self, name: &str) -> bool {
        self.named(name, &[FUNC]).is_some()
    }

    /// A blob in which these functions have their ids, and every other type up
    /// to the last of them is a nameless forward declaration: for a reader that
    /// wants ids alone, at a tenth of the memory.
    #[must_use]
    pub fn skeleton(&self, functions: &[&str]) -> Vec<u8> {
        let mut strings = vec![0];
        let mut types = Vec::new();
        let mut known: Vec<(u32, &str)> = functions
            .iter()
            .filter_map(|name| Some((self.function_id(name).ok()?, *name)))
            .collect();
        known.sort_unstable();
        known.dedup();
        let mut next = 1;
        for (id, name) in known {
            for _ in next..id {
                types.extend([0, FWD << 24, 0].map(u32::to_le_bytes).as_flattened());
            }
            next = id.saturating_add(1);
            let place = u32::try_from(strings.len()).unwrap_or_default();
            types.extend([place, FUNC << 24, 0].map(u32::to_le_bytes).as_flattened());
            strings.extend(name.bytes().chain([0]));
        }
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let (header, ours) = (24, len(&types));
        [MAGIC | 1 << 16, header, 0, ours, ours, len(&strings)]
            .map(u32::to_le_bytes)
            .as_flattened()
            .iter()
            .copied()
            .chain(types)
            .chain(strings)
            .collect()
    }

    fn named(&self, name: &str, kinds: &[u32]) -> Option<u32> {
        self.entries()
            .find(|(_, entry)| kinds.contains(&entry.kind) && self.is(entry.name, name))
            .map(|(id, _)| id)
    }

    fn enumerator_of(&self, entry: &Entry, name: &str) -> Option<u32> {
        let words = match entry.kind {
            ENUM => 2,
            ENUM64 => 3,
            _ => return None,
        };
        let at = (0..entry.vlen)
            .map(|i| entry.body + i * words * 4)
            .find(|&at| u32_at(self.types, at).is_some_and(|its| self.is(its, name)))?;
        if words == 3 && u32_at(self.types, at + 8)? != 0 {
            return None;
        }
        u32_at(self.types, at + 4)
    }

    /// Finds a member in a struct or in the anonymous ones inside it. No
    /// struct is searched twice, or a crafted blob could nest them without
    /// end.
    fn member_of(&self, outer: u32, name: &str) -> Option<Member> {
        let mut found = None;
        let mut searched = HashSet::new();
        let mut pending = vec![(self.resolve(outer), 0_u32)];
        while let (None, Some((id, base))) = (found, pending.pop()) {
            let Some(entry) = self.entry(id) else {
                continue;
            };
            if !matches!(entry.kind, STRUCT | UNION) || !searched.insert(id) {
                continue;
            }
            found = (0..entry.vlen).find_map(|i| {
                let at = entry.body + i * 12;
                let its_name = u32_at(self.types, at)?;
                let type_id = u32_at(self.types, at + 4)?;
                let offset = u32_at(self.types, at + 8)?;
                // With the flag set the upper 8 bits are a bit field's size.
                let (offset, width) = if entry.flag {
                    (offset & 0x00ff_ffff, offset >> 24)
                } else {
                    (offset, 0)
                };
                let bits = base.wrapping_add(offset);
                if its_name == 0 {
                    pending.push((self.resolve(type_id), bits));
                    return None;
                }
                self.is(its_name, name).then_some(Member {
                    bits,
                    width,
                    type_id,
                })
            });
        }
        found
    }

    /// Follows typedefs and qualifiers.
    fn resolve(&self, mut id: u32) -> u32 {
        for _ in 0..DEEPEST {
            match self.entry(id) {
                Some(entry)
                    if matches!(entry.kind, TYPEDEF | VOLATILE | CONST | RESTRICT | TYPE_TAG) =>
                {
                    id = entry.size_or_type;
                }
                _ => break,
            }
        }
        id
    }

    /// All types with their ids.
    fn entries(&self) -> impl Iterator<Item = (u32, Entry)> {
        (1..)
            .take(self.offsets.len().saturating_sub(1))
            .filter_map(|id| Some((id, self.entry(id)?)))
    }

    fn entry(&self, id: u32) -> Option<Entry> {
        let at = *self.offsets.get(id as usize)? as usize;
        let info = u32_at(self.types, at.checked_add(4)?)?;
        Some(Entry {
            name: u32_at(self.types, at)?,
            kind: kind(info),
            vlen: (info & 0xffff) as usize,
            flag: info >> 31 != 0,
            size_or_type: u32_at(self.types, at + 8)?,
            body: at + HEADER,
        })
    }

    /// Whether the string at this place is `name`; looks no further than
    /// needed to tell.
    fn is(&self, offset: u32, name: &str) -> bool {
        self.strings
            .get(offset as usize..)
            .and_then(|rest| rest.strip_prefix(name.as_bytes()))
            .is_some_and(|behind| matches!(behind.first(), None | Some(0)))
    }

    fn string(&self, offset: u32) -> &[u8] {
        let rest = self.strings.get(offset as usize..).unwrap_or_default();
        rest.split(|&b| b == 0).next().unwrap_or_default()
    }
}

struct Entry {
    name: u32,
    kind: u32,
    vlen: usize,
    flag: bool,
    size_or_type: u32,
    body: usize,
}

const MAGIC: u32 = 0xeb9f;
/// Bytes of what all types begin with.
const HEADER: usize = 12;
/// Typedefs and qualifiers are followed this far; real ones take 5.
const DEEPEST: u32 = 32;

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const ENUM: u32 = 6;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const VOLATILE: u32 = 9;
const CONST: u32 = 10;
const RESTRICT: u32 = 11;
const FUNC: u32 = 12;
const FUNC_PROTO: u32 = 13;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

const fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Bytes that follow the header of a type.
const fn extra(info: u32) -> Option<usize> {
    let vlen = (info & 0xffff) as usize;
    match kind(info) {
        // INT, VAR and DECL_TAG have one word more.
        1 | 14 | 17 => Some(4),
        // ARRAY
        3 => Some(12),
        STRUCT | UNION | 15 | ENUM64 => Some(vlen * 12),
        ENUM | FUNC_PROTO => Some(vlen * 8),
        // PTR, FWD, TYPEDEF, qualifiers, FUNC, FLOAT, TYPE_TAG
        2 | 7..=12 | 16 | 18 => Some(0),
        _ => None,
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..at.checked_add(4)?)?
        .try_into()
        .ok()
        .map(u32::from_le_bytes)
}

fn missing(what: &'static str, name: &str) -> BtfError {
    BtfError::Missing {
        what,
        name: name.to_owned(),
    }
}
