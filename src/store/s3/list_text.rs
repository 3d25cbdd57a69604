//! The texts inside S3 listings: entities, URL encoding, times.

use crate::model::Timestamp;

/// Appends a text with its entities resolved. What is no entity stays as it is.
pub(super) fn decode_text(text: &[u8], out: &mut Vec<u8>) {
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'&') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at..];
        // The longest, `&#x10FFFF;` with a few leading zeros, ends soon.
        let end = rest.iter().take(16).position(|byte| *byte == b';');
        match end.and_then(|end| entity(&rest[1..end]).map(|decoded| (end, decoded))) {
            Some((end, decoded)) => {
                out.extend_from_slice(decoded.encode_utf8(&mut [0; 4]).as_bytes());
                rest = &rest[end + 1..];
            }
            None => {
                out.push(b'&');
                rest = &rest[1..];
            }
        }
    }
    out.extend_from_slice(rest);
}

fn entity(name: &[u8]) -> Option<char> {
    let number = |digits: &[u8], radix| {
        let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
        u32::from_str_radix(digits, radix).ok().and_then(char::from_u32)
    };
    match name {
        b"lt" => Some('<'),
        b"gt" => Some('>'),
        b"amp" => Some('&'),
        b"quot" => Some('"'),
        b"apos" => Some('\''),
        [b'#', b'x' | b'X', digits @ ..] => number(digits, 16),
        [b'#', digits @ ..] => number(digits, 10),
        _ => None,
    }
}

/// Undoes `encoding-type=url`, `+` for a blank included. `None`: there is nothing to undo.
pub(super) fn decode_url(text: &[u8]) -> Option<Vec<u8>> {
    if !text.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return None;
    }
    let digit = |at: usize| text.get(at).and_then(|byte| char::from(*byte).to_digit(16));
    let mut out = Vec::with_capacity(text.len());
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        at += 1;
        out.push(match byte {
            b'+' => b' ',
            b'%' => match (digit(at), digit(at + 1)) {
                (Some(high), Some(low)) => {
                    at += 2;
                    (high << 4 | low) as u8
                }
                _ => b'%',
            },
            byte => *byte,
        });
    }
    Some(out)
}

/// `2026-11-20T10:00:00.000Z`, or any other form of RFC 3339 or of a mail header.
pub(super) fn parse_time(text: &[u8]) -> Option<Timestamp> {
    fixed_time(text).or_else(|| {
        let text = std::str::from_utf8(text).ok()?;
        text.parse().ok().or_else(|| jiff::fmt::rfc2822::parse(text).ok().map(|zoned| zoned.timestamp()))
    })
}

/// The form nearly all rows have, without the general parser's cost per row.
fn fixed_time(text: &[u8]) -> Option<Timestamp> {
    let number = |from: usize, to: usize| {
        text.get(from..to)?
            .iter()
            .try_fold(0i64, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
    };
    let marks = [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')];
    if text.last() != Some(&b'Z') || marks.iter().any(|(at, mark)| text.get(*at) != Some(mark)) {
        return None;
    }
    let nanosecond = match text.len() {
        20 => 0,
        24 if text.get(19) == Some(&b'.') => number(20, 23)? * 1_000_000,
        _ => return None,
    };
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // Days that not every month has are left to the general parser.
    let usual = (1..=12).contains(&month) && (1..=28).contains(&day) && hour < 24 && minute < 60 && second < 60;
    if !usual || year < 1 {
        return None;
    }
    // Days since 1970 in the proleptic Gregorian calendar, years counted from March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted / 400;
    let year_of_era = shifted % 400;
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468;
    Timestamp::new(days * 86_400 + hour * 3600 + minute * 60 + second, nanosecond as i32).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text(encoded: &str) -> String {
        let mut out = Vec::new();
        decode_text(encoded.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn entities() {
        assert_eq!(text("a&amp;b&lt;&gt;&quot;&apos;&#65;&#x1f;&#X41;"), "a&b<>\"'A\u{1f}A");
        assert_eq!(
            text("&nbsp;&;&#;&#x;&#xD800;&#99999999;&#+65;&amp"),
            "&nbsp;&;&#;&#x;&#xD800;&#99999999;&#+65;&amp"
        );
        assert_eq!(text("&&amp;amp;"), "&&amp;");
    }

    #[test]
    fn url_encoding() {
        assert_eq!(decode_url(b"a/b-c_d.e"), None);
        assert_eq!(decode_url(b"a+b%2Bc%2fd%").unwrap(), b"a b+c/d%");
        assert_eq!(decode_url(b"%ff%0%GG").unwrap(), b"\xff%0%GG");
    }

    #[test]
    fn times() {
        let want: Timestamp = "2024-02-29T23:59:59.123Z".parse().unwrap();
        assert_eq!(parse_time(b"2024-02-29T23:59:59.123Z"), Some(want));
        assert_eq!(parse_time(b"Fri, 20 Nov 2026 10:00:30 GMT"), "2026-11-20T10:00:30Z".parse().ok());
        assert_eq!(parse_time(b"2026-11-20T10:00:30.123456789+01:00"), "2026-11-20T09:00:30.123456789Z".parse().ok());
        for bad in ["", "Z", "2026-13-01T00:00:00.000Z", "2026-02-30T00:00:00.000Z", "2026-11-20 10", "\u{663}"] {
            assert_eq!(parse_time(bad.as_bytes()), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn fixed_times_agree_with_the_general_parser(second in -62_135_596_800i64..253_370_764_800, ms in 0i32..1000) {
            let time = Timestamp::new(second, 0).unwrap() + jiff::SignedDuration::from_millis(ms.into());
            let written = jiff::fmt::strtime::format("%Y-%m-%dT%H:%M:%S.%3fZ", time).unwrap();
            prop_assert_eq!(parse_time(written.as_bytes()), Some(time), "{}", written);
            let _ = fixed_time(&written.as_bytes()[..(ms % 25) as usize]);
        }
    }
}
