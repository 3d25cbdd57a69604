//! Decoders as `Read` adapters: bytes in, bytes out, bounded.
