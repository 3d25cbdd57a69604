//! Restoring into a directory and fetching WAL, without a server: what lands where, what never does, and what is said.

#![allow(clippy::disallowed_methods, clippy::print_stdout)]
#![cfg(all(feature = "cli", feature = "restore", feature = "openpgp", feature = "libsodium", feature = "lzo"))]

mod golden_support;
mod support;

#[path = "restore/files.rs"]
mod files;
#[path = "restore/hostile.rs"]
mod hostile;
#[path = "restore/made.rs"]
mod made;
#[path = "restore/places.rs"]
mod places;
#[path = "restore/stopped.rs"]
mod stopped;
#[path = "restore/wal.rs"]
mod wal;
