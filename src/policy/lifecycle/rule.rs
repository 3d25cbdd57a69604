use std::fmt;

use serde::Serialize;

use crate::model::{StorageClass, Timestamp};

/// Whose rules these are: the same words mean different things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Provider {
    /// Amazon S3, and servers that copy it closely.
    S3,
    /// MinIO: S3's rules with its own engine.
    Minio,
    /// Google Cloud Storage.
    Gcs,
}

impl Provider {
    /// Its name in files.
    pub fn name(self) -> &'static str {
        match self {
            Provider::S3 => "s3",
            Provider::Minio => "minio",
            Provider::Gcs => "gcs",
        }
    }
}

/// Versioning of a bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "PascalCase")]
#[non_exhaustive]
pub enum Versioning {
    /// Never enabled.
    Disabled,
    /// Every overwrite and deletion keeps the old version.
    Enabled,
    /// Once enabled: old versions stay, new writes have the version id `null` and no past.
    Suspended,
}

impl Versioning {
    /// From the names stores and tools use.
    pub fn parse(name: &str) -> Option<Self> {
        match name.to_ascii_lowercase().as_str() {
            "enabled" => Some(Versioning::Enabled),
            "suspended" => Some(Versioning::Suspended),
            "disabled" | "unversioned" | "" => Some(Versioning::Disabled),
            _ => None,
        }
    }

    /// Its name as S3 writes it.
    pub fn name(self) -> &'static str {
        match self {
            Versioning::Disabled => "Disabled",
            Versioning::Enabled => "Enabled",
            Versioning::Suspended => "Suspended",
        }
    }
}

/// S3's smallest size for transitions, a property of the whole configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Default)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum MinimumSize {
    /// Nothing below 128 KiB moves.
    AllClasses128K,
    /// Below 128 KiB objects move only to GLACIER and DEEP_ARCHIVE.
    VariesByClass,
    /// A saved file does not say which: both are possible.
    #[default]
    Unknown,
}

impl MinimumSize {
    /// From the header or attribute; anything else is unknown.
    pub fn parse(name: &str) -> Self {
        match name {
            "all_storage_classes_128K" => MinimumSize::AllClasses128K,
            "varies_by_storage_class" => MinimumSize::VariesByClass,
            _ => MinimumSize::Unknown,
        }
    }
}

/// A bucket's lifecycle configuration.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RuleSet {
    /// Whose.
    pub provider: Provider,
    /// In the order of the file; the order has no meaning.
    pub rules: Vec<Rule>,
    /// S3 only.
    pub minimum_size: MinimumSize,
}

impl RuleSet {
    /// No rules: nothing ever expires.
    pub fn empty(provider: Provider) -> Self {
        RuleSet { provider, rules: Vec::new(), minimum_size: MinimumSize::default() }
    }

    /// The rule a verdict points at.
    pub fn get(&self, rule: RuleRef) -> Option<&Rule> {
        self.rules.get(rule.0 as usize)
    }

    /// Name of a rule for people.
    pub fn name(&self, rule: RuleRef) -> String {
        match self.get(rule) {
            Some(rule) if !rule.id.is_empty() => rule.id.clone(),
            _ => format!("rule {}", u64::from(rule.0) + 1),
        }
    }
}

/// Which rule decided: its place in [`RuleSet::rules`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct RuleRef(pub u32);

/// One rule.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rule {
    /// Its name; GCS rules have none.
    pub id: String,
    /// A disabled rule does nothing.
    pub enabled: bool,
    /// Which objects.
    pub filter: Filter,
    /// What happens to them.
    pub actions: Vec<Action>,
    /// Where its meaning is not what it looks like.
    pub doubts: Vec<String>,
}

/// Which objects a rule is about; everything that is set has to hold.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
pub struct Filter {
    /// Any of these; empty: every key. Plain bytes: no wildcard, no implied slash.
    #[serde(serialize_with = "texts")]
    pub prefixes: Vec<Vec<u8>>,
    /// Any of these; empty: every key. GCS only.
    #[serde(serialize_with = "texts")]
    pub suffixes: Vec<Vec<u8>>,
    /// All of these, exactly.
    pub tags: Vec<(String, String)>,
    /// Strictly more bytes.
    pub larger_than: Option<u64>,
    /// Strictly fewer bytes.
    pub smaller_than: Option<u64>,
}

fn texts<S: serde::Serializer>(texts: &[Vec<u8>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(texts.iter().map(|text| String::from_utf8_lossy(text).into_owned()))
}

impl Filter {
    /// One prefix, nothing else.
    pub fn prefix(prefix: impl Into<Vec<u8>>) -> Self {
        Filter { prefixes: vec![prefix.into()], ..Filter::default() }
    }

    /// Whether it can match every key of a bucket: no prefix or an empty one, no suffix.
    pub fn any_key(&self) -> bool {
        self.suffixes.is_empty() && (self.prefixes.is_empty() || self.prefixes.iter().any(Vec::is_empty))
    }

    /// Whether key and size fit. Tags are judged by the caller, because they may be unknown.
    pub fn key_and_size(&self, key: &[u8], size: u64) -> bool {
        (self.prefixes.is_empty() || self.prefixes.iter().any(|prefix| key.starts_with(prefix)))
            && (self.suffixes.is_empty() || self.suffixes.iter().any(|suffix| key.ends_with(suffix)))
            && self.size(size)
    }

    pub(crate) fn size(&self, size: u64) -> bool {
        self.larger_than.is_none_or(|bound| size > bound) && self.smaller_than.is_none_or(|bound| size < bound)
    }
}

/// For people: `every object`, `prod/main*`, `wal/* and tag tier=pg`.
impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lossy = |bytes: &Vec<u8>| super::super::span::printable(&String::from_utf8_lossy(bytes));
        let mut parts: Vec<String> = Vec::new();
        if !self.prefixes.is_empty() && !self.prefixes.iter().any(Vec::is_empty) {
            let all: Vec<String> = self.prefixes.iter().map(|prefix| format!("\"{}\"", lossy(prefix))).collect();
            parts.push(format!("prefix {}", all.join(" or ")));
        }
        if !self.suffixes.is_empty() {
            let all: Vec<String> = self.suffixes.iter().map(|suffix| format!("\"{}\"", lossy(suffix))).collect();
            parts.push(format!("suffix {}", all.join(" or ")));
        }
        parts.extend(self.tags.iter().map(|(key, value)| {
            let (key, value) = (super::super::span::printable(key), super::super::span::printable(value));
            format!("tag {key}={value}")
        }));
        parts.extend(self.larger_than.map(|bound| format!("more than {bound} bytes")));
        parts.extend(self.smaller_than.map(|bound| format!("fewer than {bound} bytes")));
        if parts.is_empty() { f.write_str("every object") } else { f.write_str(&parts.join(" and ")) }
    }
}

/// When a rule acts on the current version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum When {
    /// So many days after the object was written.
    Days(u32),
    /// From this day on, again and again, for every object however young.
    Date(Timestamp),
}

/// What a rule does.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// The current version ends: deleted, or hidden behind a delete marker where versioning keeps it.
    Expire {
        /// When.
        when: When,
        /// MinIO: every version is deleted with it.
        all_versions: bool,
    },
    /// A delete marker that hides nothing is removed. No data is touched.
    RemoveLoneMarker,
    /// MinIO: so many days after a delete marker every version of the key is deleted.
    ExpireBehindMarker {
        /// Days after the marker.
        days: u32,
    },
    /// The current version moves to another class.
    Transition {
        /// When; zero days is at once.
        when: When,
        /// Where to; `Other` for a MinIO tier, which stays readable.
        class: StorageClass,
        /// The class or tier as written.
        name: String,
    },
    /// A noncurrent version is deleted.
    NoncurrentExpire {
        /// Days since its successor was written.
        days: u32,
        /// Only versions with at least so many newer noncurrent ones.
        newer: u32,
    },
    /// A noncurrent version moves to another class.
    NoncurrentTransition {
        /// Days since its successor was written.
        days: u32,
        /// Only versions with at least so many newer noncurrent ones.
        newer: u32,
        /// Where to.
        class: StorageClass,
        /// The class or tier as written.
        name: String,
    },
    /// Uploads that were never completed are removed. No object is touched.
    AbortUploads {
        /// Days since the upload began.
        days: u32,
    },
    /// GCS: delete when all conditions hold.
    GcsDelete(GcsConditions),
    /// GCS: change the class when all conditions hold.
    GcsSetClass {
        /// Where to.
        class: StorageClass,
        /// When.
        when: GcsConditions,
    },
}

impl Action {
    /// Whether it can end or move data that exists.
    pub fn touches_data(&self) -> bool {
        !matches!(self, Action::RemoveLoneMarker | Action::AbortUploads { .. })
    }

    /// Whether it can delete data or hide it.
    pub fn ends_data(&self) -> bool {
        matches!(
            self,
            Action::Expire { .. }
                | Action::ExpireBehindMarker { .. }
                | Action::NoncurrentExpire { .. }
                | Action::GcsDelete(_)
        )
    }
}

/// Conditions of a GCS rule other than those on the key; all that are set have to hold.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct GcsConditions {
    /// Days since creation, exact to the second, also when noncurrent.
    pub age_days: Option<u32>,
    /// Created before midnight UTC of this day.
    pub created_before: Option<Timestamp>,
    /// Live or noncurrent; `None`: both.
    pub is_live: Option<bool>,
    /// At least so many newer versions, the live one included.
    pub newer_versions: Option<u32>,
    /// Days since it became noncurrent.
    pub noncurrent_days: Option<u32>,
    /// Became noncurrent before midnight UTC of this day.
    pub noncurrent_before: Option<Timestamp>,
    /// Days since the custom time; without one it never holds.
    pub custom_days: Option<u32>,
    /// Custom time before midnight UTC of this day.
    pub custom_before: Option<Timestamp>,
    /// Current class is one of these; empty: any.
    pub classes: Vec<StorageClass>,
}
