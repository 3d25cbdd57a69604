//! walproof writes its state and nothing else, and never into an archive.

use std::path::{Path, PathBuf};

use super::StateError;
use crate::store::Address;

/// Refuses a state address inside one of the archives that are audited. Directories are compared as they really lie,
/// links resolved; buckets by name, whatever server they are on.
///
/// # Errors
/// `Inside`, with the archive.
pub fn refuse_inside(state: &Address, archives: &[Address]) -> Result<(), StateError> {
    match archives.iter().find(|archive| lies_inside(state, archive)) {
        None => Ok(()),
        Some(archive) => Err(StateError::Inside { state: state.to_string(), archive: archive.to_string() }),
    }
}

fn lies_inside(state: &Address, archive: &Address) -> bool {
    match (state, archive) {
        (
            Address::Bucket { cloud, bucket, prefix },
            Address::Bucket { cloud: other_cloud, bucket: other_bucket, prefix: outer },
        ) => {
            // As folders: `pg/main` is not inside `pg/mai`, but it is inside `pg/main/`.
            let folder = |prefix: &str| match prefix {
                "" => String::new(),
                prefix if prefix.ends_with('/') => prefix.to_owned(),
                prefix => format!("{prefix}/"),
            };
            cloud == other_cloud && bucket == other_bucket && folder(prefix).starts_with(&folder(outer))
        }
        (Address::Directory(state), Address::Directory(archive)) => real(state).starts_with(real(archive)),
        _ => false,
    }
}

/// Where a path really leads, as far as it exists; the rest as written.
fn real(path: &Path) -> PathBuf {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest = Vec::new();
    let mut known = path.as_path();
    loop {
        if let Ok(found) = known.canonicalize() {
            return rest.iter().rev().fold(found, |path, part| match part {
                std::path::Component::ParentDir => path.parent().map(Path::to_owned).unwrap_or(path),
                part => path.join(part),
            });
        }
        let mut parts = known.components();
        match parts.next_back() {
            Some(part) => rest.push(part),
            None => return path,
        }
        known = parts.as_path();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inside(state: &str, archive: &str) -> bool {
        let archives = [Address::parse("s3://unrelated/x").unwrap(), Address::parse(archive).unwrap()];
        refuse_inside(&Address::parse(state).unwrap(), &archives).is_err()
    }

    #[test]
    fn prefixes_are_folders() {
        assert!(inside("s3://b/pg/main", "s3://b/pg/main"));
        assert!(inside("s3://b/pg/main/state", "s3://b/pg/main/"));
        assert!(inside("s3://b/state", "s3://b"));
        assert!(!inside("s3://b/pg/main2", "s3://b/pg/main"));
        assert!(!inside("s3://b/pg", "s3://b/pg/main"));
        assert!(!inside("gs://b/pg/main", "s3://b/pg/main"));
        assert!(!inside("s3://c/pg/main", "s3://b/pg/main"));
        let exact = Address::exact(crate::store::Cloud::S3, "b", "pg/main");
        assert!(refuse_inside(&Address::parse("s3://b/pg/main/x").unwrap(), &[exact]).is_err());
    }

    #[test]
    fn directories_are_compared_as_they_lie() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name).display().to_string();
        std::fs::create_dir_all(dir.path().join("archive/basebackups_005")).unwrap();
        std::os::unix::fs::symlink(dir.path().join("archive"), dir.path().join("link")).unwrap();
        assert!(inside(&path("archive"), &path("archive")));
        assert!(inside(&path("archive/new/state"), &path("archive")));
        assert!(inside(&path("link/state"), &path("archive")));
        assert!(inside(&path("archive/state"), &path("link")));
        assert!(inside(&path("other/../archive/state"), &path("archive")));
        assert!(!inside(&path("archive2"), &path("archive")));
        assert!(!inside(&path("archive/../state"), &path("archive")));
        let error =
            refuse_inside(&Address::parse(&path("archive/s")).unwrap(), &[Address::parse(&path("archive")).unwrap()]);
        let text = error.unwrap_err().to_string();
        assert!(text.contains("would lie inside the archive"), "{text}");
    }
}
