//! Whole runs of `verify`: what the flags choose, what is remembered, and how it ends when something is in its way.

mod flags;
mod interrupted;
mod ledger;
mod made;
mod moments;
mod quiet;
mod refused;
mod run;
mod sums;
