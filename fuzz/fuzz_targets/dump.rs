#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::codec::dump::fuzz_one(bytes));
