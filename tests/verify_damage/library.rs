//! The library on archives that lie on disk, without a process of its own.

use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use walproof::audit::{self, Catalogued, Content, Target};
use walproof::catalog::{Archive, BaseBackup};
use walproof::codec::crypto::{KeyRing, KeyTransform};
use walproof::codec::{self, Limits};
use walproof::run::{Cancel, RunContext};
use walproof::store::{self, Address, StoreOptions};
use walproof::verify::backup::{ChainCheck, Conclusion, Expectation, PartSeen, check_part, conclude};

use crate::golden_support as g;

pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

pub fn keys(golden: &Path, name: &str) -> KeyRing {
    let mut keys = KeyRing::new();
    let read = |path: PathBuf| std::fs::read(path).unwrap();
    match name {
        "walg-libsodium-pg15" => {
            keys.set_libsodium_file(&read(golden.join("keys/walg-libsodium.hex")), KeyTransform::Hex).unwrap();
        }
        "walg-pgp-pg15" => keys.add_pgp(&read(golden.join("keys/walg-pgp-secret.asc")), None).unwrap(),
        "wale-gpg-pg14" => keys.add_pgp(&read(g::unpacked(golden, name).join("secret-test-key.asc")), None).unwrap(),
        _ => {}
    }
    keys
}

pub async fn target(root: &Path, keys: KeyRing) -> Target {
    let address = Address::Directory(root.to_path_buf());
    let limits = store::Limits::new(16);
    let opened = store::open(&address, &StoreOptions::default(), limits, Cancel::default()).await.unwrap();
    Target {
        name: None,
        storages: vec![audit::Storage { store: opened, address }],
        layout: None,
        keys: Arc::new(keys),
        exceptions: Vec::new(),
        not_checked: Vec::new(),
        required: Vec::new(),
        stated: Default::default(),
    }
}

pub async fn catalogue(target: &Target, ctx: &RunContext) -> Catalogued {
    audit::catalogue(target, &audit::Options::default(), ctx).await.unwrap().into_iter().next().unwrap()
}

/// An archive on disk with what its listing tells.
pub struct Loaded {
    pub root: PathBuf,
    pub archive: Archive,
    keys: KeyRing,
}

impl Loaded {
    pub fn golden(golden: &Path, name: &str) -> Self {
        let root = g::root(golden, name);
        let archive = runtime().block_on(async {
            let target = target(&root, keys(golden, name)).await;
            match catalogue(&target, &RunContext::new(jiff::Timestamp::now())).await.content {
                Content::Known(known) => known.archive,
                Content::NotRead(_) => panic!("{name} is not read"),
            }
        });
        Loaded { root, archive, keys: keys(golden, name) }
    }

    pub fn stored(&self, key: &walproof::model::ObjectKey) -> Vec<u8> {
        std::fs::read(self.root.join(key.to_string())).unwrap()
    }

    pub fn expectation(&self, backup: &BaseBackup) -> Expectation {
        let mut expectation = Expectation::new(backup);
        if let Some(list) = backup.files_metadata.object() {
            expectation.read_files(&mut self.stored(&list.key).as_slice()).unwrap();
        }
        expectation
    }

    /// Walks the parts of a backup, each as `change` gives it (decoded), and concludes.
    pub fn conclude(
        &self,
        backup: &BaseBackup,
        mut change: impl FnMut(&str, Vec<u8>) -> Option<Vec<u8>>,
    ) -> Conclusion {
        let expectation = self.expectation(backup);
        let mut seen: Vec<PartSeen> = Vec::new();
        for part in &backup.parts {
            let Some(plain) = change(&part.name, self.plain(part)) else { continue };
            let part = check_part(&part.name, &mut plain.as_slice(), &expectation, &Cancel::default()).unwrap();
            seen.push(part);
        }
        let chain = self.chain(backup, &expectation);
        conclude(backup, &expectation, &seen, chain.as_ref())
    }

    pub fn plain(&self, part: &walproof::catalog::Part) -> Vec<u8> {
        let stored = Cursor::new(self.stored(&part.object.key));
        let mut opened = codec::open(part.codec, &self.keys, Box::new(stored), &Limits::default()).unwrap();
        let mut plain = Vec::new();
        opened.reader.read_to_end(&mut plain).unwrap();
        plain
    }

    fn chain(&self, backup: &BaseBackup, expectation: &Expectation) -> Option<walproof::verify::backup::ChainSeen> {
        let mut parent = backup.kind.parent()?.to_owned();
        let mut check = ChainCheck::new(expectation);
        while let Some(ancestor) = self.archive.backups.iter().find(|backup| backup.name == parent) {
            check.step(&parent, &self.expectation(ancestor));
            match ancestor.kind.parent() {
                Some(next) => next.clone_into(&mut parent),
                None => break,
            }
        }
        Some(check.finish())
    }
}
