use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

use crate::policy::span::{UnitError, printable};

/// Kind of store an address names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Scheme {
    /// `s3://`
    S3,
    /// `gs://`
    Gcs,
    /// `az://`
    Azure,
    /// `file://` or a plain directory.
    File,
}

impl Scheme {
    /// The name before `://`.
    pub fn name(self) -> &'static str {
        match self {
            Scheme::S3 => "s3",
            Scheme::Gcs => "gs",
            Scheme::Azure => "az",
            Scheme::File => "file",
        }
    }
}

/// `s3://bucket/prefix`, `gs://`, `az://`, `file:///dir` or a directory; a last `/*` makes one archive of each match.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArchiveAddress {
    /// Kind of store.
    pub scheme: Scheme,
    /// Bucket or container; empty for a directory.
    pub bucket: String,
    /// Key prefix without slashes at its ends; for a directory the whole path. Without the last `*`.
    pub prefix: String,
    /// Whether it ended in `/*`.
    pub each: bool,
}

impl ArchiveAddress {
    /// What every key of the archive begins with: the prefix and one slash, or nothing.
    pub fn key_prefix(&self) -> String {
        if self.prefix.is_empty() { String::new() } else { format!("{}/", self.prefix) }
    }

    /// Whether a key of its bucket lies in the archive.
    pub fn holds(&self, key: &[u8]) -> bool {
        self.prefix.is_empty() || key.strip_prefix(self.prefix.as_bytes()).is_some_and(|rest| rest.starts_with(b"/"))
    }

    /// The address of one match of `/*`: the path component `name` below the prefix.
    #[must_use]
    pub fn instance(&self, name: &str) -> Self {
        ArchiveAddress { prefix: format!("{}{name}", self.key_prefix()), each: false, ..self.clone() }
    }
}

impl FromStr for ArchiveAddress {
    type Err = UnitError;

    fn from_str(text: &str) -> Result<Self, UnitError> {
        let bad = |help: &str| Err(UnitError(format!("\"{}\" is not an archive address: {help}", printable(text))));
        let (scheme, rest) = match text.split_once("://") {
            Some(("s3", rest)) => (Scheme::S3, rest),
            Some(("gs" | "gcs", rest)) => (Scheme::Gcs, rest),
            Some(("az" | "azure", rest)) => (Scheme::Azure, rest),
            Some(("file", rest)) => (Scheme::File, rest.strip_prefix("localhost").unwrap_or(rest)),
            Some(_) => return bad("it begins with s3://, gs://, az:// or file://, or is a directory"),
            None => (Scheme::File, text),
        };
        if rest.is_empty() || rest.chars().any(char::is_control) {
            return bad("it names no bucket or directory");
        }
        if scheme == Scheme::File {
            let (path, each) = match rest.strip_suffix("/*") {
                Some(path) => (path, true),
                None => (rest, false),
            };
            let trimmed = path.trim_end_matches('/');
            let prefix = if trimmed.is_empty() { "/" } else { trimmed };
            return Ok(ArchiveAddress { scheme, bucket: String::new(), prefix: prefix.into(), each });
        }
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return bad("it names no bucket");
        }
        let (prefix, each) = match prefix.strip_suffix('*') {
            Some(head) if head.is_empty() || head.ends_with('/') => (head, true),
            _ => (prefix, false),
        };
        let prefix = prefix.trim_matches('/');
        if bucket.contains('*') || prefix.contains('*') {
            return bad("* is allowed only as the last path component, as in s3://bucket/pg/*");
        }
        Ok(ArchiveAddress { scheme, bucket: bucket.into(), prefix: prefix.into(), each })
    }
}

impl fmt::Display for ArchiveAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme.name(), self.bucket)?;
        match self.scheme {
            Scheme::File => f.write_str(&self.prefix)?,
            _ if self.prefix.is_empty() => {}
            _ => write!(f, "/{}", self.prefix)?,
        }
        f.write_str(if self.each { "/*" } else { "" })
    }
}

impl Serialize for ArchiveAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> ArchiveAddress {
        text.parse().unwrap()
    }

    #[test]
    fn addresses() {
        let main = address("s3://company-pg-backups/prod/main/");
        assert_eq!((main.bucket.as_str(), main.prefix.as_str(), main.each), ("company-pg-backups", "prod/main", false));
        assert_eq!(main.to_string(), "s3://company-pg-backups/prod/main");
        assert!(main.holds(b"prod/main/wal_005/x"));
        assert!(!main.holds(b"prod/maintenance/x"));
        let all = address("s3://b/pg/*");
        assert!(all.each);
        assert_eq!(all.instance("main").to_string(), "s3://b/pg/main");
        assert_eq!(address("gs://b").key_prefix(), "");
        assert_eq!(address("s3://b/*").instance("x").to_string(), "s3://b/x");
        assert_eq!(address("/var/backups/").prefix, "/var/backups");
        assert_eq!(address("file:///srv/wal").to_string(), "file:///srv/wal");
        for bad in ["", "s3://", "ftp://x/y", "s3://b*/x", "s3://b/a*/x", "s3:///x"] {
            assert!(bad.parse::<ArchiveAddress>().is_err(), "{bad}");
        }
    }
}
