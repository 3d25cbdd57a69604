//! Digests of a segment's beginning, to compare two copies of one segment without holding either.

use crate::model::Lsn;

/// Fingerprint of a stretch of bytes: its length, CRC-32C and a 64-bit mix. Equal digests mean equal bytes as
/// far as damage goes; nobody defends against forgery here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Digest {
    /// Bytes digested.
    pub bytes: u64,
    /// Their CRC-32C.
    pub crc: u32,
    /// A second, independent fingerprint.
    pub mix: u64,
}

/// Digest of a segment from its start up to a position, with marks on the way that tell where two copies part.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PrefixDigest {
    /// First position not digested.
    pub until: Lsn,
    /// Of the bytes before it.
    pub digest: Digest,
    /// CRC-32C of the bytes up to each multiple of `mark_bytes` before `until`.
    pub marks: Vec<u32>,
    /// Distance of the marks.
    pub mark_bytes: u64,
}

impl PrefixDigest {
    /// The stretch, as offsets from the start of the segment, in which two copies differ first; `None` if the
    /// copies are equal or were not digested alike.
    pub fn first_difference(&self, other: &PrefixDigest) -> Option<(u64, u64)> {
        if self.digest == other.digest || self.until != other.until || self.mark_bytes != other.mark_bytes {
            return None;
        }
        let end = self.digest.bytes.min(other.digest.bytes);
        let index = self.marks.iter().zip(&other.marks).position(|(a, b)| a != b);
        let index = index.unwrap_or(self.marks.len().min(other.marks.len())) as u64;
        let start = index.saturating_mul(self.mark_bytes);
        Some((start, start.saturating_add(self.mark_bytes).min(end).max(start)))
    }
}

const LANES: usize = 4;
const FACTORS: [u64; LANES] =
    [0x9E37_79B9_7F4A_7C15, 0xC2B2_AE3D_27D4_EB4F, 0x1656_67B1_9E37_79F9, 0xD6E8_FEB8_6659_FD93];

/// A digest in the making. Only the last piece may have a length that is no multiple of 32.
#[derive(Debug, Clone)]
pub(crate) struct Rolling {
    bytes: u64,
    crc: u32,
    lanes: [u64; LANES],
}

impl Rolling {
    pub(crate) fn new() -> Self {
        Rolling { bytes: 0, crc: 0, lanes: FACTORS }
    }

    pub(crate) fn update(&mut self, piece: &[u8]) {
        self.bytes += piece.len() as u64;
        self.crc = crc32c::crc32c_append(self.crc, piece);
        let mut blocks = piece.chunks_exact(8 * LANES);
        for block in &mut blocks {
            self.mix(block);
        }
        let rest = blocks.remainder();
        if !rest.is_empty() {
            let mut block = [0u8; 8 * LANES];
            block[..rest.len()].copy_from_slice(rest);
            self.mix(&block);
        }
    }

    #[inline]
    fn mix(&mut self, block: &[u8]) {
        for ((lane, factor), word) in self.lanes.iter_mut().zip(FACTORS).zip(block.chunks_exact(8)) {
            let word = u64::from_le_bytes(word.try_into().unwrap_or_default());
            *lane = (*lane ^ word).wrapping_mul(factor).rotate_left(29);
        }
    }

    pub(crate) fn crc(&self) -> u32 {
        self.crc
    }

    pub(crate) fn digest(&self) -> Digest {
        let mix = self.lanes.iter().fold(self.bytes, |sum, lane| (sum.rotate_left(17) ^ lane).wrapping_mul(FACTORS[0]));
        Digest { bytes: self.bytes, crc: self.crc, mix }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn one_changed_byte_changes_both_parts(
            mut bytes in proptest::collection::vec(any::<u8>(), 1..500), at: prop::sample::Index, change in 1u8..,
        ) {
            let digest = |bytes: &[u8]| {
                let mut rolling = Rolling::new();
                rolling.update(bytes);
                rolling.digest()
            };
            let before = digest(&bytes);
            let at = at.index(bytes.len());
            bytes[at] ^= change;
            let after = digest(&bytes);
            prop_assert_ne!(before.crc, after.crc);
            prop_assert_ne!(before.mix, after.mix);
        }

        #[test]
        fn pieces_add_up(blocks in 0usize..6, cut in 0usize..6, rest in 0usize..32) {
            let bytes: Vec<u8> = (0..blocks * 32 + rest).map(|n| (n * 7) as u8).collect();
            let cut = cut.min(blocks) * 32;
            let mut whole = Rolling::new();
            whole.update(&bytes);
            let mut pieces = Rolling::new();
            pieces.update(&bytes[..cut]);
            pieces.update(&bytes[cut..]);
            prop_assert_eq!(whole.digest(), pieces.digest());
        }
    }
}
