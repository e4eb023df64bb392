//! Frames of relays: scanned, and their events read.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_tests::fuzz::frames(data));
