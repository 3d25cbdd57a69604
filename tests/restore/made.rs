//! Archives made by hand, in memory.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use walproof::audit::{self, Content, Options, Stated, Storage, Target};
use walproof::catalog::Archive;
use walproof::fetch::Source;
use walproof::model::Timestamp;
use walproof::restore::{self, Plan, Request, RestoreError, Restored};
use walproof::run::RunContext;
use walproof::store::{Address, MemoryStore};

pub const NAME: &str = "base_000000010000000000000003";

/// A member with a right header checksum, whatever its fields say.
pub fn member(name: &[u8], flag: u8, size: u64, link: &[u8], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut short = name;
    if name.len() > 100 {
        // A GNU long name.
        out.extend(header(b"././@LongLink", b'L', name.len() as u64 + 1, b""));
        out.extend(name);
        out.push(0);
        out.resize(out.len().next_multiple_of(512), 0);
        short = &name[..100];
    }
    out.extend(header(short, flag, size, link));
    out.extend(body);
    out.resize(out.len().next_multiple_of(512), 0);
    out
}

fn header(name: &[u8], flag: u8, size: u64, link: &[u8]) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000600");
    block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    block[136..147].copy_from_slice(b"14726745340");
    block[156] = flag;
    block[157..157 + link.len()].copy_from_slice(link);
    block[257..265].copy_from_slice(b"ustar  \0");
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

pub fn file(name: &str, body: &[u8]) -> Vec<u8> {
    member(name.as_bytes(), b'0', body.len() as u64, b"", body)
}

pub fn tar(members: &[Vec<u8>]) -> Vec<u8> {
    [members.concat(), vec![0; 1024]].concat()
}

/// A `pg_control` of 15 that is whole.
pub fn control(system: u64) -> Vec<u8> {
    let mut file = vec![0; 8192];
    file[0..8].copy_from_slice(&system.to_le_bytes());
    file[8..12].copy_from_slice(&1300u32.to_le_bytes());
    file[12..16].copy_from_slice(&202_209_061u32.to_le_bytes());
    file[16] = 6;
    let crc = crc32c::crc32c(&file[..288]);
    file[288..292].copy_from_slice(&crc.to_le_bytes());
    file
}

pub const SYSTEM: u64 = 7_300_000_000_000_000_001;

/// An archive with one backup.
pub struct Made {
    pub store: Arc<MemoryStore>,
}

impl Made {
    /// With these data tars, and a list of files where there is one.
    pub fn new(parts: &[Vec<u8>], files: Option<&[&str]>, data_bytes: u64) -> Made {
        let store = Arc::new(MemoryStore::new());
        let made = Made { store };
        for (number, part) in parts.iter().enumerate() {
            made.put(&format!("{NAME}/tar_partitions/part_{:03}.tar", number + 1), part.clone());
        }
        made.put(
            &format!("{NAME}/tar_partitions/pg_control.tar"),
            tar(&[file("/global/pg_control", &control(SYSTEM))]),
        );
        made.put(&format!("{NAME}/tar_partitions/backup_label.tar"), tar(&[file("backup_label", b"label")]));
        let mut sentinel = json!({"LSN": 0x300_0028, "FinishLSN": 0x300_0100, "PgVersion": 150_000, "Version": 2,
            "SystemIdentifier": SYSTEM, "DataCatalogSize": data_bytes});
        match files {
            Some(files) => {
                let sets: BTreeMap<String, Vec<&str>> =
                    (1..=parts.len()).map(|number| (format!("part_{number:03}.tar"), vec![])).collect();
                let files: BTreeMap<&str, serde_json::Value> = files.iter().map(|path| (*path, json!({}))).collect();
                let list = json!({"Files": files, "TarFileSets": sets});
                made.put(&format!("{NAME}/files_metadata.json"), list.to_string().into_bytes());
            }
            None => sentinel["FilesMetadataDisabled"] = json!(true),
        }
        let summary = json!({"start_lsn": 0x300_0028, "finish_lsn": 0x300_0100, "pg_version": 150_000});
        made.put(&format!("{NAME}/metadata.json"), summary.to_string().into_bytes());
        made.put(&format!("{NAME}_backup_stop_sentinel.json"), sentinel.to_string().into_bytes());
        made
    }

    pub fn put(&self, key: &str, body: Vec<u8>) {
        let at: Timestamp = "2026-11-20T00:00:00Z".parse().unwrap();
        self.store.put(format!("basebackups_005/{key}"), body, at);
    }

    pub async fn archive(&self) -> (Archive, Source) {
        let target = Target {
            name: None,
            storages: vec![Storage { store: self.store.clone(), address: Address::parse("s3://b").unwrap() }],
            layout: None,
            keys: Arc::default(),
            exceptions: Vec::new(),
            not_checked: Vec::new(),
            required: Vec::new(),
            stated: Stated::default(),
        };
        let found = audit::catalogue(&target, &Options::default(), &context()).await.unwrap();
        let Content::Known(known) = found.into_iter().next().unwrap().content else { panic!("an archive") };
        (known.archive, target.source(b""))
    }

    pub async fn restore(&self, into: &Path, options: &restore::Options) -> Result<Restored, RestoreError> {
        let (archive, source) = self.archive().await;
        let plan = Plan::of(&archive, &Request { backup: NAME.to_owned(), ..Request::default() })?;
        restore::restore(&source, &plan, into, options, &context()).await
    }
}

pub fn context() -> RunContext {
    RunContext::new("2026-11-22T00:00:00Z".parse().unwrap())
}
