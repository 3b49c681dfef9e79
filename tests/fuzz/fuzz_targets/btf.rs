#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nodespan::capture::btf::fuzz_btf(data));
