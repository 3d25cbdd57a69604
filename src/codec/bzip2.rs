use bzip2::{Decompress, Error, Status};

use super::error::{CodecError, CodecErrorKind};
use super::frames::{Frame, Step, StepError, trailing};
use super::source::Source;

/// First bytes of a stream; a digit for the block size follows.
pub(crate) const MAGIC: [u8; 3] = *b"BZh";

/// bzip2 streams, concatenated.
pub(crate) struct Bzip2 {
    stream: Decompress,
}

impl Bzip2 {
    pub(crate) fn new() -> Self {
        Bzip2 { stream: Decompress::new(false) }
    }
}

impl Frame for Bzip2 {
    const NAME: &'static str = "bzip2";

    fn begin(&mut self, source: &mut Source<'_>, nth: u64) -> Result<bool, CodecError> {
        if nth > 0 {
            if source.at_end()? {
                return Ok(false);
            }
            if !source.peek(MAGIC.len())?.starts_with(&MAGIC) {
                return Err(trailing(source, Self::NAME));
            }
            self.stream = Decompress::new(false);
        }
        Ok(true)
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, StepError> {
        let (used, made) = (self.stream.total_in(), self.stream.total_out());
        let status = self.stream.decompress(input, out).map_err(|error| {
            let message = match error {
                Error::DataMagic => "the magic number is wrong",
                Error::Data => "the data are corrupt or a checksum is wrong",
                Error::Sequence | Error::Param => "the stream is not in order",
            };
            (CodecErrorKind::Corrupt, format!("bzip2: {message}"))
        })?;
        if status == Status::MemNeeded {
            return Err((CodecErrorKind::WindowTooLarge, "bzip2: no memory for a block".to_string()));
        }
        Ok(Step {
            // Both differences are at most the length of a slice.
            used: (self.stream.total_in() - used) as usize,
            made: (self.stream.total_out() - made) as usize,
            ended: status == Status::StreamEnd,
        })
    }
}
