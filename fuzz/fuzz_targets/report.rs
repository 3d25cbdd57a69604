#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::report::fuzz_one(bytes));
