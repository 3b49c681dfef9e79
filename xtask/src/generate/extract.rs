//! Cuts a small, valid BTF blob out of a kernel's.
//!
//! The format is Documentation/bpf/btf.rst. Types that lie inside others by
//! value stay, pointers become pointers to void. The result depends on the
//! input alone: types keep their order, strings are sorted.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, bail, ensure};

/// What is wanted.
#[derive(Debug)]
pub(super) struct Roots {
    /// Structs and unions; those that a kernel lacks are left out.
    pub(super) structs: &'static [&'static str],
    /// Functions, likewise.
    pub(super) functions: &'static [&'static str],
    /// Every enum with an enumerator that begins with one of these.
    pub(super) enumerators: &'static [&'static str],
}

/// The types that stay.
#[derive(Debug)]
pub(super) struct Extract {
    types: Vec<Type>,
    before: usize,
}

/// One type with names and ids taken out of its words.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Type {
    name: String,
    info: u32,
    size_or_type: u32,
    parts: Vec<Part>,
}

/// One word behind a type's head.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    /// Place of a string.
    Name(String),
    /// Id of a type.
    Id(u32),
    /// Anything else.
    Word(u32),
}

const MAGIC: u32 = 0x0001_eb9f;
const HEADER: u32 = 24;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
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
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = 18;
const ENUM64: u32 = 19;

impl Extract {
    /// Reads a kernel's BTF and keeps what hangs on `roots`.
    ///
    /// # Errors
    /// If the blob cannot be read, or a name means several things.
    pub(super) fn of(blob: &[u8], roots: &Roots) -> Result<Self> {
        let all = read(blob)?;
        let mut kept = BTreeSet::new();
        let mut pending = chosen(&all, roots)?;
        while let Some(id) = pending.pop() {
            if id == 0 || !kept.insert(id) {
                continue;
            }
            let one = get(&all, id)?;
            if one.kind() == PTR {
                continue;
            }
            if one.names_a_type() {
                pending.push(one.size_or_type);
            }
            pending.extend(one.parts.iter().filter_map(|part| match part {
                Part::Id(id) => Some(*id),
                _ => None,
            }));
        }
        // One pointer for all of them, at the place of the first.
        let (mut numbers, mut types, mut pointer) = (BTreeMap::from([(0, 0)]), Vec::new(), None);
        for id in kept {
            let one = get(&all, id)?;
            let is_pointer = one.kind() == PTR;
            if let Some(number) = pointer.filter(|_| is_pointer) {
                numbers.insert(id, number);
                continue;
            }
            types.push(one.clone());
            let number = u32::try_from(types.len())?;
            numbers.insert(id, number);
            if is_pointer {
                pointer = Some(number);
            }
        }
        let number = |id: u32| numbers.get(&id).copied().context("a type was lost");
        for one in &mut types {
            if one.kind() == PTR {
                one.size_or_type = 0;
            } else if one.names_a_type() {
                one.size_or_type = number(one.size_or_type)?;
            }
            for part in &mut one.parts {
                if let Part::Id(id) = part {
                    *id = number(*id)?;
                }
            }
        }
        let before = all.len();
        Ok(Self { types, before })
    }

    /// How many types there are.
    pub(super) fn types(&self) -> usize {
        self.types.len()
    }

    /// How many types the whole had.
    pub(super) const fn types_before(&self) -> usize {
        self.before
    }

    /// The blob.
    ///
    /// # Errors
    /// If it has more strings than the format can address.
    pub(super) fn bytes(&self) -> Result<Vec<u8>> {
        let names: BTreeSet<&str> = self
            .types
            .iter()
            .flat_map(|one| {
                let parts = one.parts.iter().filter_map(|part| match part {
                    Part::Name(name) => Some(name.as_str()),
                    _ => None,
                });
                parts.chain([one.name.as_str()])
            })
            .chain([""])
            .collect();
        let (mut places, mut strings) = (BTreeMap::new(), Vec::new());
        for name in names {
            places.insert(name, u32::try_from(strings.len())?);
            strings.extend(name.as_bytes());
            strings.push(0);
        }
        let place = |name: &str| places.get(name).copied().unwrap_or_default();
        let mut words = Vec::new();
        for one in &self.types {
            words.extend([place(&one.name), one.info, one.size_or_type]);
            words.extend(one.parts.iter().map(|part| match part {
                Part::Name(name) => place(name),
                Part::Id(word) | Part::Word(word) => *word,
            }));
        }
        let (types, text) = (
            u32::try_from(words.len() * 4)?,
            u32::try_from(strings.len())?,
        );
        Ok([MAGIC, HEADER, 0, types, types, text]
            .iter()
            .chain(&words)
            .flat_map(|word| word.to_le_bytes())
            .chain(strings)
            .collect())
    }
}

impl Type {
    const fn kind(&self) -> u32 {
        self.info >> 24 & 0x1f
    }

    /// Whether the third word of the head is the id of a type.
    const fn names_a_type(&self) -> bool {
        matches!(
            self.kind(),
            PTR | TYPEDEF
                | VOLATILE
                | CONST
                | RESTRICT
                | FUNC
                | FUNC_PROTO
                | VAR
                | DECL_TAG
                | TYPE_TAG
        )
    }
}

fn get(types: &[Type], id: u32) -> Result<&Type> {
    (id as usize)
        .checked_sub(1)
        .and_then(|index| types.get(index))
        .with_context(|| format!("there is no type {id}"))
}

/// Ids of the roots.
fn chosen(types: &[Type], roots: &Roots) -> Result<Vec<u32>> {
    let mut found = BTreeMap::new();
    let mut ids = Vec::new();
    for (id, one) in (1..).zip(types) {
        let (wanted, what) = match one.kind() {
            STRUCT | UNION => (roots.structs.contains(&one.name.as_str()), "struct"),
            FUNC => (roots.functions.contains(&one.name.as_str()), "function"),
            ENUM | ENUM64 => {
                let asked = |name: &str| roots.enumerators.iter().any(|its| name.starts_with(its));
                let fits = |part: &Part| matches!(part, Part::Name(name) if asked(name));
                (one.parts.iter().any(fits), "enum")
            }
            _ => continue,
        };
        if !wanted {
            continue;
        }
        ids.push(id);
        // Two of a name would be a question that the agent does not ask yet.
        if what != "enum"
            && let Some(other) = found.insert((what, one.name.as_str()), id)
        {
            bail!("types {other} and {id} are both a {what} `{}`", one.name);
        }
    }
    Ok(ids)
}

/// All types, the first of which has the id 1.
fn read(blob: &[u8]) -> Result<Vec<Type>> {
    let header = words(blob.get(..HEADER as usize).context("the header is cut")?);
    let [magic, length, type_at, type_len, text_at, text_len] = header[..] else {
        bail!("the header is cut");
    };
    ensure!(
        magic & 0x00ff_ffff == MAGIC,
        "no BTF of version 1 in this byte order"
    );
    let section = |at: u32, len: u32| {
        let start = length as usize + at as usize;
        blob.get(start..start + len as usize)
            .context("a section is outside the blob")
    };
    let strings = section(text_at, text_len)?;
    let name = |at: u32| -> Result<String> {
        let text = strings
            .get(at as usize..)
            .context("a name is outside the strings")?;
        let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
        Ok(str::from_utf8(text)?.to_owned())
    };
    let mut types = Vec::new();
    let all = words(section(type_at, type_len)?);
    let mut rest = &all[..];
    while let [its_name, info, size_or_type, behind @ ..] = rest {
        let shape = shape(*info)?;
        let count = shape.len();
        ensure!(count <= behind.len(), "the last type is cut");
        let (parts, next) = behind.split_at(count);
        types.push(Type {
            name: name(*its_name)?,
            info: *info,
            size_or_type: *size_or_type,
            parts: parts
                .iter()
                .zip(shape)
                .map(|(word, what)| {
                    Ok(match what {
                        What::Name => Part::Name(name(*word)?),
                        What::Id => Part::Id(*word),
                        What::Word => Part::Word(*word),
                    })
                })
                .collect::<Result<_>>()?,
        });
        rest = next;
    }
    ensure!(rest.is_empty(), "the last type is cut");
    Ok(types)
}

/// What a word behind a type's head means.
#[derive(Clone, Copy, Debug)]
enum What {
    Name,
    Id,
    Word,
}

fn shape(info: u32) -> Result<Vec<What>> {
    use What::{Id, Name, Word};
    let count = (info & 0xffff) as usize;
    Ok(match info >> 24 & 0x1f {
        PTR | FWD | TYPEDEF | VOLATILE | CONST | RESTRICT | FUNC | FLOAT | TYPE_TAG => vec![],
        INT | VAR | DECL_TAG => vec![Word],
        ARRAY => vec![Id, Id, Word],
        STRUCT | UNION => [Name, Id, Word].repeat(count),
        ENUM => [Name, Word].repeat(count),
        ENUM64 => [Name, Word, Word].repeat(count),
        FUNC_PROTO => [Name, Id].repeat(count),
        DATASEC => [Id, Word, Word].repeat(count),
        kind => bail!("kind {kind} is unknown"),
    })
}

fn words(bytes: &[u8]) -> Vec<u32> {
    bytes
        .as_chunks::<4>()
        .0
        .iter()
        .map(|word| u32::from_le_bytes(*word))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOTS: Roots = Roots {
        structs: &["outer", "gone"],
        functions: &["f"],
        enumerators: &["ITER_"],
    };

    fn one(name: &str, kind: u32, size_or_type: u32, parts: &[Part]) -> Type {
        let count = match kind {
            STRUCT => parts.len() / 3,
            ENUM | FUNC_PROTO => parts.len() / 2,
            _ => 0,
        };
        Type {
            name: name.to_owned(),
            info: kind << 24 | count as u32,
            size_or_type,
            parts: parts.to_vec(),
        }
    }

    fn name(name: &str) -> Part {
        Part::Name(name.to_owned())
    }

    fn member(its: &str, id: u32, at: u32) -> [Part; 3] {
        [name(its), Part::Id(id), Part::Word(at)]
    }

    fn kernel() -> Extract {
        let outer = [member("a", 6, 0), member("p", 3, 64), member("q", 5, 128)].concat();
        let types = vec![
            one("unused", INT, 4, &[Part::Word(32)]),
            one("int", INT, 4, &[Part::Word(32)]),
            one("", PTR, 4, &[]),
            one("far", STRUCT, 4, &member("x", 2, 0)),
            one("", PTR, 1, &[]),
            one("int_t", TYPEDEF, 2, &[]),
            one("outer", STRUCT, 24, &outer),
            one("", ENUM, 4, &[name("ITER_A"), Part::Word(7)]),
            one("", ENUM, 4, &[name("OTHER"), Part::Word(7)]),
            one("", FUNC_PROTO, 2, &[name("sk"), Part::Id(5)]),
            one("f", FUNC, 10, &[]),
            one("g", FUNC, 10, &[]),
        ];
        Extract { types, before: 0 }
    }

    #[test]
    fn keeps_what_lies_inside_and_nothing_else() {
        let blob = kernel().bytes().unwrap();
        let extract = Extract::of(&blob, &ROOTS).unwrap();
        assert_eq!(extract.types_before(), 12);
        let outer = [member("a", 3, 0), member("p", 2, 64), member("q", 2, 128)].concat();
        assert_eq!(
            extract.types,
            [
                one("int", INT, 4, &[Part::Word(32)]),
                one("", PTR, 0, &[]),
                one("int_t", TYPEDEF, 1, &[]),
                one("outer", STRUCT, 24, &outer),
                one("", ENUM, 4, &[name("ITER_A"), Part::Word(7)]),
                one("", FUNC_PROTO, 1, &[name("sk"), Part::Id(2)]),
                one("f", FUNC, 6, &[]),
            ]
        );
        // An extract of the extract is the same.
        let bytes = extract.bytes().unwrap();
        let again = Extract::of(&bytes, &ROOTS).unwrap();
        assert_eq!(again.bytes().unwrap(), bytes);
        assert_eq!(read(&bytes).unwrap(), extract.types);
    }

    #[test]
    fn refuses_what_it_cannot_read() {
        let mut two = kernel();
        two.types.push(one("outer", STRUCT, 0, &[]));
        let blob = kernel().bytes().unwrap();
        for (blob, says) in [
            (two.bytes().unwrap(), "both a struct `outer`"),
            (blob[..20].to_vec(), "the header is cut"),
            (blob[..blob.len() - 1].to_vec(), "outside the blob"),
            (vec![0; 40], "no BTF"),
        ] {
            let error = Extract::of(&blob, &ROOTS).unwrap_err().to_string();
            assert!(error.contains(says), "{error}");
        }
    }
}
