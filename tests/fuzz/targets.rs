//! Every entry point for arbitrary bytes. `fuzz/fuzz_targets` has a program for each.

use std::cell::RefCell;

use walproof::codec::crypto::KeyRing;
use walproof::model::CodecKind;

use super::mutate::{mend_control, mend_tar, mend_wal};

/// One entry point.
pub struct Target {
    pub name: &'static str,
    /// The file that holds it, below `src`.
    pub source: &'static str,
    pub run: fn(&[u8]),
    /// Bytes that it may hold at once, beside a small multiple of its input.
    pub held_max: usize,
    /// Makes checksums right after damage.
    pub mend: Option<fn(&mut [u8])>,
}

const fn target(name: &'static str, source: &'static str, run: fn(&[u8])) -> Target {
    Target { name, source, run, held_max: 4 << 20, mend: None }
}

pub fn codec_kind(choice: u8) -> CodecKind {
    let kinds = CodecKind::ALL;
    kinds.get(usize::from(choice) % (kinds.len() + 1)).map_or(CodecKind::None, |(kind, _)| *kind)
}

fn codec(bytes: &[u8]) {
    if let Some((choice, bytes)) = bytes.split_first() {
        walproof::codec::fuzz_one(codec_kind(*choice), bytes);
    }
}

thread_local! {
    /// The keys that objects are opened with.
    pub static KEYS: RefCell<KeyRing> = RefCell::new(KeyRing::new());
}

fn codec_open(bytes: &[u8]) {
    KEYS.with_borrow(|keys| walproof::codec::fuzz_open(keys, bytes));
}

/// All of them.
pub const TARGETS: &[Target] = &[
    // Brotli's window alone has 16 MiB.
    Target { held_max: 40 << 20, ..target("codec", "codec/mod.rs", codec) },
    Target { held_max: 40 << 20, ..target("codec_open", "codec/mod.rs", codec_open) },
    Target { mend: Some(mend_tar), ..target("tar", "codec/tarball/mod.rs", walproof::codec::tarball::fuzz_one) },
    target("dump", "codec/dump/mod.rs", walproof::codec::dump::fuzz_one),
    Target { mend: Some(mend_wal), ..target("wal", "wal/mod.rs", walproof::wal::fuzz_one) },
    Target { mend: Some(mend_control), ..target("wal_files", "wal/mod.rs", walproof::wal::fuzz_one) },
    // The tree of files that a part of a few KiB can name, and the list of them.
    Target {
        held_max: 16 << 20,
        mend: Some(mend_tar),
        ..target("backup_part", "verify/backup/mod.rs", walproof::verify::backup::fuzz_one)
    },
    target("page", "page/mod.rs", walproof::page::fuzz_one),
    target("model", "model/mod.rs", walproof::model::fuzz_one),
    target("layout_keys", "layout/walg/keys.rs", walproof::layout::walg::keys::fuzz_one),
    target("layout_detect", "layout/detect.rs", walproof::layout::detect::fuzz_one),
    target("layout_files", "layout/files/mod.rs", walproof::layout::files::fuzz_one),
    target("files_list", "layout/walg/files.rs", walproof::layout::walg::files::fuzz_one),
    target("sidecar", "layout/walg/sidecar.rs", walproof::layout::walg::sidecar::fuzz_one),
    target("layout_read", "layout/mod.rs", walproof::layout::fuzz_one),
    Target { held_max: 16 << 20, ..target("audit", "audit/fuzz.rs", walproof::audit::fuzz_one) },
    // Trees of files and lists of them, as in `backup_part`, for each of several backups.
    Target { held_max: 32 << 20, ..target("audit_content", "audit/fuzz.rs", walproof::audit::fuzz_content) },
    Target { mend: Some(mend_tar), ..target("restore_paths", "restore/fuzz.rs", walproof::restore::fuzz_one) },
    target("policy_config", "policy/config/mod.rs", walproof::policy::config::fuzz_one),
    target("policy_files", "policy/files.rs", walproof::policy::files::fuzz_one),
    target("policy_plan", "policy/plan/mod.rs", walproof::policy::plan::fuzz_one),
    target("policy_deletes", "policy/retention/deletes.rs", walproof::policy::retention::fuzz_one),
    target("inventory_json", "policy/inventory/json.rs", walproof::policy::inventory::fuzz_one),
    // The Parquet reader is not ours, and makes room by what a page's header says.
    Target {
        held_max: 64 << 20,
        ..target("inventory_files", "policy/inventory/s3.rs", walproof::policy::inventory::fuzz_files)
    },
    target("lifecycle_bucket_file", "policy/lifecycle/formats.rs", walproof::policy::lifecycle::fuzz::bucket_file),
    target("lifecycle_what_if", "policy/lifecycle/file.rs", walproof::policy::lifecycle::fuzz::what_if_file),
    target("walg_settings", "config/walg.rs", walproof::config::fuzz_one),
    target("report", "report/mod.rs", walproof::report::fuzz_one),
    target("state", "state/envelope.rs", walproof::state::fuzz_one),
    target("s3_listing", "store/s3/list_xml.rs", walproof::store::s3::list_xml::fuzz_one),
    target("s3_refusal", "store/s3/fault.rs", walproof::store::s3::fuzz_refusal),
    target("gcs_listing", "store/gcs/list_json.rs", walproof::store::gcs::fuzz_one),
    target("gcs_refusal", "store/gcs/fault.rs", walproof::store::gcs::fuzz_refusal),
];
