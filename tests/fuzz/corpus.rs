//! What is mutated: bytes written here, and where they lie, pieces of the golden archives and the reference files.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::Path;

use walproof::codec::crypto::{KeyRing, KeyTransform};
use walproof::codec::{Limits, open};
use walproof::model::CodecKind;

use super::golden_support as golden;
use super::mutate::BYTES_MAX;
use super::own;
use super::targets::codec_kind;

/// Seeds of one target, at most.
const SEEDS_MAX: usize = 80;

/// Seeds by the name of their target.
#[derive(Default)]
pub struct Corpus(pub BTreeMap<&'static str, Vec<Vec<u8>>>);

impl Corpus {
    pub fn add(&mut self, target: &'static str, bytes: impl Into<Vec<u8>>) {
        let seeds = self.0.entry(target).or_default();
        let mut bytes = bytes.into();
        bytes.truncate(BYTES_MAX);
        if seeds.len() < SEEDS_MAX {
            seeds.push(bytes);
        }
    }

    fn add_each(&mut self, targets: &[&'static str], bytes: &[u8]) {
        targets.iter().for_each(|target| self.add(target, bytes));
    }
}

/// Everything, and the keys that open what is encrypted.
pub fn corpus() -> (Corpus, KeyRing) {
    let mut corpus = Corpus::default();
    let mut keys = KeyRing::new();
    own::add(&mut corpus);
    if let Some(dir) = golden::golden() {
        let secret = fs::read(dir.join("keys/walg-pgp-secret.asc")).unwrap();
        keys.add_pgp(&secret, None).unwrap();
        let secret = fs::read(dir.join("keys/walg-libsodium.hex")).unwrap();
        keys.set_libsodium_file(&secret, KeyTransform::Hex).unwrap();
        let secret = golden::unpacked(&dir, "wale-gpg-pg14").join("secret-test-key.asc");
        keys.add_pgp(&fs::read(secret).unwrap(), None).unwrap();
        for name in golden::all() {
            add_archive(&mut corpus, &golden::root(&dir, name), &keys);
        }
        add_reference_files(&mut corpus, &dir.parent().unwrap().join("specs"));
    }
    let state = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/state/schema-1");
    for entry in fs::read_dir(state).unwrap() {
        let path = entry.unwrap().path();
        corpus.add("state", path.file_name().unwrap().as_encoded_bytes());
        corpus.add("state", fs::read(path).unwrap());
    }
    let frames = corpus.0.get("audit").cloned().unwrap_or_default();
    for frames in frames.iter().take(4) {
        corpus.add("report", serde_json::to_vec(&walproof::audit::fuzz_document(frames)).unwrap());
    }
    (corpus, keys)
}

fn add_reference_files(corpus: &mut Corpus, specs: &Path) {
    corpus.add("policy_config", fs::read(specs.join("samples/policy-example.toml")).unwrap());
    for entry in fs::read_dir(specs.join("samples")).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        if name.starts_with("plan-") {
            corpus.add("policy_plan", fs::read(&path).unwrap());
        } else if name.starts_with("inventory-") {
            corpus.add("inventory_json", fs::read(&path).unwrap());
        }
    }
    let vectors = fs::read(specs.join("lifecycle-vectors.json")).unwrap();
    let mut vectors: serde_json::Value = serde_json::from_slice(&vectors).unwrap();
    for vector in vectors["vectors"].as_array().unwrap() {
        corpus.add("lifecycle_bucket_file", vector["rules"].to_string());
        corpus.add("policy_plan", vector["rules"].to_string());
    }
    let all = std::mem::take(vectors["vectors"].as_array_mut().unwrap());
    for few in all.chunks(3) {
        vectors["vectors"] = few.to_vec().into();
        corpus.add("lifecycle_what_if", vectors.to_string());
    }
}

/// The files below a folder, keys relative to it.
fn files(root: &Path, below: &Path, out: &mut Vec<String>) {
    let mut entries: Vec<_> = fs::read_dir(below).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            files(root, &path, out);
        } else {
            out.push(path.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
        }
    }
}

fn add_archive(corpus: &mut Corpus, root: &Path, keys: &KeyRing) {
    let mut keys_of_archive = Vec::new();
    files(root, root, &mut keys_of_archive);
    let mut objects = Vec::new();
    for key in &keys_of_archive {
        let path = root.join(key);
        let size = fs::metadata(&path).unwrap().len();
        let content = if size <= 16 << 10 { fs::read(&path).unwrap() } else { vec![0] };
        objects.push((key.clone(), content));
    }
    corpus.add_each(&["audit", "audit_content"], &own::frames(&objects));
    for key in keys_of_archive.iter().step_by(keys_of_archive.len() / 4 + 1) {
        corpus.add_each(&["layout_keys", "layout_detect"], key.as_bytes());
        corpus.add("model", key.rsplit('/').next().unwrap());
        corpus.add("layout_files", format!("{{tier}}/{{date}}_{key}"));
    }
    let mut of_kind: BTreeMap<&str, u32> = BTreeMap::new();
    for key in &keys_of_archive {
        let kind = match key.as_str() {
            key if key.ends_with(".json") || key.ends_with("extended_version.txt") => "text",
            key if key.contains(".history") || key.contains(".backup") => "history",
            key if key.starts_with("wal_005/") && key.contains("_delta") => continue,
            key if key.starts_with("wal_005/") => "wal",
            key if key.contains("/pg_control.tar") => "control",
            key if key.contains("/tar_partitions/") => "part",
            _ => continue,
        };
        let seen = of_kind.entry(kind).or_default();
        *seen += 1;
        if *seen <= 2 {
            add_object(corpus, key, kind, &root.join(key), keys);
        }
    }
}

fn add_object(corpus: &mut Corpus, key: &str, kind: &str, path: &Path, keys: &KeyRing) {
    let stored = fs::read(path).unwrap();
    if kind == "text" {
        return corpus.add_each(&["sidecar", "files_list", "layout_read", "backup_part"], &stored);
    }
    let codec = CodecKind::split(key.as_bytes()).1;
    let choice = (0..=u8::MAX).find(|choice| codec_kind(*choice) == codec).unwrap();
    if stored.len() <= 96 << 10 {
        let chosen = [&[choice], &stored[..]].concat();
        corpus.add_each(&["codec", "codec_open"], &chosen);
    }
    let mut plain = Vec::new();
    let reader = open(codec, keys, Box::new(&stored[..]), &Limits::default()).unwrap().reader;
    // Segments behind a switch are zeros, and parts are long: their beginning will do.
    reader.take(512 << 10).read_to_end(&mut plain).unwrap();
    match kind {
        "history" => corpus.add_each(&["layout_read", "model", "wal_files"], &plain),
        "wal" => {
            corpus.add("wal", &plain[..plain.len().min(5 * 8192)]);
            corpus.add("layout_read", &plain[..40]);
        }
        _ => add_members(corpus, &plain),
    }
}

fn add_members(corpus: &mut Corpus, plain: &[u8]) {
    corpus.add_each(&["tar", "backup_part"], &plain[..plain.len().min(64 << 10)]);
    let mut tar = tar::Archive::new(plain);
    let mut pages = 0;
    for entry in tar.entries().unwrap() {
        // The last member was cut.
        let Ok(mut entry) = entry else { break };
        let path = String::from_utf8_lossy(&entry.path_bytes()).into_owned();
        let mut content = Vec::new();
        if entry.read_to_end(&mut content).is_err() {
            break;
        }
        let small = ["global/pg_control", "backup_label", "tablespace_map"];
        if small.iter().any(|name| path.ends_with(name)) {
            corpus.add_each(&["wal_files", "backup_part"], &content);
        } else if content.len() >= 8192 && pages < 3 {
            pages += 1;
            corpus.add("page", &content[..content.len().min(5 * 8192)]);
        }
    }
}

/// The bytes of some text, packed; nothing for codecs that only other programs write.
pub fn packed(kind: CodecKind, plain: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    match kind {
        CodecKind::Lz4 => {
            let mut writer = lz4_flex::frame::FrameEncoder::new(&mut out);
            writer.write_all(plain).unwrap();
            writer.finish().unwrap();
        }
        CodecKind::Zstd => zstd::stream::copy_encode(plain, &mut out, 3).unwrap(),
        CodecKind::Lzma => {
            let options = liblzma::stream::LzmaOptions::new_preset(0).unwrap();
            let stream = liblzma::stream::Stream::new_lzma_encoder(&options).unwrap();
            liblzma::write::XzEncoder::new_stream(&mut out, stream).write_all(plain).unwrap();
        }
        CodecKind::Xz => liblzma::write::XzEncoder::new(&mut out, 0).write_all(plain).unwrap(),
        CodecKind::Brotli => brotli::CompressorWriter::new(&mut out, 4096, 1, 18).write_all(plain).unwrap(),
        CodecKind::Gzip => {
            flate2::write::GzEncoder::new(&mut out, flate2::Compression::fast()).write_all(plain).unwrap();
        }
        CodecKind::Bzip2 => {
            bzip2::write::BzEncoder::new(&mut out, bzip2::Compression::fast()).write_all(plain).unwrap()
        }
        CodecKind::Snappy => snap::write::FrameEncoder::new(&mut out).write_all(plain).unwrap(),
        CodecKind::None => out.extend(plain),
        _ => return None,
    }
    Some(out)
}
