use brotli::enc::StandardAlloc;
use brotli::{BrotliDecompressStream, BrotliResult, BrotliState};

use super::error::{CodecError, CodecErrorKind};
use super::frames::{Frame, Step, StepError, trailing};
use super::source::Source;

type State = BrotliState<StandardAlloc, StandardAlloc, StandardAlloc>;

/// One raw Brotli stream: no magic, no checksum, windows up to 16 MiB.
pub(crate) struct Brotli {
    state: Box<State>,
    total: usize,
}

impl Brotli {
    pub(crate) fn new() -> Self {
        // Strict: the "large window" extension is no Brotli and could ask for a GiB.
        let state = State::new_strict(StandardAlloc::default(), StandardAlloc::default(), StandardAlloc::default());
        Brotli { state: Box::new(state), total: 0 }
    }
}

impl Frame for Brotli {
    const NAME: &'static str = "brotli";

    fn begin(&mut self, source: &mut Source<'_>, nth: u64) -> Result<bool, CodecError> {
        match nth {
            0 => Ok(true),
            _ if source.at_end()? => Ok(false),
            _ => Err(trailing(source, Self::NAME)),
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, StepError> {
        let (mut input_left, mut used) = (input.len(), 0);
        let (mut output_left, mut made) = (out.len(), 0);
        let result = BrotliDecompressStream(
            &mut input_left,
            &mut used,
            input,
            &mut output_left,
            &mut made,
            out,
            &mut self.total,
            &mut self.state,
        );
        match result {
            BrotliResult::ResultFailure => Err((CodecErrorKind::Corrupt, "brotli: the data are corrupt".to_string())),
            BrotliResult::ResultSuccess => Ok(Step { used, made, ended: true }),
            BrotliResult::NeedsMoreInput | BrotliResult::NeedsMoreOutput => Ok(Step { used, made, ended: false }),
        }
    }
}
