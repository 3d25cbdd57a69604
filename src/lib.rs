//! walproof answers, for every PostgreSQL backup archive in an object store: can it be restored, to
//! which moments, and will that still be true next month?
//!
//! Data flows one way: a store is listed, a layout folds the listing into an [`catalog::Archive`],
//! checks judge it, a report tells. Without default features only the pure core is built: no async
//! runtime, no cloud crate, no clock. `ARCHITECTURE.md` is the map.

#[cfg(feature = "io")]
pub mod audit;
pub mod catalog;
pub mod checks;
#[cfg(feature = "cli")]
pub mod cli;
#[cfg(feature = "codecs")]
pub mod codec;
#[cfg(all(feature = "config", feature = "io"))]
pub mod config;
#[cfg(feature = "demo")]
pub mod demo;
#[cfg(feature = "io")]
pub mod fetch;
pub mod layout;
pub mod model;
pub mod page;
pub mod policy;
#[cfg(feature = "restore")]
pub mod postgres;
pub mod report;
#[cfg(feature = "restore")]
pub mod restore;
#[cfg(feature = "io")]
pub mod run;
#[cfg(feature = "io")]
pub mod state;
#[cfg(feature = "io")]
pub mod store;
#[cfg(feature = "io")]
pub mod verify;
pub mod wal;
