#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::wal::fuzz_one(bytes));
