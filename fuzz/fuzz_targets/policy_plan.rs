#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::policy::plan::fuzz_one(bytes));
