//! Negentropy sessions: arbitrary answers of a relay.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| sync_tests::fuzz::negentropy(data));
