//! Which files of a data directory consist of pages, and where in their fork they begin.

/// A fork of a relation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Fork {
    /// The data.
    Main,
    /// Free space map.
    FreeSpaceMap,
    /// Visibility map.
    VisibilityMap,
    /// What an unlogged relation is reset to.
    Init,
}

/// A file of pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RelationFile {
    /// The number in its name.
    pub filenode: u32,
    /// Its fork.
    pub fork: Fork,
    /// Which file of the fork this is.
    pub segment: u32,
    /// Number within the fork of its first page.
    pub first_block: u32,
}

/// Recognises a file of pages by its path within a data directory (`base/5/1259`, `global/1262_fsm`,
/// `pg_tblspc/16400/PG_15_202209061/5/16385.1`) or within a tablespace (`PG_15_202209061/5/16385`). A leading slash
/// or `./` does not matter. `blocks_per_file` is `relseg_size` from `pg_control`, 131072 in nearly every build.
pub fn relation_file(path: &[u8], blocks_per_file: u32) -> Option<RelationFile> {
    let path = path.strip_prefix(b".").unwrap_or(path);
    let path = path.strip_prefix(b"/").unwrap_or(path);
    // The longest such path has five parts.
    let mut parts = [&b""[..]; 5];
    let mut count = 0;
    for part in path.split(|byte| *byte == b'/') {
        *parts.get_mut(count)? = part;
        count += 1;
    }
    match parts[..count] {
        [b"global", name] => file_name(name, blocks_per_file),
        [b"base", db, name] if number(db).is_some() => file_name(name, blocks_per_file),
        [version, db, name] if is_version_folder(version) && number(db).is_some() => file_name(name, blocks_per_file),
        [b"pg_tblspc", oid, version, db, name]
            if number(oid).is_some() && is_version_folder(version) && number(db).is_some() =>
        {
            file_name(name, blocks_per_file)
        }
        _ => None,
    }
}

/// `PG_15_202209061`.
fn is_version_folder(name: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(b"PG_") else { return false };
    let Some(catalog) = rest.iter().rposition(|byte| *byte == b'_').and_then(|at| rest.get(at + 1..)) else {
        return false;
    };
    number(catalog).is_some() && rest.iter().all(|byte| byte.is_ascii_digit() || matches!(byte, b'_' | b'.'))
}

fn file_name(name: &[u8], blocks_per_file: u32) -> Option<RelationFile> {
    let (stem, segment) = match name.iter().position(|byte| *byte == b'.') {
        Some(dot) => (&name[..dot], number(&name[dot + 1..])?),
        None => (name, 0),
    };
    let (digits, fork) = match stem.iter().position(|byte| *byte == b'_') {
        None => (stem, Fork::Main),
        Some(at) => {
            let fork = match &stem[at + 1..] {
                b"fsm" => Fork::FreeSpaceMap,
                b"vm" => Fork::VisibilityMap,
                b"init" => Fork::Init,
                _ => return None,
            };
            (&stem[..at], fork)
        }
    };
    let first_block = segment.checked_mul(blocks_per_file)?;
    Some(RelationFile { filenode: number(digits)?, fork, segment, first_block })
}

fn number(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}
