//! Data pages: headers and checksums.
