/// What a PAX extension header says about the next member, as far as it matters here.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(super) struct Pax {
    pub(super) path: Option<Vec<u8>>,
    pub(super) link_path: Option<Vec<u8>>,
    pub(super) size: Option<u64>,
    pub(super) mtime: Option<i64>,
    pub(super) sparse: bool,
}

impl Pax {
    /// Reads records of the form `LENGTH KEY=VALUE\n`, where LENGTH counts all of the record.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Pax, &'static str> {
        let mut pax = Pax::default();
        while !bytes.is_empty() {
            // Some writers pad the last record with zeros.
            if bytes.iter().all(|byte| *byte == 0) {
                break;
            }
            let space = bytes.iter().take(20).position(|byte| *byte == b' ').ok_or("a record has no length")?;
            let length = decimal(&bytes[..space]).ok_or("the length of a record is no number")?;
            let length = usize::try_from(length).map_err(|_| "a record is too long")?;
            let record = bytes.get(space + 1..length).ok_or("a record is cut")?;
            bytes = &bytes[length..];
            let record = record.strip_suffix(b"\n").ok_or("a record does not end with its line")?;
            let equals = record.iter().position(|byte| *byte == b'=').ok_or("a record has no value")?;
            pax.set(&record[..equals], &record[equals + 1..])?;
        }
        Ok(pax)
    }

    fn set(&mut self, key: &[u8], value: &[u8]) -> Result<(), &'static str> {
        // An empty value takes the extension back.
        let text = (!value.is_empty()).then(|| value.to_vec());
        match key {
            b"path" => self.path = text,
            b"linkpath" => self.link_path = text,
            b"size" if value.is_empty() => self.size = None,
            b"size" => self.size = Some(decimal(value).ok_or("the size in a record is no number")?),
            b"mtime" if value.is_empty() => self.mtime = None,
            b"mtime" => self.mtime = Some(seconds(value).ok_or("the time in a record is no number")?),
            _ if key.starts_with(b"GNU.sparse.") => self.sparse = true,
            _ => {}
        }
        Ok(())
    }
}

fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok().filter(|value| *value <= i64::MAX as u64)
}

/// Whole seconds of a decimal fraction, rounded down.
fn seconds(value: &[u8]) -> Option<i64> {
    let (negative, digits) = match value.strip_prefix(b"-") {
        Some(rest) => (true, rest),
        None => (false, value),
    };
    let mut parts = digits.splitn(2, |byte| *byte == b'.');
    let whole = i64::try_from(decimal(parts.next()?)?).ok()?;
    let fraction = parts.next().unwrap_or_default();
    if !fraction.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let rounds = negative && fraction.iter().any(|byte| *byte != b'0');
    Some(if negative { -whole - i64::from(rounds) } else { whole })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records() {
        let pax = Pax::parse(b"15 path=a\nb/cc\n23 mtime=-1700000.5000\n13 size=1234\n10 path=x\n").unwrap();
        assert_eq!(pax.path.as_deref(), Some(&b"x"[..]));
        assert_eq!((pax.size, pax.mtime), (Some(1234), Some(-1_700_001)));
        assert_eq!(Pax::parse(b"10 path=x\n\0\0\0").unwrap().path.as_deref(), Some(&b"x"[..]));
        assert_eq!(Pax::parse(b"10 path=x\n8 path=\n").unwrap(), Pax::default());
        for bad in [&b"8 path=x\n"[..], b"11 path=x\n", b"path=x\n", b" path=x\n", b"3 \n", b"2 ", b"0 a=b\n"] {
            assert!(Pax::parse(bad).is_err(), "{}", bad.escape_ascii());
        }
        assert!(Pax::parse(b"99999999999999999999 path=x\n").is_err());
        assert!(Pax::parse(b"30 size=18446744073709551615 \n").is_err());
    }
}
