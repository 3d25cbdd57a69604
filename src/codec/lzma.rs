use liblzma::stream::{Action, Error, Status, Stream, TELL_UNSUPPORTED_CHECK};

use super::Limits;
use super::error::{CodecError, CodecErrorKind};
use super::frames::{Frame, Step, StepError, trailing};
use super::source::Source;

/// First bytes of an xz stream.
pub(crate) const XZ_MAGIC: [u8; 6] = [0xFD, b'7', b'z', b'X', b'Z', 0];

/// The old container: 13 bytes of header, no checksum. wal-g writes an end marker and no size.
pub(crate) struct LzmaAlone {
    memory_max: u64,
    stream: Option<Stream>,
}

/// xz streams, concatenated, zero padding between and behind them.
pub(crate) struct Xz {
    memory_max: u64,
    stream: Option<Stream>,
}

/// The dictionary is what a stream can inflate; the rest of the decoder stays below a MiB.
fn memory_max(limits: &Limits) -> u64 {
    limits.window_max.saturating_add(1 << 20)
}

impl LzmaAlone {
    pub(crate) fn new(limits: &Limits) -> Self {
        LzmaAlone { memory_max: memory_max(limits), stream: None }
    }
}

impl Xz {
    pub(crate) fn new(limits: &Limits) -> Self {
        Xz { memory_max: memory_max(limits), stream: None }
    }
}

impl Frame for LzmaAlone {
    const NAME: &'static str = "lzma";

    fn begin(&mut self, source: &mut Source<'_>, nth: u64) -> Result<bool, CodecError> {
        if nth > 0 {
            return if source.at_end()? { Ok(false) } else { Err(trailing(source, Self::NAME)) };
        }
        let stream = Stream::new_lzma_decoder(self.memory_max);
        self.stream = Some(stream.map_err(|error| no_decoder(source, Self::NAME, error))?);
        Ok(true)
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, StepError> {
        step(self.stream.as_mut(), Self::NAME, input, out)
    }
}

impl Frame for Xz {
    const NAME: &'static str = "xz";

    fn begin(&mut self, source: &mut Source<'_>, nth: u64) -> Result<bool, CodecError> {
        if nth > 0 {
            let padding = skip_zeros(source)?;
            if source.at_end()? && padding.is_multiple_of(4) {
                return Ok(false);
            }
            if !padding.is_multiple_of(4) || !source.peek(XZ_MAGIC.len())?.starts_with(&XZ_MAGIC) {
                return Err(trailing(source, Self::NAME));
            }
        }
        let stream = Stream::new_stream_decoder(self.memory_max, TELL_UNSUPPORTED_CHECK);
        self.stream = Some(stream.map_err(|error| no_decoder(source, Self::NAME, error))?);
        Ok(true)
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, StepError> {
        step(self.stream.as_mut(), Self::NAME, input, out)
    }
}

fn skip_zeros(source: &mut Source<'_>) -> Result<u64, CodecError> {
    let start = source.position();
    loop {
        let available = source.fill()?;
        let zeros = available.iter().take_while(|byte| **byte == 0).count();
        let more = zeros > 0 && zeros == available.len();
        source.consume(zeros);
        if !more {
            return Ok(source.position() - start);
        }
    }
}

fn no_decoder(source: &Source<'_>, name: &str, error: Error) -> CodecError {
    source.fail(CodecErrorKind::Unsupported, format!("{name}: no decoder: {error}"))
}

fn step(stream: Option<&mut Stream>, name: &str, input: &[u8], out: &mut [u8]) -> Result<Step, StepError> {
    let Some(stream) = stream else {
        return Err((CodecErrorKind::Corrupt, format!("{name}: there is no stream")));
    };
    let (used, made) = (stream.total_in(), stream.total_out());
    let status = stream.process(input, out, Action::Run).map_err(|error| {
        let (kind, message) = match error {
            Error::MemLimit => (CodecErrorKind::WindowTooLarge, "the dictionary is above the limit"),
            Error::Mem => (CodecErrorKind::WindowTooLarge, "no memory for the dictionary"),
            Error::Options => (CodecErrorKind::Unsupported, "a filter or option is not supported"),
            Error::NoCheck | Error::UnsupportedCheck => {
                (CodecErrorKind::Unsupported, "the kind of checksum is not supported")
            }
            Error::Format => (CodecErrorKind::Corrupt, "the header is wrong"),
            Error::Data | Error::Program => (CodecErrorKind::Corrupt, "the data are corrupt"),
        };
        (kind, format!("{name}: {message}"))
    })?;
    Ok(Step {
        // Both differences are at most the length of a slice.
        used: (stream.total_in() - used) as usize,
        made: (stream.total_out() - made) as usize,
        ended: status == Status::StreamEnd,
    })
}
