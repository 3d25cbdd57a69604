//! A base backup of a running server through its backup functions, cut into tars like the original tool's.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio_postgres::Client;

use super::objects::{BACKUPS, Bucket, EXTENSION, Upload};
use super::sidecar::{Database, Facts, FileDescription, FilesMetadata, Metadata, Relation, Sentinel, nanos};
use super::tar::{Member, TarWriter};
use super::{DemoBackup, DemoError, Result};
use crate::model::{Lsn, SegmentName, Timestamp};
use crate::postgres::{PostgresError, Server};
use crate::run::Cancel;

/// Directories that are archived empty.
const EMPTIED: &[&str] = &[
    "log",
    "pg_dynshmem",
    "pg_log",
    "pg_notify",
    "pg_replslot",
    "pg_serial",
    "pg_snapshots",
    "pg_stat_tmp",
    "pg_subtrans",
    "pg_wal",
    "pg_xlog",
    "pgsql_tmp",
];
/// Files that are left out. `pg_control` gets a tar of its own.
const LEFT_OUT: &[&str] =
    &["pg_control", "postgresql.auto.conf.tmp", "postmaster.opts", "postmaster.pid", "recovery.conf", "standby.signal"];

/// Takes a full backup. `busy` runs while the server is in backup mode, before its files are read: a backup of a
/// server that stands still would prove little.
pub(super) async fn push(
    server: &Server,
    major: u32,
    bucket: &Bucket,
    part_bytes: u64,
    cancel: &Cancel,
    busy: &str,
) -> Result<DemoBackup> {
    let started = Timestamp::now();
    // The backup belongs to this connection.
    let client = server.connect("postgres", "postgres").await?;
    let (start, stop) = if major >= 15 {
        ("select pg_backup_start('walproof demo', true)::text", "pg_backup_stop(true)")
    } else {
        ("select pg_start_backup('walproof demo', true, false)::text", "pg_stop_backup(false, true)")
    };
    let start_lsn = lsn(client.query_one(start, &[]).await?.get(0))?;
    let name_sql = format!("select pg_walfile_name('{start_lsn}')");
    let segment: String = client.query_one(&name_sql, &[]).await?.get(0);
    let segment = SegmentName::parse(segment.as_bytes()).ok_or(DemoError::Unexpected(segment))?;
    let name = format!("base_{segment}");
    client.batch_execute(busy).await?;

    let copy = Copy { bucket: bucket.clone(), name: name.clone(), part_bytes, cancel: cancel.clone() };
    let data = server.data_dir().to_owned();
    let mut copied = blocking(move || copy.run(&data)).await?;

    let stopped = client.query_one(&format!("select lsn::text, labelfile, spcmapfile from {stop}"), &[]).await?;
    let finish_lsn = lsn(stopped.get(0))?;
    let label = [("backup_label", stopped.get::<_, String>(1)), ("tablespace_map", stopped.get::<_, String>(2))];
    write_label(bucket, &name, &label, &mut copied)?;
    // After the WAL is safe, so that whoever finds the sentinel finds a whole backup.
    copied.metadata.databases_by_names = relations(server, &client).await?;
    let facts = client
        .query_one("select system_identifier, current_setting('server_version_num')::int from pg_control_system()", &[])
        .await?;
    let facts = Facts {
        started,
        finished: Timestamp::now(),
        hostname: "walproof-demo".into(),
        data_dir: server.data_dir().display().to_string(),
        pg_version_num: facts.get::<_, i32>(1).unsigned_abs(),
        start_lsn: start_lsn.0,
        finish_lsn: finish_lsn.0,
        // The server shows an unsigned number as a signed one.
        system_identifier: facts.get::<_, i64>(0).cast_unsigned(),
        uncompressed_bytes: copied.uncompressed_bytes,
        compressed_bytes: copied.compressed_bytes,
        catalog_bytes: copied.catalog_bytes,
    };
    bucket.put_json(&format!("{BACKUPS}/{name}/metadata.json"), &Metadata::new(&facts))?;
    bucket.put_json(&format!("{BACKUPS}/{name}/files_metadata.json"), &copied.metadata)?;
    bucket.put_json(&format!("{BACKUPS}/{name}_backup_stop_sentinel.json"), &Sentinel::new(&facts))?;
    Ok(DemoBackup { name, timeline: segment.timeline, start_lsn, finish_lsn, parts: copied.parts })
}

pub(super) fn lsn(text: &str) -> Result<Lsn> {
    text.parse().map_err(|e: crate::model::ParseLsnError| DemoError::Unexpected(e.to_string()))
}

/// File work away from the threads that serve connections.
pub(super) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) if e.is_panic() => std::panic::resume_unwind(e.into_panic()),
        Err(e) => Err(DemoError::Unexpected(e.to_string())),
    }
}

/// What a connection to each database says its relations are.
async fn relations(server: &Server, client: &Client) -> Result<BTreeMap<String, Database>> {
    let mut databases = BTreeMap::new();
    for row in client.query("select datname::text, oid from pg_database where datallowconn", &[]).await? {
        let (name, oid): (String, u32) = (row.get(0), row.get(1));
        let there = server.connect("postgres", &name).await?;
        let tables = there
            .query(
                "select n.nspname || '.' || c.relname, c.oid, pg_relation_filenode(c.oid) from pg_class c \
                 join pg_namespace n on n.oid = c.relnamespace where pg_relation_filenode(c.oid) is not null",
                &[],
            )
            .await?;
        let tables_new = tables.iter().map(|r| (r.get(0), Relation { oid: r.get(1), relfilenode: r.get(2) })).collect();
        databases.insert(name, Database { oid, tables_new });
    }
    Ok(databases)
}

fn part_key(backup: &str, tar: &str) -> String {
    format!("{BACKUPS}/{backup}/tar_partitions/{tar}")
}

/// Reading the data directory.
struct Copy {
    bucket: Bucket,
    name: String,
    part_bytes: u64,
    cancel: Cancel,
}

/// What has been read so far.
#[derive(Default)]
struct Copied {
    metadata: FilesMetadata,
    parts: u32,
    uncompressed_bytes: u64,
    compressed_bytes: u64,
    catalog_bytes: u64,
}

struct Part {
    tar: TarWriter<Upload>,
    name: String,
}

impl Copied {
    fn open_part(&mut self, copy: &Copy) -> Result<Part> {
        self.parts += 1;
        let name = format!("part_{:03}.tar.{EXTENSION}", self.parts);
        Ok(Part { tar: TarWriter::new(copy.bucket.upload(&part_key(&copy.name, &name))?), name })
    }

    fn close(&mut self, tar: TarWriter<Upload>) -> Result<()> {
        self.uncompressed_bytes += tar.content_bytes;
        let upload = tar.finish().map_err(DemoError::io("write", Path::new("a tar part")))?;
        self.compressed_bytes += upload.finish(None)?;
        Ok(())
    }
}

impl Copy {
    fn run(&self, data: &Path) -> Result<Copied> {
        let mut copied = Copied::default();
        let mut part = copied.open_part(self)?;
        // Depth first, names in order, each directory before what it holds.
        let mut open = vec![(data.to_owned(), "/".to_owned())];
        while let Some((path, name)) = open.pop() {
            if self.cancel.is_set() {
                return Err(PostgresError::Cancelled.into());
            }
            // Files come and go while the server runs; the WAL knows.
            let Ok(meta) = path.symlink_metadata() else { continue };
            copied.catalog_bytes += meta.len();
            if meta.is_dir() {
                let base = path.file_name().unwrap_or_default().to_string_lossy();
                if !EMPTIED.contains(&base.as_ref()) {
                    for child in children(&path)?.into_iter().rev() {
                        let below = format!("{}/{child}", name.trim_end_matches('/'));
                        open.push((path.join(child), below));
                    }
                }
            } else if !meta.is_file() || LEFT_OUT.iter().any(|out| path.file_name().is_some_and(|f| f == *out)) {
                continue;
            }
            if part.tar.bytes >= self.part_bytes {
                let full = std::mem::replace(&mut part, copied.open_part(self)?);
                copied.close(full.tar)?;
            }
            if !append(&mut part.tar, &path, &name)? {
                continue;
            }
            let description = FileDescription {
                is_incremented: false,
                is_skipped: false,
                m_time: nanos(meta.modified().map_err(DemoError::io("look at", &path))?),
                updates_count: 0,
            };
            copied.metadata.files.insert(name.clone(), description);
            copied.metadata.tar_file_sets.entry(part.name.clone()).or_default().push(name);
        }
        copied.close(part.tar)?;

        // Last of all the server's files: its checkpoint must not be older than theirs.
        let upload = self.bucket.upload(&part_key(&self.name, &format!("pg_control.tar.{EXTENSION}")))?;
        let mut tar = TarWriter::new(upload);
        append(&mut tar, &data.join("global/pg_control"), "/global/pg_control")?;
        copied.close(tar)?;
        Ok(copied)
    }
}

/// False if the file is gone.
fn append(tar: &mut TarWriter<Upload>, path: &Path, name: &str) -> Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(e) => return Err(DemoError::io("open", path)(e)),
    };
    let meta = file.metadata().map_err(DemoError::io("look at", path))?;
    let user = nix::unistd::User::from_uid(meta.uid().into()).ok().flatten();
    let group = nix::unistd::Group::from_gid(meta.gid().into()).ok().flatten();
    let member = Member {
        name,
        mode: meta.permissions().mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        size: if meta.is_dir() { 0 } else { meta.len() },
        mtime: u64::try_from(meta.mtime()).unwrap_or(0),
        directory: meta.is_dir(),
        user: user.as_ref().map_or("", |user| &user.name),
        group: group.as_ref().map_or("", |group| &group.name),
    };
    let written = if meta.is_dir() { tar.append(&member, io::empty()) } else { tar.append(&member, file) };
    written.map_err(DemoError::io("copy", path))?;
    Ok(true)
}

/// The label is made by the server, not read from a file: no slash, no owner, no time.
fn write_label(bucket: &Bucket, backup: &str, files: &[(&str, String)], copied: &mut Copied) -> Result<()> {
    let tar_name = format!("backup_label.tar.{EXTENSION}");
    let mut tar = TarWriter::new(bucket.upload(&part_key(backup, &tar_name))?);
    for (name, content) in files {
        let member = Member {
            name,
            mode: 0o600,
            uid: 0,
            gid: 0,
            size: content.len() as u64,
            mtime: 0,
            directory: false,
            user: "",
            group: "",
        };
        tar.append(&member, content.as_bytes()).map_err(DemoError::io("write", &PathBuf::from(&tar_name)))?;
    }
    copied.close(tar)?;
    let names = files.iter().rev().map(|(name, _)| (*name).to_owned()).collect();
    copied.metadata.tar_file_sets.insert(tar_name, names);
    Ok(())
}

/// Names in a directory, sorted. A server names its files in ASCII.
fn children(dir: &Path) -> Result<BTreeSet<String>> {
    let entries = std::fs::read_dir(dir).map_err(DemoError::io("list", dir))?;
    Ok(entries.flatten().filter_map(|entry| entry.file_name().into_string().ok()).collect())
}
