//! wal-g's key grammar and sidecar files.

/// What the file list of a backup says.
pub mod files;
/// What a key means.
pub mod keys;
/// What the JSON files beside a backup say.
pub mod sidecar;

mod draft;
mod fold;
mod identity;

pub use fold::WalGLayout;
