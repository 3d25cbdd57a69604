use std::fmt;

use serde::{Deserialize, Serialize};

/// How an object is compressed, as its extension says. The extension never shows encryption.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[repr(u8)]
pub enum CodecKind {
    /// Stored as it is.
    None,
    /// LZ4 frame.
    Lz4,
    /// Zstandard frame.
    Zstd,
    /// The old "lzma alone" container.
    Lzma,
    /// Raw Brotli stream.
    Brotli,
    /// gzip, possibly several members.
    Gzip,
    /// lzop container.
    Lzop,
    /// xz container.
    Xz,
    /// bzip2.
    Bzip2,
    /// Snappy frame format.
    Snappy,
}

impl CodecKind {
    /// Every kind with the extensions it is found under.
    pub const ALL: &'static [(CodecKind, &'static str)] = &[
        (CodecKind::Lz4, "lz4"),
        (CodecKind::Zstd, "zst"),
        (CodecKind::Lzma, "lzma"),
        (CodecKind::Brotli, "br"),
        (CodecKind::Gzip, "gz"),
        (CodecKind::Lzop, "lzo"),
        (CodecKind::Xz, "xz"),
        (CodecKind::Bzip2, "bz2"),
        (CodecKind::Snappy, "snappy"),
    ];

    /// The kind an extension (without its dot) stands for.
    pub fn from_extension(extension: &[u8]) -> Option<Self> {
        Self::ALL.iter().find(|(_, known)| known.as_bytes() == extension).map(|(kind, _)| *kind)
    }

    /// The extension without its dot; empty for uncompressed objects.
    pub fn extension(self) -> &'static str {
        Self::ALL.iter().find(|(kind, _)| *kind == self).map_or("", |(_, extension)| extension)
    }

    /// Splits a file name into its stem and codec; a name without a known codec extension is uncompressed.
    pub fn split(name: &[u8]) -> (&[u8], CodecKind) {
        if let Some(dot) = name.iter().rposition(|b| *b == b'.')
            && let Some(kind) = Self::from_extension(&name[dot + 1..])
        {
            return (&name[..dot], kind);
        }
        (name, CodecKind::None)
    }

    /// The fewest bytes that a whole segment of zeros can shrink to with this codec: the format's best ratio. What is
    /// smaller cannot be a segment, whatever it holds; encryption only adds to it.
    pub fn plausible_segment_bytes_min(self, segment_bytes: u64) -> u64 {
        let best_ratio = match self {
            CodecKind::None => 1,
            // A length byte of 255 is the best that LZ4 and LZO can say.
            CodecKind::Lz4 | CodecKind::Lzop => 256,
            CodecKind::Gzip => 1040,
            // Copies of at most 64 bytes cost three.
            CodecKind::Snappy => 32,
            // 128 KiB blocks of one repeated byte cost four.
            CodecKind::Zstd => 1 << 15,
            CodecKind::Lzma | CodecKind::Xz => 1 << 14,
            CodecKind::Bzip2 => 1 << 16,
            CodecKind::Brotli => 1 << 20,
        };
        (segment_bytes / best_ratio).max(1)
    }
}

impl fmt::Display for CodecKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CodecKind::None => "none",
            CodecKind::Lz4 => "lz4",
            CodecKind::Zstd => "zstd",
            CodecKind::Lzma => "lzma",
            CodecKind::Brotli => "brotli",
            CodecKind::Gzip => "gzip",
            CodecKind::Lzop => "lzop",
            CodecKind::Xz => "xz",
            CodecKind::Bzip2 => "bzip2",
            CodecKind::Snappy => "snappy",
        })
    }
}
