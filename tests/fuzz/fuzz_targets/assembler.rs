#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nodespan::assemble::fuzz_assembler(data));
