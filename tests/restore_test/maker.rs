//! An archive as wal-g leaves one, made of a real cluster of any major: for those without a golden archive.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::json;
use tokio_postgres::Client;
use walproof::model::Lsn;
use walproof::postgres::{
    ClusterOptions, Identity, Installation, Origin, Sandbox, Server, ServerOptions, StopMode, create_cluster,
};
use walproof::run::Cancel;

use crate::run::{lsn, work_dir};

const TIMESTAMP: &str = "%Y-%m-%dT%H:%M:%S.%6fZ";
/// What the text of a logical message says, to find it in WAL.
const MESSAGE: &str = "of a custom resource manager";

/// A moment of the source: what the ledger held.
#[derive(Debug, Clone)]
pub struct Mark {
    /// Behind the commit that made it so.
    pub lsn: Lsn,
    /// As the source's clock had it, behind that commit.
    pub time: String,
    /// The transaction that made it so.
    pub xid: u64,
    pub rows: u64,
    pub md5: String,
}

/// An archive with one backup, and what its source held when.
pub struct Made {
    dir: tempfile::TempDir,
    pub backup: String,
    /// In the order of their commits. The backup is consistent behind the third.
    pub marks: Vec<Mark>,
    /// The restore point `before release` lies behind this mark and before the next.
    pub named: usize,
    /// Starts of logical messages, behind all marks: WAL that changes nothing.
    pub messages: Vec<Lsn>,
}

pub const NAME: &str = "before release";
pub const SEGMENT: u64 = 1 << 20;
/// The backup ends behind this mark.
pub const CONSISTENT: usize = 2;

impl Made {
    pub fn root(&self) -> PathBuf {
        self.dir.path().join("archive")
    }

    /// A statement that is true where the ledger is as it was behind the last commit that was replayed.
    pub fn ledger_fits_where_replay_ended(&self) -> String {
        let marks: Vec<String> =
            self.marks.iter().map(|mark| format!("(pg_lsn '{}', {}, '{}')", mark.lsn, mark.rows, mark.md5)).collect();
        format!(
            "select (select (r, m) from (values {}) v (l, r, m) where l <= pg_last_wal_replay_lsn() order by l desc \
             limit 1) = (select (count(*)::int, md5(string_agg(id||':'||amt||':'||note, ',' order by id))) from ledger)",
            marks.join(", ")
        )
    }
}

struct Source {
    sandbox: Sandbox,
    data: PathBuf,
    /// Where `archive_command` copies to.
    plain: PathBuf,
    client: Client,
    marks: Vec<Mark>,
    round: u64,
}

/// Runs a server of this installation, takes a backup of it while it writes, and stores that with its WAL.
pub fn make(bin: &Path) -> Made {
    let installation = Installation::at(bin, Origin::Given).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(make_of(&installation))
}

async fn make_of(installation: &Installation) -> Made {
    let dir = work_dir();
    let sandbox = Sandbox::create(Some(dir.path()), Identity::resolve(None).unwrap()).unwrap();
    let mut cluster = ClusterOptions::default();
    cluster.segment_mib = 1;
    let data = create_cluster(&sandbox, installation, "data", &cluster, &Cancel::default()).await.unwrap();
    let plain = sandbox.dir("plain").unwrap();
    let options = ServerOptions::default()
        .set("archive_mode", "on")
        .set("archive_command", format!("cp %p {}/%f", plain.display()))
        .set("wal_level", "replica")
        .set("fsync", "off")
        .set("shared_buffers", "16MB")
        .set("autovacuum", "off");
    let mut server = Server::start(&sandbox, installation, &data, options).unwrap();
    let client = server.ready("postgres", "postgres", &Cancel::default(), |_| {}).await.unwrap();
    let mut source = Source { sandbox, data, plain, client, marks: Vec::new(), round: 0 };

    source.run("create table ledger (id int primary key, amt int, note text)").await;
    source.mark().await;
    let old = installation.version.major < 15;
    let (begin, end) = match old {
        true => ("pg_start_backup('full', true, false)", "pg_stop_backup(false, false)"),
        false => ("pg_backup_start('full', true)", "pg_backup_stop(false)"),
    };
    let root = dir.path().join("archive");
    let start = lsn(&source.one(&format!("select {begin}::text")).await);
    let backup = format!("base_{}", source.one(&format!("select pg_walfile_name('{}')", Lsn(start))).await);
    source.mark().await;
    let (files, bytes) = source.data_tar(&root, &backup);
    // What is written meanwhile is in WAL only, or torn in the files: replay has to mend it.
    source.mark().await;
    let stopped = source.client.query_one(&format!("select lsn::text, labelfile from {end}"), &[]).await.unwrap();
    let (finish, label): (String, String) = (stopped.get(0), stopped.get(1));
    let version: u32 = source.one("show server_version_num").await.parse().unwrap();
    let system = source.one("select system_identifier::text from pg_control_system()").await.parse().unwrap();
    let sentinel = Sentinel { backup: &backup, start, finish: lsn(&finish), version, system, bytes };
    sentinel.write(&root, &source, &label, &files);

    for _ in 0..2 {
        source.mark().await;
    }
    let named = source.marks.len() - 1;
    source.run(&format!("select pg_create_restore_point('{NAME}')")).await;
    // Enough that it fills some segments, and a checkpoint on the way.
    for round in 0..3 {
        source.mark().await;
        source
            .run("create table filler as select i, md5(i::text) from generate_series(1, 9000) i; drop table filler")
            .await;
        if round == 1 {
            source.run("checkpoint").await;
        }
    }
    source.mark().await;
    let mut messages = Vec::new();
    for _ in 0..4 {
        messages.push(Lsn(lsn(&source.one("select pg_current_wal_insert_lsn()::text").await)));
        source.run(&format!("select pg_logical_emit_message(false, 'test', '{MESSAGE}')")).await;
    }
    source.archived().await;
    let Source { client, plain, marks, .. } = source;
    drop(client);
    server.stop(StopMode::Immediate, Duration::from_secs(30)).await.unwrap();
    for entry in fs::read_dir(&plain).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        store(&root.join(format!("wal_005/{name}.lz4")), &fs::read(&path).unwrap());
    }
    drop(plain);
    Made { dir, backup, marks, named, messages }
}

impl Source {
    async fn run(&self, sql: &str) {
        self.client.batch_execute(sql).await.unwrap();
    }

    async fn one(&self, sql: &str) -> String {
        self.client.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// Rows that come, change and go in a transaction of their own.
    async fn mark(&mut self) {
        self.round += 1;
        let (from, to) = (self.round * 100, self.round * 100 + 60 + self.round);
        self.run("begin").await;
        self.run(&format!(
            "insert into ledger select i, i % 7, 'round {}' from generate_series({from}, {to}) i; \
             update ledger set amt = amt + 1 where id % 5 = 0; delete from ledger where id % 50 = {}",
            self.round, self.round
        ))
        .await;
        let xid = self.one("select txid_current()::text").await.parse().unwrap();
        self.run("commit").await;
        let lsn = Lsn(lsn(&self.one("select pg_current_wal_lsn()::text").await));
        // Clearly between two commits, whatever the clock's steps.
        tokio::time::sleep(Duration::from_millis(15)).await;
        let now = jiff::Timestamp::now();
        tokio::time::sleep(Duration::from_millis(15)).await;
        let truth = self
            .client
            .query_one("select count(*), md5(string_agg(id||':'||amt||':'||note, ',' order by id)) from ledger", &[])
            .await
            .unwrap();
        let rows = truth.get::<_, i64>(0) as u64;
        let time = now.strftime(TIMESTAMP).to_string();
        self.marks.push(Mark { lsn, time, xid, rows, md5: truth.get(1) });
    }

    /// Waits until all WAL so far is copied.
    async fn archived(&self) {
        let last = self.one("select pg_walfile_name(pg_switch_wal())").await;
        for _ in 0..600 {
            if self.plain.join(&last).exists() {
                let copied = self.one("select coalesce(last_archived_wal, '') from pg_stat_archiver").await;
                if copied >= last {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{last} was not archived");
    }

    /// The data directory without what a backup leaves out and without `pg_control`, which comes last.
    fn data_tar(&self, root: &Path, backup: &str) -> (Vec<String>, u64) {
        let mut tar = tar::Builder::new(Vec::new());
        let (mut listed, mut bytes, mut open) = (Vec::new(), 0, vec![PathBuf::new()]);
        while let Some(dir) = open.pop() {
            let mut entries: Vec<_> = fs::read_dir(self.data.join(&dir)).unwrap().map(|entry| entry.unwrap()).collect();
            entries.sort_by_key(fs::DirEntry::file_name);
            for entry in entries {
                let path = dir.join(entry.file_name());
                let name = path.to_str().unwrap();
                if ["postmaster.pid", "postmaster.opts", "global/pg_control"].contains(&name)
                    || name.starts_with("base/pgsql_tmp")
                {
                    continue;
                }
                if entry.file_type().unwrap().is_dir() {
                    let mut header = header(0);
                    header.set_entry_type(tar::EntryType::Directory);
                    tar.append_data(&mut header, &path, std::io::empty()).unwrap();
                    listed.push(name.to_owned());
                    if !["pg_wal", "pg_replslot", "pg_stat_tmp", "pg_dynshmem", "pg_subtrans"].contains(&name) {
                        open.push(path);
                    }
                    continue;
                }
                // It may be gone by now, as on any running server.
                let Ok(content) = fs::read(entry.path()) else { continue };
                tar.append_data(&mut header(content.len()), &path, &content[..]).unwrap();
                bytes += content.len() as u64;
                listed.push(name.to_owned());
            }
        }
        store(&tars(root, backup).join("part_001.tar.lz4"), &tar.into_inner().unwrap());
        (listed, bytes)
    }
}

struct Sentinel<'a> {
    backup: &'a str,
    start: u64,
    finish: u64,
    version: u32,
    system: u64,
    bytes: u64,
}

impl Sentinel<'_> {
    /// The last two tars and the four files of JSON.
    fn write(&self, root: &Path, source: &Source, label: &str, files: &[String]) {
        let at = |name: &str, body: &[u8]| {
            let mut tar = tar::Builder::new(Vec::new());
            tar.append_data(&mut header(body.len()), name, body).unwrap();
            tar.into_inner().unwrap()
        };
        let folder = tars(root, self.backup);
        let control = fs::read(source.data.join("global/pg_control")).unwrap();
        store(&folder.join("pg_control.tar.lz4"), &at("global/pg_control", &control));
        store(&folder.join("backup_label.tar.lz4"), &at("backup_label", label.as_bytes()));
        let now = jiff::Timestamp::now().strftime(TIMESTAMP).to_string();
        let named = |file: &String| {
            let facts = json!({"IsIncremented": false, "IsSkipped": false, "MTime": now, "UpdatesCount": 0});
            (format!("/{file}"), facts)
        };
        let listed: serde_json::Map<_, _> = files.iter().map(named).collect();
        let sets = json!({"part_001.tar.lz4": [], "pg_control.tar.lz4": [], "backup_label.tar.lz4": []});
        let base = root.join("basebackups_005");
        let write = |path: PathBuf, value: serde_json::Value| fs::write(path, value.to_string()).unwrap();
        write(base.join(self.backup).join("files_metadata.json"), json!({"Files": listed, "TarFileSets": sets}));
        write(
            base.join(self.backup).join("metadata.json"),
            json!({"start_time": now, "finish_time": now, "date_fmt": "%Y-%m-%dT%H:%M:%S.%fZ", "hostname": "source",
                "data_dir": source.data, "pg_version": self.version, "start_lsn": self.start, "finish_lsn": self.finish,
                "is_permanent": false, "system_identifier": self.system, "uncompressed_size": self.bytes}),
        );
        write(
            base.join(format!("{}_backup_stop_sentinel.json", self.backup)),
            json!({"LSN": self.start, "FinishLSN": self.finish, "PgVersion": self.version, "Version": 2,
                "SystemIdentifier": self.system, "UncompressedSize": self.bytes, "DataCatalogSize": self.bytes,
                "StartTime": now, "FinishTime": now, "DateFmt": "%Y-%m-%dT%H:%M:%S.%fZ", "Hostname": "source",
                "DataDir": source.data, "IsPermanent": false}),
        );
        assert!(source.sandbox.root().is_dir());
    }
}

fn tars(root: &Path, backup: &str) -> PathBuf {
    root.join("basebackups_005").join(backup).join("tar_partitions")
}

fn header(bytes: usize) -> tar::Header {
    let mut header = tar::Header::new_ustar();
    header.set_size(bytes as u64);
    header.set_mode(0o600);
    header
}

/// Packs with lz4.
fn store(path: &Path, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let mut encoder = lz4_flex::frame::FrameEncoder::new(File::create(path).unwrap());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// Makes the first of these records that lies on one page one of a custom resource manager, with a right checksum.
pub fn to_custom_resource_manager(root: &Path, messages: &[Lsn]) -> String {
    let whole = |lsn: &&Lsn| lsn.0 % 8192 > 40 && lsn.0 % 8192 + 200 < 8192;
    let at = messages.iter().find(whole).expect("a record on one page");
    let size = walproof::model::SegmentSize::new(SEGMENT).unwrap();
    let name = at.segment(size).name(walproof::model::TimelineId::new(1).unwrap(), size).to_string();
    let path = root.join(format!("wal_005/{name}.lz4"));
    let mut bytes = Vec::new();
    let mut decoder = lz4_flex::frame::FrameDecoder::new(File::open(&path).unwrap());
    std::io::Read::read_to_end(&mut decoder, &mut bytes).unwrap();
    let offset = usize::try_from(at.0 % SEGMENT).unwrap();
    let length = u32::from_le_bytes(bytes[offset..offset + 4].try_into().unwrap()) as usize;
    let record = &mut bytes[offset..offset + length];
    assert!(record.windows(MESSAGE.len()).any(|window| window == MESSAGE.as_bytes()), "{name} {at}");
    assert_eq!(record[17], 21, "{name} {at}: a logical message");
    record[17] = 130;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&record[24..]), &record[..20]);
    record[20..24].copy_from_slice(&crc.to_le_bytes());
    store(&path, &bytes);
    name
}
