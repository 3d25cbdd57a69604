//! Servers that run inside the tests.
#![allow(dead_code)]

pub mod http;
pub mod s3;
pub mod sigv4;
