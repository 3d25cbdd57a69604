#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::store::gcs::fuzz_refusal(bytes));
