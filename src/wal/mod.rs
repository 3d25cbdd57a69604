//! WAL framing: pages, records, and what links them.
