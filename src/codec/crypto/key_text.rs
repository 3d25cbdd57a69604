use super::{KeyError, LIBSODIUM_KEY_BYTES};

/// How the text of a libsodium key becomes its bytes (`WALG_LIBSODIUM_KEY_TRANSFORM`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum KeyTransform {
    /// The bytes themselves: at least 25, padded with zeros or cut to 32.
    #[default]
    None,
    /// 64 hex digits.
    Hex,
    /// Standard Base64 with padding.
    Base64,
}

/// wal-g refuses shorter keys.
const SHORTEST: usize = 25;

impl KeyTransform {
    /// The transform of that name; an empty one is the default.
    ///
    /// # Errors
    /// The name is not one that wal-g knows.
    pub fn from_name(name: &str) -> Result<Self, KeyError> {
        match name {
            "" | "none" => Ok(KeyTransform::None),
            "hex" => Ok(KeyTransform::Hex),
            "base64" => Ok(KeyTransform::Base64),
            other => Err(KeyError::UnknownTransform(other.to_string())),
        }
    }

    pub(super) fn key(self, text: &[u8]) -> Result<[u8; LIBSODIUM_KEY_BYTES], KeyError> {
        let bytes = match self {
            KeyTransform::None => {
                if text.len() < SHORTEST {
                    return Err(KeyError::TooShort(text.len()));
                }
                let mut key = [0; LIBSODIUM_KEY_BYTES];
                let length = text.len().min(key.len());
                key[..length].copy_from_slice(&text[..length]);
                return Ok(key);
            }
            KeyTransform::Hex => hex(text).ok_or(KeyError::BadEncoding("hex"))?,
            KeyTransform::Base64 => base64(text).ok_or(KeyError::BadEncoding("Base64"))?,
        };
        <[u8; LIBSODIUM_KEY_BYTES]>::try_from(&bytes[..]).map_err(|_| KeyError::WrongLength(bytes.len()))
    }
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: &u8| char::from(*byte).to_digit(16);
    let (pairs, rest) = text.as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    // Two digits below 16 make a byte.
    pairs.iter().map(|[high, low]| Some((digit(high)? << 4 | digit(low)?) as u8)).collect()
}

fn base64(text: &[u8]) -> Option<Vec<u8>> {
    // Line breaks inside are ignored, as Go's decoder does.
    let text: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let (groups, rest) = text.as_chunks::<4>();
    if !rest.is_empty() {
        return None;
    }
    let mut bytes = Vec::with_capacity(groups.len() * 3);
    for (nth, group) in groups.iter().enumerate() {
        let padding = group.iter().rev().take_while(|byte| **byte == b'=').count();
        if padding > 2 || (padding > 0 && nth + 1 < groups.len()) {
            return None;
        }
        let mut bits = 0_u32;
        for byte in &group[..4 - padding] {
            bits = bits << 6 | u32::from(sextet(*byte)?);
        }
        bits <<= 6 * padding;
        bytes.extend_from_slice(&bits.to_be_bytes()[1..4 - padding]);
    }
    Some(bytes)
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' => 62,
        b'/' => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn transforms() {
        let key = |transform: KeyTransform, text: &[u8]| transform.key(text);
        assert_eq!(key(KeyTransform::None, &[7; 24]), Err(KeyError::TooShort(24)));
        let padded = key(KeyTransform::None, &[7; 25]).unwrap();
        assert_eq!((&padded[..25], &padded[25..]), (&[7; 25][..], &[0; 7][..]));
        assert_eq!(key(KeyTransform::None, &[7; 40]), Ok([7; 32]));
        assert_eq!(key(KeyTransform::Hex, &b"aB".repeat(32)), Ok([0xAB; 32]));
        assert_eq!(key(KeyTransform::Hex, &b"aB".repeat(31)), Err(KeyError::WrongLength(31)));
        assert_eq!(key(KeyTransform::Hex, &[&b"aB".repeat(32)[..], b"\n"].concat()), Err(KeyError::BadEncoding("hex")));
        let text = b"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let bytes: Vec<u8> = (0..32).collect();
        assert_eq!(key(KeyTransform::Base64, text).unwrap()[..], bytes);
        assert_eq!(key(KeyTransform::Base64, &text[1..]), Err(KeyError::BadEncoding("Base64")));
        assert_eq!(key(KeyTransform::Base64, b"AAE="), Err(KeyError::WrongLength(2)));
        assert_eq!(key(KeyTransform::Base64, b"A===AAAA"), Err(KeyError::BadEncoding("Base64")));
        assert_eq!(KeyTransform::from_name("base64"), Ok(KeyTransform::Base64));
        assert!(KeyTransform::from_name("rot13").is_err());
    }
}
