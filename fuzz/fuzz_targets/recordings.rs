//! Recordings: replayed, blessed, and replayed again.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_tests::fuzz::recordings(data));
