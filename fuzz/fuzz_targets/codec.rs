#![no_main]

use libfuzzer_sys::fuzz_target;
use walproof::model::CodecKind;

// The first byte chooses the codec.
fuzz_target!(|bytes: &[u8]| {
    if let Some((choice, bytes)) = bytes.split_first() {
        let kinds = CodecKind::ALL;
        let kind = kinds.get(usize::from(*choice) % (kinds.len() + 1)).map_or(CodecKind::None, |(kind, _)| *kind);
        walproof::codec::fuzz_one(kind, bytes);
    }
});
