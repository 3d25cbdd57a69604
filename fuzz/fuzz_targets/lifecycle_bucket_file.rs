#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::policy::lifecycle::fuzz::bucket_file(bytes));
