//! WAL framing: pages, records, and what links them.
//!
//! Everything here is fed bytes and answers with values: no IO, no clock. Damage is a value too, so no
//! function fails on the content it is given.

pub mod header;
mod le;
