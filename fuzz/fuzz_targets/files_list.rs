#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::layout::walg::files::fuzz_one(bytes));
