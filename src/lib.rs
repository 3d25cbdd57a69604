//! walproof answers, for every PostgreSQL backup archive in an object store: can it be restored, to
//! which moments, and will that still be true next month?
//!
//! Data flows one way: a store is listed, a layout folds the listing into an [`catalog::Archive`],
//! checks judge it, a report tells. Without default features only the pure core is built: no async
//! runtime, no cloud crate, no clock. `ARCHITECTURE.md` is the map.

pub mod catalog;
#[cfg(feature = "codecs")]
pub mod codec;
#[cfg(feature = "demo")]
pub mod demo;
pub mod layout;
pub mod model;
pub mod page;
pub mod policy;
#[cfg(feature = "restore")]
pub mod postgres;
#[cfg(feature = "io")]
pub mod run;
#[cfg(feature = "io")]
pub mod state;
#[cfg(feature = "io")]
pub mod store;
pub mod wal;
