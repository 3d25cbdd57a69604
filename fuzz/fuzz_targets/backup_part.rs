#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::verify::backup::fuzz_one(bytes));
