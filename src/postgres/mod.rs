//! A PostgreSQL server on this machine, for as long as it is needed and not a moment longer.
//!
//! - [`installations`] finds the servers that are installed, [`download`] fetches a major that is not;
//! - [`Identity`] is the unprivileged user it runs as when walproof runs as root;
//! - [`Sandbox`] is a private directory that is removed with everything in it when its last owner goes,
//!   or by the next run if this one was killed;
//! - [`Server`] is one `postgres` in it, reachable over a private socket only.
//!
//! Whatever happens to walproof (return, panic, Ctrl-C through [`crate::run::Cancel`], `SIGKILL`), the server
//! ends: see [`Server`] for how.
#![allow(clippy::disallowed_methods)]

#[cfg(feature = "demo")]
pub mod download;
mod error;
mod locate;
mod log;
mod program;
mod sandbox;
mod server;
#[cfg(test)]
mod tests;
mod user;

pub use error::{PostgresError, Result};
pub use locate::{Installation, Origin, PgVersion, choose, installations};
pub use log::{LogFollower, log_tail};
pub use program::{Ended, command_literal, run, run_to_end};
pub use sandbox::{Sandbox, sweep};
pub use server::{ClusterOptions, Server, ServerOptions, StopMode, create_cluster};
pub use user::Identity;
