#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use walproof::codec::crypto::{KeyRing, KeyTransform};

static KEYS: LazyLock<KeyRing> = LazyLock::new(|| {
    let mut keys = KeyRing::new();
    keys.set_libsodium_inline(&[7; 32], KeyTransform::None).unwrap();
    keys.add_pgp(include_bytes!("../../src/codec/tests/data/locked-key.asc"), Some("correct horse")).unwrap();
    keys
});

fuzz_target!(|bytes: &[u8]| walproof::codec::fuzz_open(&KEYS, bytes));
