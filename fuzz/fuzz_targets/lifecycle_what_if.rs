#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::policy::lifecycle::fuzz::what_if_file(bytes));
