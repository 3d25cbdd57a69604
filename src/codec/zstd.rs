use zstd::zstd_safe::{DCtx, DParameter, InBuffer, OutBuffer, get_error_name};

use super::Limits;
use super::error::{CodecError, CodecErrorKind};
use super::frames::{Frame, Step, StepError, trailing};
use super::lz4::is_skippable;
use super::source::Source;

/// First bytes of a frame.
pub(crate) const MAGIC: [u8; 4] = [0x28, 0xB5, 0x2F, 0xFD];

/// Zstandard frames, concatenated, skippable ones between them.
pub(crate) struct Zstd {
    context: DCtx<'static>,
    data_frames: u64,
}

impl Zstd {
    pub(crate) fn new(limits: &Limits) -> Self {
        let mut context = DCtx::create();
        // 10 and 31 are the bounds of the library on 64-bit machines; a value inside them is never refused.
        let log = limits.window_max.max(1).ilog2().clamp(10, 31);
        let _ = context.set_parameter(DParameter::WindowLogMax(log));
        Zstd { context, data_frames: 0 }
    }
}

impl Frame for Zstd {
    const NAME: &'static str = "zstd";

    fn begin(&mut self, source: &mut Source<'_>, nth: u64) -> Result<bool, CodecError> {
        loop {
            let head = source.peek(8)?;
            if head.is_empty() {
                return if self.data_frames > 0 {
                    Ok(false)
                } else {
                    Err(source.fail(CodecErrorKind::Empty, "zstd: there is no frame"))
                };
            }
            let Some((&magic, rest)) = head.split_first_chunk::<4>() else {
                return Err(if nth > 0 {
                    trailing(source, Self::NAME)
                } else {
                    source.fail(CodecErrorKind::Truncated, "zstd: the frame header is cut")
                });
            };
            if magic == MAGIC {
                self.data_frames += 1;
                return Ok(true);
            }
            if !is_skippable(magic) {
                return Err(if nth > 0 {
                    trailing(source, Self::NAME)
                } else {
                    source.fail(CodecErrorKind::Corrupt, "zstd: the magic number is wrong")
                });
            }
            let Some(length) = rest.first_chunk() else {
                return Err(source.fail(CodecErrorKind::Truncated, "zstd: a skippable frame is cut"));
            };
            let length = u32::from_le_bytes(*length);
            source.skip(u64::from(length) + 8, "zstd: a skippable frame")?;
        }
    }

    fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, StepError> {
        let mut input = InBuffer::around(input);
        let mut output = OutBuffer::around(out);
        let hint = self.context.decompress_stream(&mut output, &mut input).map_err(|code| {
            let name = get_error_name(code);
            let kind = match name {
                // The library knows no other way to tell its error codes apart.
                "Frame requires too much memory for decoding" => CodecErrorKind::WindowTooLarge,
                "Dictionary mismatch" | "Unsupported parameter" => CodecErrorKind::Unsupported,
                "Version not supported" | "Unsupported frame parameter" => CodecErrorKind::Unsupported,
                _ => CodecErrorKind::Corrupt,
            };
            (kind, format!("zstd: {}", name.to_lowercase()))
        })?;
        Ok(Step { used: input.pos(), made: output.pos(), ended: hint == 0 })
    }
}
