#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::policy::retention::fuzz_one(bytes));
