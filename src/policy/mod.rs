//! Promises, and what a bucket's rules will do to them.
