//! Storage classes and what a bucket's rules do.

pub mod archived_class;
