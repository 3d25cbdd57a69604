//! Proof of content: objects are read, decoded and checked byte by byte.

pub mod backup;
