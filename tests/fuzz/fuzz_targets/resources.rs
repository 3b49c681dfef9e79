#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nodespan::config::resources::fuzz_resources(data));
