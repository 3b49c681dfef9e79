#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| nodespan::capture::pcap::fuzz_pcap(data));
