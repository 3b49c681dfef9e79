//! Blobs made by hand, one property of the format each.

use super::{Btf, BtfError, fuzz_btf};
use crate::http::fuzz::Random;

const INT: u32 = 1;
const PTR: u32 = 2;
const ARRAY: u32 = 3;
const STRUCT: u32 = super::STRUCT;
const UNION: u32 = super::UNION;
const ENUM: u32 = super::ENUM;
const FWD: u32 = 7;
const TYPEDEF: u32 = super::TYPEDEF;
const VOLATILE: u32 = super::VOLATILE;
const CONST: u32 = super::CONST;
const RESTRICT: u32 = super::RESTRICT;
const FUNC: u32 = super::FUNC;
const FUNC_PROTO: u32 = super::FUNC_PROTO;
const VAR: u32 = 14;
const DATASEC: u32 = 15;
const FLOAT: u32 = 16;
const DECL_TAG: u32 = 17;
const TYPE_TAG: u32 = super::TYPE_TAG;
const ENUM64: u32 = super::ENUM64;
/// In the info word of a struct with bit fields.
const FLAG: u32 = 1 << 31;

/// Writes blobs. Types get the ids 1, 2, 3… in the order they are added.
#[derive(Clone, Default)]
struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
}

impl Blob {
    fn new() -> Self {
        Self {
            types: Vec::new(),
            strings: vec![0],
        }
    }

    /// Where the string now is; 0 for none.
    fn name(&mut self, name: &str) -> u32 {
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.as_bytes());
        self.strings.push(0);
        at
    }

    fn words(mut self, words: &[u32]) -> Self {
        for word in words {
            self.types.extend(word.to_le_bytes());
        }
        self
    }

    /// A type without anything behind its head.
    fn plain(mut self, kind: u32, name: &str, size_or_type: u32) -> Self {
        let name = self.name(name);
        self.words(&[name, kind << 24, size_or_type])
    }

    /// A type and the words behind its head.
    fn with(self, kind: u32, name: &str, size_or_type: u32, behind: &[u32]) -> Self {
        self.plain(kind, name, size_or_type).words(behind)
    }

    fn int(self, name: &str) -> Self {
        self.with(INT, name, 4, &[32])
    }

    /// A struct or union; of each member name, type and offset word.
    fn compound(mut self, kind: u32, name: &str, members: &[(&str, u32, u32)]) -> Self {
        let name = self.name(name);
        let flag = kind & FLAG;
        let info = flag | (kind & !FLAG) << 24 | members.len() as u32;
        self = self.words(&[name, info, 8]);
        for &(member, type_id, offset) in members {
            let member = self.name(member);
            self = self.words(&[member, type_id, offset]);
        }
        self
    }

    fn enumeration(mut self, kind: u32, values: &[(&str, u64)]) -> Self {
        self = self.words(&[0, kind << 24 | values.len() as u32, 4]);
        for &(name, value) in values {
            let name = self.name(name);
            self = self.words(&[name, value as u32]);
            if kind == ENUM64 {
                self = self.words(&[(value >> 32) as u32]);
            }
        }
        self
    }

    fn prototype(mut self, parameters: &[&str]) -> Self {
        self = self.words(&[0, FUNC_PROTO << 24 | parameters.len() as u32, 0]);
        for parameter in parameters {
            let name = self.name(parameter);
            self = self.words(&[name, 0]);
        }
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        let mut bytes = vec![0x9f, 0xeb, 1, 0];
        for word in [24, 0, types, types, strings] {
            bytes.extend(u32::to_le_bytes(word));
        }
        bytes.extend(&self.types);
        bytes.extend(&self.strings);
        bytes
    }

    /// Leaks the bytes: blobs here are small.
    fn read(&self) -> Btf<'static> {
        Btf::parse(self.bytes().leak()).unwrap()
    }
}

fn no(what: &'static str, name: &str) -> BtfError {
    BtfError::Missing {
        what,
        name: name.to_owned(),
    }
}

#[test]
fn members_lie_where_the_struct_says() {
    let btf = Blob::new()
        .int("int")
        .compound(STRUCT, "inner", &[("a", 1, 0), ("b", 1, 32)])
        .compound(STRUCT, "outer", &[("x", 1, 0), ("in", 2, 64)])
        .read();
    assert_eq!(btf.offset("outer.x"), Ok(0));
    assert_eq!(btf.offset("outer.in"), Ok(8));
    assert_eq!(btf.offset("outer.in.b"), Ok(12));
    assert_eq!(btf.offset("inner"), Ok(0));
    assert_eq!(btf.offset("outer.b"), Err(no("member", "outer.b")));
    assert_eq!(btf.offset("outer.x.b"), Err(no("member", "outer.x.b")));
    assert_eq!(btf.offset("other.x"), Err(no("struct", "other")));
    assert_eq!(btf.offset("int.x"), Err(no("struct", "int")));
    // A name is all of it, not its beginning.
    assert_eq!(btf.offset("oute.x"), Err(no("struct", "oute")));
    assert_eq!(btf.offset("outer.i"), Err(no("member", "outer.i")));
}

#[test]
fn anonymous_structs_and_unions_need_no_name() {
    let btf = Blob::new()
        .int("int")
        .compound(STRUCT, "", &[("deep", 1, 0), ("deeper", 1, 32)])
        .compound(UNION, "", &[("", 2, 0), ("flat", 1, 0)])
        .plain(CONST, "", 3)
        .compound(
            STRUCT,
            "outer",
            &[("a", 1, 0), ("", 4, 128), ("named", 2, 256), ("", 1, 512)],
        )
        .read();
    assert_eq!(btf.offset("outer.flat"), Ok(16));
    assert_eq!(btf.offset("outer.deep"), Ok(16));
    assert_eq!(btf.offset("outer.deeper"), Ok(20));
    assert_eq!(btf.offset("outer.named.deeper"), Ok(36));
    assert_eq!(btf.offset("outer.none"), Err(no("member", "outer.none")));
}

#[test]
fn typedefs_and_qualifiers_are_followed() {
    let mut blob = Blob::new().compound(STRUCT, "inner", &[("a", 0, 96)]);
    for (id, kind) in [TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG]
        .into_iter()
        .enumerate()
    {
        blob = blob.plain(kind, "t", id as u32 + 1);
    }
    let btf = blob
        .plain(PTR, "", 1)
        .compound(STRUCT, "outer", &[("in", 6, 32), ("at", 7, 64)])
        .read();
    assert_eq!(btf.offset("outer.in.a"), Ok(16));
    // What a pointer points to lies elsewhere.
    assert_eq!(btf.offset("outer.at.a"), Err(no("member", "outer.at.a")));
}

#[test]
fn a_bit_field_has_no_byte_offset() {
    let btf = Blob::new()
        .int("int")
        .compound(
            STRUCT | FLAG,
            "flags",
            &[
                ("byte", 1, 8),
                ("bit", 1, 1 << 24 | 16),
                ("odd", 1, 2 << 24 | 17),
                ("last", 1, 32),
            ],
        )
        .compound(STRUCT, "outer", &[("a", 1, 0), ("in", 2, 64)])
        .read();
    assert_eq!(btf.offset("flags.byte"), Ok(1));
    assert_eq!(btf.offset("outer.in.last"), Ok(12));
    let bit = btf.member("outer.in.odd").unwrap();
    assert_eq!((bit.bits, bit.width), (64 + 17, 2));
    for path in ["flags.bit", "flags.odd", "outer.in.bit"] {
        let error = btf.offset(path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("`{path}` is a bit field on this kernel, which cannot be read by bytes")
        );
    }
}

#[test]
fn enumerators_are_found_in_any_enum() {
    let btf = Blob::new()
        .enumeration(ENUM, &[("A", 7), ("B", u64::from(u32::MAX))])
        .enumeration(ENUM64, &[("BIG", 1 << 40), ("SMALL", 9), ("C", 3)])
        .enumeration(ENUM, &[("C", 5)])
        .read();
    assert_eq!(btf.enumerator("A"), Ok(7));
    assert_eq!(btf.enumerator("B"), Ok(u32::MAX));
    assert_eq!(btf.enumerator("SMALL"), Ok(9));
    assert_eq!(btf.enumerator("C"), Ok(3), "the first");
    assert_eq!(btf.enumerator("BIG"), Err(no("enumerator", "BIG")));
    assert_eq!(btf.enumerator("AB"), Err(no("enumerator", "AB")));
}

#[test]
fn functions_tell_their_parameters() {
    let btf = Blob::new()
        .prototype(&["sk", "msg", "", "flags"])
        .plain(FUNC, "tcp_recvmsg", 1)
        .prototype(&[])
        .plain(FUNC, "nothing", 3)
        .plain(FUNC, "broken", 2)
        .plain(FUNC, "beyond", 99)
        .plain(TYPEDEF, "no_function", 1)
        .read();
    let names = ["sk", "msg", "", "flags"].map(str::to_owned).to_vec();
    assert_eq!(btf.parameters("tcp_recvmsg"), Ok(names));
    assert_eq!(btf.parameters("nothing"), Ok(vec![]));
    assert!(btf.has_function("nothing") && !btf.has_function("no_function"));
    for (function, what) in [
        ("broken", "prototype of function"),
        ("beyond", "prototype of function"),
        ("no_function", "function"),
        ("gone", "function"),
    ] {
        assert_eq!(btf.parameters(function), Err(no(what, function)));
    }
}

#[test]
fn every_known_kind_is_stepped_over() {
    let blob = Blob::new()
        .int("int")
        .plain(PTR, "", 0)
        .with(ARRAY, "", 0, &[1, 1, 10])
        .compound(STRUCT, "s", &[("a", 1, 0), ("b", 1, 32)])
        .compound(UNION, "u", &[("a", 1, 0)])
        .enumeration(ENUM, &[("E", 1), ("F", 2)])
        .plain(FWD, "fwd", 0)
        .plain(TYPEDEF, "t", 1)
        .plain(VOLATILE, "", 1)
        .plain(CONST, "", 1)
        .plain(RESTRICT, "", 1)
        .prototype(&["a", "b"])
        .plain(FUNC, "f", 12)
        .with(VAR, "v", 1, &[0])
        .words(&[0, DATASEC << 24 | 2, 8, 14, 0, 4, 14, 4, 4])
        .plain(FLOAT, "double", 8)
        .with(DECL_TAG, "tag", 1, &[u32::MAX])
        .plain(TYPE_TAG, "user", 1)
        .enumeration(ENUM64, &[("G", 1), ("H", 2)])
        .compound(STRUCT, "last", &[("here", 1, 64)]);
    assert_eq!(blob.read().offset("last.here"), Ok(8));
    assert_eq!(blob.read().offsets.len(), 21, "twenty types and void");
}

#[test]
fn an_unknown_kind_ends_the_reading() {
    for kind in [0, 20, 31] {
        let blob = Blob::new().int("int").plain(kind, "new", 0).int("behind");
        assert_eq!(
            Btf::parse(&blob.bytes()).unwrap_err().to_string(),
            format!("type 2 at offset 16 is of kind {kind}, unknown to this reader")
        );
    }
}

#[test]
fn a_header_that_is_none_is_refused() {
    let good = Blob::new().int("int").bytes();
    let change = |at: usize, bytes: &[u8]| {
        let mut blob = good.clone();
        blob[at..at + bytes.len()].copy_from_slice(bytes);
        blob
    };
    let far = u32::MAX.to_le_bytes();
    for (what, blob) in [
        ("cut header", Vec::new()),
        ("cut header", good[..23].to_vec()),
        ("wrong magic or byte order", change(0, b"\x7fE")),
        ("wrong magic or byte order", change(0, &[0xeb, 0x9f])),
        ("other version", change(2, &[2])),
        ("types outside the blob", change(4, &far)),
        ("types outside the blob", change(8, &far)),
        ("types outside the blob", change(12, &far)),
        ("strings outside the blob", change(16, &far)),
        ("strings outside the blob", change(20, &far)),
        ("strings outside the blob", good[..good.len() - 1].to_vec()),
    ] {
        let error = Btf::parse(&blob).unwrap_err();
        assert_eq!(error, BtfError::Header(what));
        assert_eq!(error.to_string(), format!("not BTF of version 1: {what}"));
    }
    // A longer header, as later formats may have, is stepped over.
    let mut longer = good.clone();
    longer[4] += 8;
    longer.splice(24..24, [0xff; 8]);
    assert!(Btf::parse(&longer).unwrap().entry(1).is_some());
}

#[test]
fn a_type_that_is_cut_off_is_named() {
    let mut blob = Blob::new()
        .int("int")
        .compound(STRUCT, "s", &[("a", 1, 0), ("b", 1, 32)]);
    let whole = blob.types.len();
    for len in 0..whole {
        blob.types.truncate(whole - len);
        let bytes = blob.bytes();
        let read = Btf::parse(&bytes);
        match whole - len {
            0 | 16 | 52 => assert!(read.is_ok()),
            cut => {
                let (id, offset) = if cut < 16 { (1, 0) } else { (2, 16) };
                let error = read.unwrap_err();
                assert_eq!(error, BtfError::Cut { id, offset });
                assert_eq!(
                    error.to_string(),
                    format!("type {id} at offset {offset} is cut off")
                );
            }
        }
    }
}

#[test]
fn a_missing_thing_is_named() {
    for (what, name) in [
        ("struct", "tcp_sock"),
        ("member", "tcp_sock.write_seq"),
        ("enumerator", "ITER_IOVEC"),
        ("function", "tcp_sendmsg"),
    ] {
        assert_eq!(
            no(what, name).to_string(),
            format!("this kernel's BTF has no {what} `{name}`")
        );
    }
}

#[test]
fn strings_may_lie_anywhere() {
    let mut blob = Blob::new().int("int").compound(STRUCT, "s", &[("a", 1, 0)]);
    // Without its last zero the last string ends with the section.
    blob.strings.pop();
    assert_eq!(blob.read().offset("s.a"), Ok(0));
    blob.strings.clear();
    assert_eq!(blob.read().offset("s.a"), Err(no("struct", "s")));
}

#[test]
fn circles_end() {
    let btf = Blob::new()
        .plain(TYPEDEF, "loop", 2)
        .plain(CONST, "", 1)
        .compound(STRUCT, "s", &[("in", 1, 0), ("", 4, 0), ("", 3, 8)])
        .compound(UNION, "", &[("", 3, 0), ("", 4, 0), ("", 1, 0)])
        .read();
    assert_eq!(btf.offset("s.in"), Ok(0));
    assert_eq!(btf.offset("s.x"), Err(no("member", "s.x")));
    assert_eq!(btf.offset("s.in.x"), Err(no("member", "s.in.x")));
}

#[test]
fn nesting_costs_no_more_than_its_types() {
    // Each of these holds the next one twice: 2^4000 ways to the last.
    let mut blob = Blob::new();
    for id in 1..=4000 {
        let name = if id == 1 { "first" } else { "" };
        blob = blob.compound(STRUCT, name, &[("", id + 1, 8), ("", id + 1, 8)]);
    }
    let btf = blob.compound(STRUCT, "", &[("last", 0, 8)]).read();
    assert_eq!(btf.offset("first.last"), Ok(4001));
    assert_eq!(btf.offset("first.none"), Err(no("member", "first.none")));
}

#[test]
fn damaged_blobs_never_panic() {
    let seeds = ["5.10", "6.1", "6.12", "7"].map(crate::capture::layout::tests::extract);
    let mut random = Random::new(0xb7f);
    for seed in &seeds {
        fuzz_btf(seed);
        // Deep damage is rare: the reading ends where the sizes stop adding up.
        for _ in 0..150 {
            let mut blob = seed.clone();
            for _ in 0..1 + random.below(8) {
                let at = random.below(blob.len());
                match random.below(6) {
                    0 => blob.truncate(at.max(1)),
                    1 => drop(blob.remove(at)),
                    2 => blob.insert(at, random.next() as u8),
                    3 => blob[random.below(24).min(at)] = random.next() as u8,
                    4 => blob[at] ^= 1 << random.below(8),
                    _ => {
                        // A word, where words are: ids, offsets, names.
                        let at = at & !3;
                        if let Some(word) = blob.get_mut(at..at + 4) {
                            random.fill(&mut word[..2]);
                        }
                    }
                }
                if blob.is_empty() {
                    break;
                }
            }
            fuzz_btf(&blob);
        }
    }
    let mut noise = [0; 200];
    for _ in 0..1_000 {
        random.fill(&mut noise);
        // A header that fits, or nothing else would ever be read.
        noise[..24].copy_from_slice(&[
            0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0, 120, 0, 0, 0, 120, 0, 0, 0, 56, 0, 0, 0,
        ]);
        for at in (24..144).step_by(12) {
            noise[at + 7] &= 0x9f; // Kinds that exist are frequent enough.
            noise[at + 5] = 0;
        }
        fuzz_btf(&noise);
    }
}
