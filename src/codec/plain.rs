use super::error::CodecError;
use super::source::{Decode, Source};

/// Stored as it is. Nothing can be noticed here, not even an empty object.
pub(crate) struct Plain;

impl Decode for Plain {
    fn decode(&mut self, source: &mut Source<'_>, out: &mut [u8]) -> Result<usize, CodecError> {
        let available = source.fill()?;
        let bytes = available.len().min(out.len());
        out[..bytes].copy_from_slice(&available[..bytes]);
        source.consume(bytes);
        Ok(bytes)
    }
}
