#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| walproof::store::s3::list_xml::fuzz_one(bytes));
