#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::layout::fuzz_one(bytes));
