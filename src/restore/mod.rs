//! Restoring, and proving that what was restored is what it should be.
#![allow(clippy::disallowed_methods)]

pub mod assert;
