//! The content of base backups: tars, the files in them, and whether they are what the backup's own lists promise.
//!
//! Synchronous and without a store: whoever calls opens the parts. [`Expectation`] holds what is known beforehand,
//! [`check_part`] walks one decoded part and keeps little of it ([`PartSeen`]), [`conclude`] puts the parts together.
//! Parts may be walked at the same time and in any order; what depends on a file in another part (whether pages have
//! checksums at all) is decided at the end.

mod chain;
mod conclude;
mod content;
mod expect;
mod files;
mod kept;
mod manifest;
mod member;
mod part;
mod small;
#[cfg(test)]
mod tests;

pub use chain::{ChainCheck, ChainSeen};
pub use conclude::{Conclusion, conclude};
pub use expect::Expectation;
pub use files::FileList;
pub use kept::KeptPart;
pub use part::{PartSeen, check_part};

pub use crate::catalog::evidence::{BackupDefect, BackupDefectKind, MemberDefect};

/// Walks any bytes as a part, and reads them as a list of files. Must neither panic nor allocate much.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    use crate::run::Cancel;

    let mut expectation = Expectation::default();
    let _ = check_part("part_001.tar", &mut &bytes[..], &expectation, &Cancel::default());
    if let Ok(list) = FileList::read(&mut &bytes[..]) {
        let _ = list.find(b"base/1/1259");
        expectation.files = Some(list);
    }
    expectation.is_delta = true;
    let _ = check_part("part_001.tar", &mut &bytes[..], &expectation, &Cancel::default());
    small::fuzz_one(bytes);
}
