#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::codec::tarball::fuzz_one(bytes));
