#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::audit::fuzz_content(bytes));
