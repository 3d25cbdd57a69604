//! What lifecycle rules do to objects: S3, MinIO and Google Cloud Storage.
//!
//! Wherever a provider leaves a moment open, the earliest at which it *may* act is taken: who promises recoverability
//! cannot count on a provider being late.

mod decode;
mod file;
mod formats;
mod gcs;
mod index;
mod object;
mod rule;
mod s3;
mod simulator;
pub(crate) mod xml;

pub use decode::{Decoded, Reading, UnknownValue, decode_gcs, decode_s3};
pub use file::simulate_file;
pub use formats::{BucketFile, read_bucket_file};
pub use object::{Lock, ObjectFacts, ObjectTable, Replication, Tags};
pub use rule::{Action, Filter, GcsConditions, MinimumSize, Provider, Rule, RuleRef, RuleSet, Versioning, When};
pub use simulator::{BucketSettings, Ending, Event, EventKind, Fate, Simulator, State, Timeline};

#[doc(hidden)]
pub mod fuzz {
    //! Entry points for fuzzing.
    pub use super::file::fuzz_one as what_if_file;
    pub use super::formats::fuzz_one as bucket_file;
}

#[cfg(test)]
mod tests;
