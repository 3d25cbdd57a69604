#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::page::fuzz_one(bytes));
