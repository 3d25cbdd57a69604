//! Where an archive lies, as people type it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use super::{StoreError, StoreErrorKind};

/// A kind of bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Cloud {
    /// Amazon S3 and what speaks its protocol.
    S3,
    /// Google Cloud Storage.
    Gcs,
    /// Azure Blob Storage.
    Azure,
}

impl Cloud {
    /// The scheme of its addresses.
    pub fn scheme(self) -> &'static str {
        match self {
            Cloud::S3 => "s3",
            Cloud::Gcs => "gs",
            Cloud::Azure => "az",
        }
    }
}

/// Where an archive lies. A bucket's prefix is empty or ends in exactly one `/`, so that `pg/main` never
/// catches `pg/main2`; a directory is the root of its own keys.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Address {
    /// A prefix in a bucket (container).
    Bucket {
        /// Whose.
        cloud: Cloud,
        /// Its name.
        bucket: String,
        /// What all keys begin with.
        prefix: String,
    },
    /// A directory on this machine.
    Directory(PathBuf),
}

impl Address {
    /// Reads `s3://bucket/prefix`, `gs://bucket/prefix`, `az://container/prefix`, `file:///dir`,
    /// `file://localhost/dir` or a plain path. The prefix is taken as typed: nothing is percent-decoded.
    ///
    /// # Errors
    /// `Config`, with the form that was probably meant.
    pub fn parse(text: &str) -> Result<Self, StoreError> {
        if text.trim().is_empty() {
            return Err(config("the address of the archive is empty").advise(FORMS));
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            return Self::parse_path(text);
        };
        let cloud = match scheme.to_ascii_lowercase().as_str() {
            "s3" => Cloud::S3,
            "gs" => Cloud::Gcs,
            "az" => Cloud::Azure,
            "file" => return Self::parse_file(text, rest),
            other => return Err(unknown_scheme(text, other, rest)),
        };
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        check_bucket(text, cloud, bucket)?;
        let prefix = match prefix.trim_end_matches('/') {
            "" => String::new(),
            prefix => format!("{prefix}/"),
        };
        Ok(Address::Bucket { cloud, bucket: bucket.to_owned(), prefix })
    }

    fn parse_file(text: &str, rest: &str) -> Result<Self, StoreError> {
        let path = rest.strip_prefix("localhost").filter(|path| path.starts_with('/')).unwrap_or(rest);
        if path.starts_with('/') {
            return Ok(Address::Directory(path.into()));
        }
        Err(config(format!("{text} names no absolute directory"))
            .advise(format!("a directory is written file:///{path} or just {path}")))
    }

    fn parse_path(text: &str) -> Result<Self, StoreError> {
        // `s3:/b`, `gs:b`: one slash or more is missing, and nobody has such a directory.
        for cloud in [Cloud::S3, Cloud::Gcs, Cloud::Azure] {
            let scheme = cloud.scheme();
            if let Some(rest) = text.strip_prefix(scheme).and_then(|rest| rest.strip_prefix(':')) {
                let rest = rest.trim_start_matches('/');
                return Err(config(format!("{text} is not an address")).advise(format!("write {scheme}://{rest}")));
            }
        }
        Ok(Address::Directory(text.into()))
    }

    /// An address from a bucket and a prefix that is taken exactly as given, for settings of other tools that
    /// know prefixes such as `wal-e//`.
    pub fn exact(cloud: Cloud, bucket: impl Into<String>, prefix: impl Into<String>) -> Self {
        Address::Bucket { cloud, bucket: bucket.into(), prefix: prefix.into() }
    }

    /// What all keys of the archive begin with; empty for a directory.
    pub fn prefix(&self) -> &str {
        match self {
            Address::Bucket { prefix, .. } => prefix,
            Address::Directory(_) => "",
        }
    }

    /// The same place one folder further down.
    #[must_use]
    pub fn join(&self, folder: &str) -> Self {
        let folder = folder.trim_matches('/');
        match self {
            _ if folder.is_empty() => self.clone(),
            Address::Bucket { cloud, bucket, prefix } => {
                let slash = if prefix.is_empty() || prefix.ends_with('/') { "" } else { "/" };
                Address::exact(*cloud, bucket, format!("{prefix}{slash}{folder}/"))
            }
            Address::Directory(path) => Address::Directory(path.join(folder)),
        }
    }
}

const FORMS: &str = "write s3://bucket/prefix, gs://bucket/prefix, az://container/prefix, file:///dir or a directory";

fn config(message: impl Into<String>) -> StoreError {
    StoreError::new(StoreErrorKind::Config, message)
}

fn unknown_scheme(text: &str, scheme: &str, rest: &str) -> StoreError {
    let unknown = config(format!("{text}: walproof does not read {scheme}://"));
    match scheme {
        "gcs" | "gcp" | "google" => unknown.advise(format!("write gs://{rest}")),
        "azure" | "abfs" | "abfss" | "wasb" | "wasbs" => unknown.advise("write az://container/prefix"),
        "s3a" | "s3n" => unknown.advise(format!("write s3://{rest}")),
        "http" | "https" => unknown.advise("write s3://bucket/prefix and give the server as --endpoint-url"),
        "oss" | "swift" | "ssh" | "sftp" | "sh" => {
            unknown.advise("such archives are out of its scope; copy or mount them as a directory")
        }
        _ => unknown.advise(FORMS),
    }
}

/// Refuses what is certainly no bucket. Stores that speak S3 allow more than Amazon does, so this stays lax; it
/// does keep out whatever would change the meaning of a URL.
fn check_bucket(text: &str, cloud: Cloud, bucket: &str) -> Result<(), StoreError> {
    let scheme = cloud.scheme();
    if bucket.is_empty() {
        return Err(config(format!("{text} names no bucket")).advise(format!("write {scheme}://bucket/prefix")));
    }
    if bucket.starts_with("arn:") {
        return Err(config(format!("{text}: the ARN of an access point is no address"))
            .advise("use the access point's alias as the bucket name"));
    }
    if bucket.ends_with("--x-s3") {
        return Err(config(format!("{text}: directory buckets (S3 Express) do not list in key order"))
            .advise("audit the general purpose bucket that holds the archive"));
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.$:".contains(&byte);
    if bucket.len() > 255 || !bucket.bytes().all(plain) || bucket.bytes().all(|byte| byte == b'.') {
        return Err(config(format!("{text}: {bucket:?} cannot be the name of a bucket")));
    }
    Ok(())
}

impl FromStr for Address {
    type Err = StoreError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Address::parse(text)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Bucket { cloud, bucket, prefix } => write!(f, "{}://{bucket}/{prefix}", cloud.scheme()),
            Address::Directory(path) => path.display().fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> String {
        match Address::parse(text) {
            Ok(Address::Bucket { cloud, bucket, prefix }) => format!("{cloud:?} {bucket} [{prefix}]"),
            Ok(Address::Directory(path)) => format!("dir {}", path.display()),
            Err(error) => {
                assert_eq!(error.kind, StoreErrorKind::Config);
                error.to_string()
            }
        }
    }

    #[test]
    fn addresses_as_people_write_them() {
        assert_eq!(parse("s3://b"), "S3 b []");
        assert_eq!(parse("s3://b/"), "S3 b []");
        assert_eq!(parse("S3://b/pg/main"), "S3 b [pg/main/]");
        assert_eq!(parse("s3://b/pg/main//"), "S3 b [pg/main/]");
        assert_eq!(parse("s3://b/a//b"), "S3 b [a//b/]");
        assert_eq!(parse("s3://b//a"), "S3 b [/a/]");
        assert_eq!(parse("gs://b/x y%20z"), "Gcs b [x y%20z/]");
        assert_eq!(parse("az://c/p"), "Azure c [p/]");
        assert_eq!(parse("s3://tenant:bucket/p"), "S3 tenant:bucket [p/]");
        assert_eq!(parse("file:///srv/wal"), "dir /srv/wal");
        assert_eq!(parse("file://localhost/srv/wal"), "dir /srv/wal");
        assert_eq!(
            parse("file://localhostess/srv"),
            "file://localhostess/srv names no absolute directory; a directory is written file:///localhostess/srv or just localhostess/srv"
        );
        assert_eq!(parse("some/dir"), "dir some/dir");
        assert_eq!(parse("a:b"), "dir a:b");
    }

    #[test]
    fn mistakes_are_answered_with_the_right_form() {
        assert_eq!(parse("s3:/b/p"), "s3:/b/p is not an address; write s3://b/p");
        assert_eq!(parse("s3:///p"), "s3:///p names no bucket; write s3://bucket/prefix");
        assert_eq!(parse("gcs://b/p"), "gcs://b/p: walproof does not read gcs://; write gs://b/p");
        assert!(parse("swift://b").ends_with("out of its scope; copy or mount them as a directory"));
        assert!(parse("https://b.s3.amazonaws.com/p").contains("--endpoint-url"));
        assert!(parse("ftp://x").contains("write s3://bucket/prefix, gs://"));
        assert!(parse("").contains("is empty"));
        assert!(parse("s3://b c/p").contains("cannot be the name"));
        assert!(parse("s3://../p").contains("cannot be the name"));
        assert!(parse("s3://arn:aws:s3:eu-west-1:1:accesspoint/x/p").contains("alias"));
        assert!(parse("s3://b--use1-az4--x-s3/p").contains("directory buckets"));
    }

    #[test]
    fn joining_keeps_one_slash() {
        let base = Address::parse("s3://b/pg").unwrap();
        assert_eq!(base.join("main").to_string(), "s3://b/pg/main/");
        assert_eq!(base.join("/main/").prefix(), "pg/main/");
        assert_eq!(base.join(""), base);
        assert_eq!(Address::parse("/srv").unwrap().join("x").to_string(), "/srv/x");
    }
}
