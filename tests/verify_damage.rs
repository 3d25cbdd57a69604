//! Content of real archives, whole and damaged: intact ones give nothing, and every kind of damage is found.

#![allow(clippy::disallowed_methods, clippy::print_stdout)]
#![cfg(all(feature = "cli", feature = "s3", feature = "openpgp", feature = "libsodium", feature = "lzo"))]

#[path = "verify_damage/backups.rs"]
mod backups;
mod golden_support;
#[path = "verify_damage/library.rs"]
mod library;
#[path = "verify_damage/remembered.rs"]
mod remembered;
#[path = "verify_damage/rules.rs"]
mod rules;
#[path = "verify_runs/mod.rs"]
mod runs;
mod support;
#[path = "verify_damage/table.rs"]
mod table;
