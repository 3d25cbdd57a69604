//! Where archives begin inside a listing, and which tool wrote them: from keys alone.

use crate::catalog::LayoutKind;

/// What a key says about the archive it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place<'a> {
    /// In an archive of wal-g or wal-e that begins at `root`.
    WalG {
        /// Empty or ending in `/`.
        root: &'a [u8],
    },
    /// In an archive that is recognised but not read yet.
    Other {
        /// Who wrote it.
        layout: LayoutKind,
        /// Empty or ending in `/`.
        root: &'a [u8],
    },
    /// In no archive that is known.
    None,
}

const WALG_FOLDERS: [&[u8]; 3] = [b"basebackups_005/", b"wal_005/", b"catchup_005/"];

/// Looks at one whole key.
pub fn place(key: &[u8]) -> Place<'_> {
    let mut from = 0;
    loop {
        let rest = &key[from..];
        if WALG_FOLDERS.iter().any(|folder| rest.starts_with(folder)) {
            return Place::WalG { root: &key[..from] };
        }
        if let Some(layout) = other(rest) {
            return Place::Other { layout, root: &key[..from] };
        }
        match rest.iter().position(|byte| *byte == b'/') {
            Some(slash) => from += slash + 1,
            None => return Place::None,
        }
    }
}

/// Marks that only one tool writes, seen from the root of its archive.
fn other(rest: &[u8]) -> Option<LayoutKind> {
    let parts: Vec<&[u8]> = rest.splitn(4, |byte| *byte == b'/').collect();
    match parts.as_slice() {
        [b"archive", _, b"archive.info" | b"archive.info.copy"]
        | [b"backup", _, b"backup.info" | b"backup.info.copy"] => Some(LayoutKind::Pgbackrest),
        [b"base", id, b"backup.info"] if is_barman_id(id) => Some(LayoutKind::Barman),
        [b"base", id, file] if is_barman_id(id) && file.starts_with(b"data.tar") => Some(LayoutKind::Barman),
        [b"wals", dir, _] if dir.len() == 16 && dir.iter().all(u8::is_ascii_hexdigit) => Some(LayoutKind::Barman),
        _ => None,
    }
}

/// `20261120T234104`.
fn is_barman_id(id: &[u8]) -> bool {
    id.len() == 15 && id[8] == b'T' && id.iter().enumerate().all(|(at, byte)| at == 8 || byte.is_ascii_digit())
}

/// Reads any bytes without panic.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let _ = place(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn roots_are_found_at_any_depth() {
        assert_eq!(place(b"wal_005/x"), Place::WalG { root: b"" });
        assert_eq!(place(b"a//b/basebackups_005/x"), Place::WalG { root: b"a//b/" });
        assert_eq!(place(b"my_wal_005/x"), Place::None);
        assert_eq!(place(b"photos/1.jpg"), Place::None);
        assert_eq!(place(b"wal_005"), Place::None);
        let other = |layout, root| Place::Other { layout, root };
        assert_eq!(place(b"r/archive/main/archive.info"), other(LayoutKind::Pgbackrest, b"r/"));
        assert_eq!(
            place(b"base/path/pg15/base/20261120T234104/backup.info"),
            other(LayoutKind::Barman, b"base/path/pg15/")
        );
        assert_eq!(place(b"m/wals/0000000200000000/00000002000000000000000D.snappy"), other(LayoutKind::Barman, b"m/"));
    }

    proptest! {
        #[test]
        fn any_key_has_a_place(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            fuzz_one(&bytes);
        }
    }
}
