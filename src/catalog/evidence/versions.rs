use crate::model::{ObjectKey, SegmentName};

/// What comparing the versions of one WAL object showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum VersionVerdict {
    /// All that could be read hold the same WAL, as far as recovery reads.
    Equal,
    /// The current version is whole, and older ones are not: an upload that failed and was repeated.
    OlderDamaged,
    /// The current version is damaged, and an older one is whole.
    CurrentDamaged {
        /// The newest version that is whole.
        whole: String,
    },
    /// They are whole and hold different WAL.
    Differ {
        /// The newest version that differs from the current one.
        other: String,
    },
    /// They were not compared.
    NotCompared(String),
}

/// A WAL object that was written more than once, and not with the same bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overwritten {
    /// The segment it holds.
    pub segment: SegmentName,
    /// Relative to the archive's root.
    pub key: ObjectKey,
    /// The versions that were listed, the current one included.
    pub versions: u64,
    /// The current version's identifier.
    pub current: String,
    /// What comparing them showed.
    pub verdict: VersionVerdict,
}

/// What listing the versions of WAL objects showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VersionEvidence {
    /// Why they could not be listed, or not to the end.
    pub unlisted: Option<String>,
    /// Objects whose versions are not all of the same bytes by the store's own word, by name; at most [`VersionEvidence::OVERWRITTEN_MAX`].
    pub overwritten: Vec<Overwritten>,
    /// How many more there are.
    pub left_out: u64,
}

impl VersionEvidence {
    /// Objects that are compared and named.
    pub const OVERWRITTEN_MAX: usize = 10_000;

    /// Nothing was listed.
    pub fn unlisted(why: String) -> Self {
        VersionEvidence { unlisted: Some(why), ..VersionEvidence::default() }
    }

    /// Objects of one verdict.
    pub fn of<'a>(&'a self, wanted: impl Fn(&VersionVerdict) -> bool + 'a) -> impl Iterator<Item = &'a Overwritten> {
        self.overwritten.iter().filter(move |object| wanted(&object.verdict))
    }
}
