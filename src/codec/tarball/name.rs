use std::fmt;

/// Why a member's name cannot become a path below a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NameProblem {
    /// A component is `..`.
    Parent,
    /// It holds a NUL byte.
    Nul,
    /// A component is longer than 255 bytes, or the whole longer than 4096: no file system takes it.
    TooLong,
}

impl fmt::Display for NameProblem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NameProblem::Parent => "the name climbs out of its directory",
            NameProblem::Nul => "the name holds a NUL byte",
            NameProblem::TooLong => "the name is too long",
        })
    }
}

/// Turns a member's name into a relative path: without leading `/`, empty or `.` components.
/// `None` for the root itself, which wal-g stores as a member called `/`.
pub fn clean_member_name(name: &[u8]) -> Result<Option<Vec<u8>>, NameProblem> {
    if name.contains(&0) {
        return Err(NameProblem::Nul);
    }
    let mut path = Vec::with_capacity(name.len().min(256));
    for component in name.split(|byte| *byte == b'/') {
        match component {
            b"" | b"." => continue,
            b".." => return Err(NameProblem::Parent),
            _ if component.len() > 255 => return Err(NameProblem::TooLong),
            _ => {}
        }
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(component);
        if path.len() > 4096 {
            return Err(NameProblem::TooLong);
        }
    }
    Ok((!path.is_empty()).then_some(path))
}
