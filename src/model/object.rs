use std::fmt;

use serde::{Deserialize, Serialize};

use super::Timestamp;

/// The name of an object exactly as the store lists it: any bytes, not necessarily UTF-8.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectKey(Box<[u8]>);

impl ObjectKey {
    /// Takes any bytes.
    pub fn new(bytes: impl Into<Box<[u8]>>) -> Self {
        ObjectKey(bytes.into())
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The key as text where it is UTF-8 without control characters.
    pub fn as_plain_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok().filter(|text| !text.chars().any(char::is_control))
    }

    /// Whether `Display` has to percent-encode it.
    pub fn is_encoded(&self) -> bool {
        self.as_plain_str().is_none()
    }
}

impl From<&str> for ObjectKey {
    fn from(text: &str) -> Self {
        ObjectKey(text.as_bytes().into())
    }
}

impl From<String> for ObjectKey {
    fn from(text: String) -> Self {
        ObjectKey(text.into_bytes().into())
    }
}

/// Safe for any terminal or document: a key that is not plain text is percent-encoded as a whole (`%` as `%25`).
impl fmt::Display for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = self.as_plain_str() {
            return f.write_str(text);
        }
        for byte in &self.0 {
            match byte {
                b'%' => f.write_str("%25")?,
                0x20..=0x7E => write!(f, "{}", char::from(*byte))?,
                _ => write!(f, "%{byte:02X}")?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ObjectKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ObjectKey({self})")
    }
}

impl Serialize for ObjectKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Where an object lies and what reading it costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[non_exhaustive]
#[repr(u8)]
pub enum StorageClass {
    /// The store's usual class, or one that does not say.
    #[default]
    Standard,
    /// S3 infrequent access.
    StandardIa,
    /// S3, one zone only.
    OnezoneIa,
    /// S3 intelligent tiering; its optional archive tiers do not show in a listing.
    IntelligentTiering,
    /// S3 Glacier, read at once.
    GlacierIr,
    /// S3 Glacier: GET is refused until a restore has been asked for.
    Glacier,
    /// S3 Glacier Deep Archive: likewise, in up to 48 hours.
    DeepArchive,
    /// S3, older reduced redundancy.
    ReducedRedundancy,
    /// S3 Express, one zone.
    ExpressOnezone,
    /// GCS monthly access.
    Nearline,
    /// GCS quarterly access.
    Coldline,
    /// GCS yearly access; read at once.
    Archive,
    /// Azure hot, cool and cold tiers.
    AzureOnline,
    /// Azure archive tier: GET is refused until the blob is rehydrated.
    AzureArchive,
    /// A name this version does not know.
    Other,
}

impl StorageClass {
    const NAMES: &'static [(StorageClass, &'static str)] = &[
        (StorageClass::Standard, "STANDARD"),
        (StorageClass::StandardIa, "STANDARD_IA"),
        (StorageClass::OnezoneIa, "ONEZONE_IA"),
        (StorageClass::IntelligentTiering, "INTELLIGENT_TIERING"),
        (StorageClass::GlacierIr, "GLACIER_IR"),
        (StorageClass::Glacier, "GLACIER"),
        (StorageClass::DeepArchive, "DEEP_ARCHIVE"),
        (StorageClass::ReducedRedundancy, "REDUCED_REDUNDANCY"),
        (StorageClass::ExpressOnezone, "EXPRESS_ONEZONE"),
        (StorageClass::Nearline, "NEARLINE"),
        (StorageClass::Coldline, "COLDLINE"),
        (StorageClass::Archive, "ARCHIVE"),
        (StorageClass::AzureOnline, "AZURE_ONLINE"),
        (StorageClass::AzureArchive, "AZURE_ARCHIVE"),
    ];

    /// The class a listing names; an empty name is the standard one.
    pub fn parse(name: &str) -> Self {
        if name.is_empty() {
            return StorageClass::Standard;
        }
        Self::NAMES.iter().find(|(_, known)| *known == name).map_or(StorageClass::Other, |(class, _)| *class)
    }

    /// The name as the stores write it.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|(class, _)| *class == self).map_or("OTHER", |(_, name)| name)
    }

    /// Whether a plain GET answers without a restore request.
    pub fn readable_at_once(self) -> bool {
        !matches!(self, StorageClass::Glacier | StorageClass::DeepArchive | StorageClass::AzureArchive)
    }
}

/// A checksum that the listing itself gives.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StoreChecksum {
    /// GCS `crc32c`, base64 of the big-endian sum.
    Crc32c(String),
    /// GCS or Azure `md5Hash`, base64.
    Md5(String),
    /// The algorithm an S3 listing names; its value needs a HEAD.
    S3Algorithm(String),
}

/// 128 bits that change when an object's content may have changed: a digest of ETag, generation or version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct ObjectId(pub u128);

impl ObjectId {
    /// FNV-1a over 128 bits: stable between runs and machines. It guards against change, not against an attacker.
    pub fn digest(parts: &[&[u8]]) -> Self {
        const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013B;
        let mut hash: u128 = 0x6C62_272E_07BB_0142_62B8_2175_6295_C58D;
        for part in parts {
            for byte in part.iter().chain(&[0xFF]) {
                hash = (hash ^ u128::from(*byte)).wrapping_mul(PRIME);
            }
        }
        ObjectId(hash)
    }
}

impl fmt::Display for ObjectId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// One line of a listing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectRow {
    /// The whole key, not relative to any prefix.
    pub key: ObjectKey,
    /// Stored bytes.
    pub size: u64,
    /// When this version was written.
    pub modified: Timestamp,
    /// As the store gives it, without quotes.
    pub etag: Option<Box<str>>,
    /// S3 version id or GCS generation, where the listing has one.
    pub version: Option<Box<str>>,
    /// Where it lies.
    pub class: StorageClass,
    /// Checksum fields of the listing.
    pub checksum: Option<StoreChecksum>,
}

impl ObjectRow {
    /// What to compare to know whether the object is still the same.
    pub fn id(&self) -> ObjectId {
        ObjectId::digest(&[
            self.etag.as_deref().unwrap_or("").as_bytes(),
            self.version.as_deref().unwrap_or("").as_bytes(),
            &self.size.to_le_bytes(),
            // Without ETag or version, the time of writing is all there is.
            &if self.etag.is_none() && self.version.is_none() { self.modified.as_nanosecond() } else { 0 }
                .to_le_bytes(),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_keys_are_shown_encoded() {
        assert_eq!(ObjectKey::from("a b/100%").to_string(), "a b/100%");
        assert_eq!(ObjectKey::new(*b"a\x1b[31m%\xff").to_string(), "a%1B[31m%25%FF");
        assert_eq!(ObjectKey::from("zwei\u{85}").to_string(), "zwei%C2%85");
    }

    #[test]
    fn identity_changes_with_etag_version_and_size() {
        let row = ObjectRow {
            key: "k".into(),
            size: 1,
            modified: Timestamp::UNIX_EPOCH,
            etag: Some("a".into()),
            version: None,
            class: StorageClass::Standard,
            checksum: None,
        };
        let same = ObjectRow { modified: Timestamp::MAX, ..row.clone() };
        assert_eq!(row.id(), same.id());
        assert_ne!(row.id(), ObjectRow { size: 2, ..row.clone() }.id());
        assert_ne!(row.id(), ObjectRow { etag: Some("b".into()), ..row.clone() }.id());
        assert_ne!(row.id(), ObjectRow { version: Some("1".into()), ..row }.id());
    }
}
