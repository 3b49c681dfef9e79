#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nodespan::http::fuzz_head(data));
