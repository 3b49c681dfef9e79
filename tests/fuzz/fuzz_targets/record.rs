#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nodespan::capture::live::fuzz_record(data));
