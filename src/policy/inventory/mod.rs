//! Objects of a bucket without the bucket: a saved listing, or S3 Inventory.

mod catalog;
mod json;
mod known;
mod listing;
#[cfg(feature = "inventory")]
mod s3;

#[doc(hidden)]
pub use json::fuzz_one;
pub use json::read_inventory_json;
pub use known::KnownBackup;
pub use listing::read_listing;
#[cfg(feature = "inventory")]
#[doc(hidden)]
pub use s3::fuzz_one as fuzz_files;
#[cfg(feature = "inventory")]
pub use s3::{InventoryFile, InventoryFormat, InventoryManifest, read_inventory_csv, read_inventory_parquet};

use crate::model::Timestamp;

use super::lifecycle::{ObjectTable, Versioning};

/// The objects of one bucket, wherever they were listed.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct BucketObjects {
    /// Name of the bucket.
    pub bucket: String,
    /// Where this comes from, for reports: a file, or `listing`.
    pub source: String,
    /// When the bucket was listed, where that is known.
    pub listed_at: Option<Timestamp>,
    /// Versioning of the bucket, where that is known.
    pub versioning: Option<Versioning>,
    /// The objects, sorted by key.
    pub table: ObjectTable,
    /// Backups as a catalog knows them, with places in the table; `None`: found by their keys.
    pub backups: Option<Vec<super::shape::BackupUnit>>,
}

impl BucketObjects {
    /// From objects in any order.
    pub fn new(bucket: impl Into<String>, source: impl Into<String>, mut table: ObjectTable) -> Self {
        table.sort();
        BucketObjects { bucket: bucket.into(), source: source.into(), table, ..BucketObjects::default() }
    }
}
