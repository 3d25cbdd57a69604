#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::restore::fuzz_one(bytes));
