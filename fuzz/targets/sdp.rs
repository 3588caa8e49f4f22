//! `sdp` for libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| nearend_fuzz::sdp(bytes));
