pub(super) mod codec_damaged;
mod content;
pub(super) mod decrypt_failed;
pub(super) mod key_missing;
pub(super) mod store_checksum;
pub(super) mod wal_chain_broken;
pub(super) mod wal_length;
pub(super) mod wal_page_invalid;
pub(super) mod wal_record_crc;
