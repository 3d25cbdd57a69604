#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::state::fuzz_one(bytes));
