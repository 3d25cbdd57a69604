#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::model::fuzz_one(bytes));
