//! Every store behaves alike: one suite for memory, disk, S3 and GCS, then what only servers can do wrong.
#![allow(clippy::disallowed_methods, clippy::print_stdout)]

mod described;
mod support;

#[path = "store/conformance.rs"]
mod conformance;
#[cfg(feature = "cli")]
#[path = "store/program.rs"]
mod program;
#[path = "store/s3.rs"]
mod s3;
#[path = "store/servers.rs"]
mod servers;
#[path = "store/versions.rs"]
mod versions;
