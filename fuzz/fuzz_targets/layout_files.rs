#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::layout::files::fuzz_one(bytes));
