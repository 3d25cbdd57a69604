use super::{BLOCK_BYTES, TarProblemKind};

/// What kind of thing a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum EntryKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A hard link to an earlier member.
    HardLink,
    /// A device or a FIFO.
    Special,
    /// Anything else, by its type flag; its body can be read.
    Other(u8),
}

/// The fields of one header block, before extensions apply.
pub(super) struct Header {
    pub(super) flag: u8,
    pub(super) name: Vec<u8>,
    pub(super) link_name: Vec<u8>,
    pub(super) mode: u32,
    pub(super) uid: u64,
    pub(super) gid: u64,
    pub(super) size: u64,
    pub(super) mtime: i64,
}

pub(super) type HeaderProblem = (TarProblemKind, String);

impl Header {
    pub(super) fn parse(block: &[u8; BLOCK_BYTES]) -> Result<Header, HeaderProblem> {
        if !checksum_fits(block) {
            return Err((TarProblemKind::BadChecksum, "the checksum of a header is wrong".into()));
        }
        let flag = block[156];
        let mut name = text(&block[..100]).to_vec();
        // GNU's own format keeps other things where POSIX keeps the prefix.
        let prefix = text(&block[345..500]);
        if block[257..263] == *b"ustar\0" && !prefix.is_empty() {
            name = [prefix, b"/", &name].concat();
        }
        let unsigned = |field: &[u8], what: &str| {
            number(field)
                .and_then(|value| u64::try_from(value).ok())
                .ok_or_else(|| (TarProblemKind::BadNumber, format!("the {what} in a header is no number")))
        };
        let blank = block[124..136].iter().all(|byte| matches!(byte, 0 | b' '));
        let size = unsigned(&block[124..136], "size")?;
        if i64::try_from(size).is_err() || (blank && has_body(flag)) {
            return Err((TarProblemKind::BadNumber, format!("the size in a header is absurd: {size}")));
        }
        let mode = unsigned(&block[100..108], "mode")?;
        let mode = u32::try_from(mode).map_err(|_| (TarProblemKind::BadNumber, "the mode is absurd".to_string()))?;
        let mtime = number(&block[136..148])
            .ok_or_else(|| (TarProblemKind::BadNumber, "the time in a header is no number".to_string()))?;
        Ok(Header {
            flag,
            name,
            link_name: text(&block[157..257]).to_vec(),
            mode,
            uid: unsigned(&block[108..116], "owner")?,
            gid: unsigned(&block[116..124], "group")?,
            size,
            mtime,
        })
    }

    pub(super) fn kind(&self) -> EntryKind {
        match self.flag {
            // Before POSIX a directory was a file whose name ends in a slash.
            0 if self.name.ends_with(b"/") => EntryKind::Directory,
            b'0' | 0 | b'7' => EntryKind::File,
            b'1' => EntryKind::HardLink,
            b'2' => EntryKind::Symlink,
            b'3' | b'4' | b'6' => EntryKind::Special,
            b'5' => EntryKind::Directory,
            flag => EntryKind::Other(flag),
        }
    }
}

/// Links, devices, directories and FIFOs have no body, whatever their size says.
pub(super) fn has_body(flag: u8) -> bool {
    !matches!(flag, b'1'..=b'6')
}

/// Whether bytes begin with a block that is a tar header: its checksum fits, and it is not empty.
pub fn is_header(bytes: &[u8]) -> bool {
    bytes.first_chunk::<BLOCK_BYTES>().is_some_and(|block| block[0] != 0 && checksum_fits(block))
}

/// The sum counts its own field as spaces; old writers added signed bytes.
fn checksum_fits(block: &[u8; BLOCK_BYTES]) -> bool {
    let Some(stored) = number(&block[148..156]) else { return false };
    let counted = || block.iter().enumerate().map(|(at, byte)| if (148..156).contains(&at) { b' ' } else { *byte });
    let unsigned: i64 = counted().map(i64::from).sum();
    let signed: i64 = counted().map(|byte| i64::from(byte as i8)).sum();
    stored == unsigned || stored == signed
}

/// A field up to its first NUL.
fn text(field: &[u8]) -> &[u8] {
    field.split(|byte| *byte == 0).next().unwrap_or_default()
}

/// An octal number between spaces, ended by NUL or space; or, with the first bit set, a base-256 one.
/// A blank field is 0.
fn number(field: &[u8]) -> Option<i64> {
    let (&first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        // Two's complement: bit 6 of the first byte is the sign.
        let negative = first & 0x40 != 0;
        let head = i128::from(first & 0x3F) - if negative { 0x40 } else { 0 };
        let value = rest.iter().try_fold(head, |value, byte| value.checked_mul(256)?.checked_add(i128::from(*byte)))?;
        return i64::try_from(value).ok();
    }
    let digits = field.iter().position(|byte| *byte != b' ').map_or(&[][..], |start| &field[start..]);
    let end = digits.iter().position(|byte| matches!(byte, 0 | b' ')).unwrap_or(digits.len());
    let (digits, tail) = digits.split_at(end);
    if tail.iter().any(|byte| !matches!(byte, 0 | b' ')) {
        return None;
    }
    digits.iter().try_fold(0_i64, |value, byte| match byte {
        b'0'..=b'7' => value.checked_mul(8)?.checked_add(i64::from(byte - b'0')),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        assert_eq!(number(b"0000644\0"), Some(0o644));
        assert_eq!(number(b"   644 \0"), Some(0o644));
        assert_eq!(number(b"00000001750"), Some(0o1750));
        assert_eq!(number(b"\0\0\0\0"), Some(0));
        assert_eq!(number(b"        "), Some(0));
        assert_eq!(number(b"0000648\0"), None);
        assert_eq!(number(b"64 4\0\0\0\0"), None);
        assert_eq!(number(b"-1\0"), None);
        assert_eq!(number(b"777777777777"), Some(0o777777777777));
        assert_eq!(number(b"\x80\0\0\0\0\0\0\x02\0\0\0\0"), Some(8 << 30));
        assert_eq!(number(&[0xFF; 12]), Some(-1));
        assert_eq!(number(b"\x80\0\0\0\x80\0\0\0\0\0\0\0"), None);
        assert_eq!(number(b"\xBF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF"), None);
    }
}
