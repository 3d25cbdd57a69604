//! Drives the codecs that take any piece of input and give any piece of output (zstd, lzma, xz,
//! brotli, gzip, bzip2), frame after frame.

use super::error::{CodecError, CodecErrorKind};
use super::source::{Decode, Source};

/// What one step did.
pub(crate) struct Step {
    /// Input bytes taken.
    pub(crate) used: usize,
    /// Output bytes made.
    pub(crate) made: usize,
    /// The frame is over.
    pub(crate) ended: bool,
}

/// Why a step failed.
pub(crate) type StepError = (CodecErrorKind, String);

/// A codec as a step function.
pub(crate) trait Frame: Send {
    /// Name in messages.
    const NAME: &'static str;

    /// Begins a frame (the `nth`, from 0) at the source's position, taking its header if the codec
    /// itself does not. `Ok(false)`: the input is over, and that is legal here.
    fn begin(&mut self, source: &mut Source<'_>, nth: u64) -> Result<bool, CodecError>;

    /// Decodes a piece. `input` is empty only at the end of the input.
    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, StepError>;

    /// Checks what follows the compressed data of a frame.
    fn finish(&mut self, _source: &mut Source<'_>) -> Result<(), CodecError> {
        Ok(())
    }
}

/// Any number of frames, one after the other.
pub(crate) struct Frames<F> {
    frame: F,
    open: bool,
    count: u64,
}

impl<F: Frame> Frames<F> {
    pub(crate) fn new(frame: F) -> Self {
        Frames { frame, open: false, count: 0 }
    }
}

impl<F: Frame> Decode for Frames<F> {
    fn decode(&mut self, source: &mut Source<'_>, out: &mut [u8]) -> Result<usize, CodecError> {
        loop {
            if !self.open {
                if self.count == 0 && source.at_end()? {
                    return Err(source.fail(CodecErrorKind::Empty, format!("{}: the object is empty", F::NAME)));
                }
                if !self.frame.begin(source, self.count)? {
                    return Ok(0);
                }
                self.open = true;
                self.count += 1;
            }
            let at = source.position();
            let input = source.fill()?;
            let input_over = input.is_empty();
            let step = self.frame.step(input, out).map_err(|(kind, message)| CodecError::new(kind, at, message))?;
            source.consume(step.used);
            if step.ended {
                self.frame.finish(source)?;
                self.open = false;
            }
            if step.made > 0 {
                return Ok(step.made);
            }
            if !step.ended && step.used == 0 {
                return Err(if input_over {
                    source.fail(CodecErrorKind::Truncated, format!("{}: the stream is cut", F::NAME))
                } else {
                    source.fail(CodecErrorKind::Corrupt, format!("{}: the stream does not go on", F::NAME))
                });
            }
        }
    }
}

/// The error for bytes behind the end of a stream.
pub(crate) fn trailing(source: &Source<'_>, name: &str) -> CodecError {
    source.fail(CodecErrorKind::TrailingBytes, format!("{name}: bytes follow the end of the stream"))
}
