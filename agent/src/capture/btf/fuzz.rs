//! What must hold for any bytes: no panic, and answers that agree.

use super::{Btf, BtfError};
use crate::capture::layout::Kernel;

/// Names asked of each blob beside what the loader asks.
const NAMES: usize = 6;

/// Body of the fuzz target: reads the bytes as BTF and asks what the loader
/// asks, and after some of the names in it.
///
/// # Panics
///
/// If two answers contradict each other.
pub fn fuzz_btf(bytes: &[u8]) {
    let btf = match Btf::parse(bytes) {
        Ok(btf) => btf,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            return;
        }
    };
    if let Err(error) = Kernel::resolve(&btf) {
        assert!(!error.to_string().is_empty());
    }
    let names: Vec<String> = btf
        .strings
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .take(NAMES)
        .map(|name| String::from_utf8_lossy(name).into_owned())
        .collect();
    for name in &names {
        let parameters = btf.parameters(name);
        if !btf.has_function(name) {
            let what = "function";
            let name = name.clone();
            assert_eq!(parameters, Err(BtfError::Missing { what, name }));
        }
        let _value = std::hint::black_box(btf.enumerator(name));
        for inner in &names {
            let path = format!("{name}.{inner}");
            let offset = btf.offset(&path);
            match btf.member(&path) {
                Ok(member) => assert_eq!(offset.ok(), member.bytes()),
                Err(error) => assert_eq!(offset, Err(error)),
            }
        }
    }
}
