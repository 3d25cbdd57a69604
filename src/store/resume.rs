//! Where a listing goes on, as a page token of the stores that keep their own order (disk, memory).

/// What a listing has passed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Resume {
    /// Nothing yet.
    #[default]
    Start,
    /// This key and all before it.
    Key(Vec<u8>),
    /// All keys that begin so, and all before them: they were folded into a common prefix.
    Folded(Vec<u8>),
}

impl Resume {
    /// Whether the listing is past this key.
    pub(super) fn passed(&self, key: &[u8]) -> bool {
        match self {
            Resume::Start => false,
            Resume::Key(last) => key <= last.as_slice(),
            Resume::Folded(prefix) => key.starts_with(prefix) || key < prefix.as_slice(),
        }
    }

    /// Whether the listing is past every key that begins so.
    pub(super) fn passed_all(&self, prefix: &[u8]) -> bool {
        match self {
            Resume::Start => false,
            Resume::Key(last) => prefix < last.as_slice() && !last.starts_with(prefix),
            Resume::Folded(folded) => {
                prefix.starts_with(folded) || (prefix < folded.as_slice() && !folded.starts_with(prefix))
            }
        }
    }

    pub(super) fn to_token(&self) -> String {
        let (kind, bytes) = match self {
            Resume::Start => ('s', &[][..]),
            Resume::Key(key) => ('k', key.as_slice()),
            Resume::Folded(prefix) => ('p', prefix.as_slice()),
        };
        let mut token = String::with_capacity(1 + 2 * bytes.len());
        token.push(kind);
        for byte in bytes {
            for digit in [byte >> 4, byte & 15] {
                token.push(char::from_digit(u32::from(digit), 16).unwrap_or('0'));
            }
        }
        token
    }

    pub(super) fn from_token(token: &str) -> Option<Self> {
        let mut digits = token.chars();
        let kind = digits.next()?;
        let digits: Vec<u8> = digits.map(|digit| digit.to_digit(16).map(|digit| digit as u8)).collect::<Option<_>>()?;
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        let bytes: Vec<u8> = digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect();
        match kind {
            's' if bytes.is_empty() => Some(Resume::Start),
            'k' => Some(Resume::Key(bytes)),
            'p' => Some(Resume::Folded(bytes)),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_folded_prefix_is_passed_as_a_whole() {
        let folded = Resume::Folded(b"a/".to_vec());
        assert!(folded.passed(b"a/zz") && folded.passed(b"a") && folded.passed(b"Z"));
        assert!(!folded.passed(b"a0") && !folded.passed_all(b"b/") && folded.passed_all(b"a/b/"));
        assert!(!Resume::Key(b"a/b/c".to_vec()).passed_all(b"a/b/"));
        assert!(Resume::Key(b"a/b/c".to_vec()).passed_all(b"a/a/"));
    }

    proptest! {
        #[test]
        fn tokens_round_trip(bytes in proptest::collection::vec(any::<u8>(), 0..20), kind in 0..2, junk in "\\PC*") {
            let resume = if kind == 0 { Resume::Key(bytes) } else { Resume::Folded(bytes) };
            prop_assert_eq!(Resume::from_token(&resume.to_token()), Some(resume));
            let _ = Resume::from_token(&junk);
        }
    }
}
