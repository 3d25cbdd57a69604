//! Test restores on real PostgreSQL servers: golden archives come up with the rows they had, damaged ones never pass.
//!
//! PostgreSQL of majors that the machine lacks is fetched. `WALPROOF_FULL=1` takes every mark and more seeds.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]
#![cfg(all(feature = "cli", feature = "demo", feature = "openpgp", feature = "libsodium", feature = "lzo"))]

mod golden_support;
mod support;

#[path = "restore_test/audit.rs"]
mod audit;
#[path = "restore_test/command.rs"]
mod command;
#[path = "restore_test/damaged.rs"]
mod damaged;
#[path = "restore_test/golden.rs"]
mod golden;
#[path = "restore_test/interrupted.rs"]
mod interrupted;
#[path = "restore_test/majors.rs"]
mod majors;
#[path = "restore_test/maker.rs"]
mod maker;
#[path = "restore_test/more.rs"]
mod more;
#[path = "restore_test/run.rs"]
mod run;
#[path = "restore_test/served.rs"]
mod served;
