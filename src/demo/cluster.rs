//! The short life of the demo's cluster: a primary, a standby restored from its backup, a crash, a promotion.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::backup::{blocking, lsn, push};
use super::objects::{Bucket, WAL};
use super::{DemoArchive, DemoBackup, DemoError, DemoOptions, Mark, Result, unpack};
use crate::model::{Lsn, SegmentSize, TimelineId, Timestamp};
use crate::postgres::{
    ClusterOptions, Installation, PostgresError, Sandbox, Server, ServerOptions, StopMode, command_literal,
    create_cluster,
};
use crate::run::RunContext;

/// For anything the server must do by itself: archive a segment, catch up, promote.
const WAIT_LIMIT: Duration = Duration::from_secs(120);
const ROWS_AT_FIRST: u32 = 5000;
const ROWS_PER_STEP: u32 = 200;

/// How many steps [`live`] announces.
pub(super) fn steps(options: &DemoOptions) -> u64 {
    6 + u64::from(options.segments) + 2 * u64::from(options.segments / 4 + 1)
}

struct Life<'a> {
    sandbox: &'a Sandbox,
    installation: &'a Installation,
    bucket: &'a Bucket,
    options: &'a DemoOptions,
    ctx: &'a RunContext,
    /// Where `archive_command` puts WAL, uncompressed.
    spool: PathBuf,
    shipped: BTreeSet<String>,
    marks: Vec<Mark>,
    backups: Vec<DemoBackup>,
}

pub(super) async fn live(
    sandbox: &Sandbox,
    installation: &Installation,
    bucket: &Bucket,
    options: &DemoOptions,
    ctx: &RunContext,
) -> Result<DemoArchive> {
    let spool = sandbox.dir("spool")?;
    let (shipped, marks, backups) = Default::default();
    let mut life = Life { sandbox, installation, bucket, options, ctx, spool, shipped, marks, backups };
    life.run().await
}

impl Life<'_> {
    async fn run(&mut self) -> Result<DemoArchive> {
        let primary = self.first_timeline().await?;
        let standby = self.fail_over(primary).await?;
        self.second_timeline(&standby).await?;

        let client = standby.connect("postgres", "postgres").await?;
        let row = client
            .query_one("select system_identifier, current_setting('server_version') from pg_control_system()", &[])
            .await?;
        let (identifier, version): (i64, String) = (row.get(0), row.get(1));
        drop(client);
        // A clean shutdown archives what is left.
        standby.stop(StopMode::Fast, WAIT_LIMIT).await?;
        self.ship().await?;
        self.step("done");

        let history = std::fs::read_to_string(self.spool.join("00000002.history"))
            .map_err(DemoError::io("read", &self.spool.join("00000002.history")))?;
        let switch = history.split_whitespace().nth(1).unwrap_or_default();
        Ok(DemoArchive {
            dir: self.bucket.dir().to_owned(),
            pg_version: version,
            system_identifier: identifier.cast_unsigned(),
            segment_size: self.segment_size()?,
            backups: std::mem::take(&mut self.backups),
            switch: lsn(switch)?,
            marks: std::mem::take(&mut self.marks),
            wal_files: self.shipped.iter().cloned().collect(),
            as_of: newest(self.bucket.dir())? + jiff::SignedDuration::from_hours(1),
        })
    }

    async fn first_timeline(&mut self) -> Result<Server> {
        self.step("initdb");
        let cluster = ClusterOptions { segment_mib: self.options.segment_mib, ..ClusterOptions::default() };
        let data = create_cluster(self.sandbox, self.installation, "primary", &cluster, &self.ctx.cancel).await?;
        let mut primary = Server::start(self.sandbox, self.installation, &data, self.settings()?)?;
        let client = primary.ready("postgres", "postgres", &self.ctx.cancel, |_| {}).await?;
        client
            .batch_execute(
                "create table ledger (id bigint generated always as identity primary key, amt int, note text)",
            )
            .await?;
        self.insert(&client, ROWS_AT_FIRST).await?;
        self.mark(&client, "table filled").await?;
        self.back_up(&primary).await?;
        self.mark(&client, "first backup taken").await?;
        for number in 1..=self.options.segments {
            self.step("writing and archiving");
            self.insert(&client, ROWS_PER_STEP).await?;
            self.mark(&client, &format!("timeline 1, step {number}")).await?;
            self.switch_segment(&client).await?;
        }
        self.ship().await?;
        Ok(primary)
    }

    /// Restores a standby from the first backup, lets it catch up, kills the primary and promotes.
    async fn fail_over(&mut self, primary: Server) -> Result<Server> {
        self.step("restoring a standby from the backup");
        let data = self.sandbox.dir("standby")?;
        let (archive, target) = (self.bucket.dir().to_owned(), data.clone());
        let backup = self.backups.first().map(|b| b.name.clone()).unwrap_or_default();
        let identity = self.sandbox.identity().clone();
        blocking(move || {
            unpack::unpack(&archive, &backup, &target)?;
            std::fs::write(target.join("standby.signal"), "").map_err(DemoError::io("write", &target))?;
            Ok(identity.give_tree(&target)?)
        })
        .await?;
        let socket_dir = primary.socket_dir().to_string_lossy().replace('\\', r"\\").replace('\'', r"\'");
        let options = self
            .settings()?
            .set("restore_command", format!("cp {}/%f %p", command_literal(&self.spool)?))
            .set("recovery_target_timeline", "latest")
            .set("primary_conninfo", format!("host='{socket_dir}' port={} user=postgres", primary.port()));
        let mut standby = Server::start(self.sandbox, self.installation, &data, options)?;
        let reader = standby.ready("postgres", "postgres", &self.ctx.cancel, |_| {}).await?;

        // Rows that reach the standby by streaming only: the archive gets their segment on the new timeline.
        let writer = primary.connect("postgres", "postgres").await?;
        self.insert(&writer, ROWS_PER_STEP).await?;
        let last = self.mark(&writer, "before the primary died").await?;
        let caught_up = format!("select pg_last_wal_replay_lsn() >= '{last}'");
        self.wait("the standby", async || Ok(reader.query_one(&caught_up, &[]).await?.get::<_, Option<bool>>(0)))
            .await?;
        drop(writer);
        self.step("promoting the standby");
        primary.stop(StopMode::Immediate, WAIT_LIMIT).await?;
        let promoted: bool = reader.query_one("select pg_promote(true, 60)", &[]).await?.get(0);
        if !promoted {
            return Err(DemoError::Unexpected("the standby was not promoted within a minute".into()));
        }
        Ok(standby)
    }

    async fn second_timeline(&mut self, server: &Server) -> Result<()> {
        let client = server.connect("postgres", "postgres").await?;
        self.mark(&client, "promoted").await?;
        for round in 0..2 {
            for number in 1..=self.options.segments / 4 + 1 {
                self.step("writing and archiving");
                self.insert(&client, ROWS_PER_STEP).await?;
                self.mark(&client, &format!("timeline 2, step {round}.{number}")).await?;
                self.switch_segment(&client).await?;
            }
            if round == 0 {
                self.back_up(server).await?;
                self.mark(&client, "second backup taken").await?;
            }
        }
        Ok(())
    }

    async fn back_up(&mut self, server: &Server) -> Result<()> {
        self.step("taking a base backup");
        let major = self.installation.version.major;
        let part_bytes = u64::from(self.options.part_mib) << 20;
        let backup = push(server, major, self.bucket, part_bytes, &self.ctx.cancel, &insert_sql(ROWS_PER_STEP)).await?;
        self.backups.push(backup);
        self.ship().await
    }

    async fn ship(&mut self) -> Result<()> {
        let (bucket, spool) = (self.bucket.clone(), self.spool.clone());
        let mut shipped = std::mem::take(&mut self.shipped);
        self.shipped = blocking(move || bucket.ship(&spool, &mut shipped).map(|()| shipped)).await?;
        Ok(())
    }

    fn step(&self, what: &str) {
        self.ctx.progress.note(what);
        self.ctx.progress.advance(1);
    }

    fn segment_size(&self) -> Result<SegmentSize> {
        SegmentSize::new(u64::from(self.options.segment_mib) << 20).map_err(|e| DemoError::Unexpected(e.to_string()))
    }

    /// Small, quick, and archiving: durability is of no use in a sandbox.
    fn settings(&self) -> Result<ServerOptions> {
        let spool = command_literal(&self.spool)?;
        // Both servers share the spool; the same file may come twice, another one under its name must not.
        let archive = format!(
            "if test -e {spool}/%f; then cmp -s %p {spool}/%f; else cp %p {spool}/.%f && mv {spool}/.%f {spool}/%f; fi"
        );
        let mut options = ServerOptions::default()
            .set("archive_mode", "on")
            .set("archive_command", archive)
            .set("wal_level", "replica")
            .set("hot_standby", "on")
            .set("fsync", "off")
            .set("wal_init_zero", "off")
            .set("shared_buffers", "16MB")
            .set("max_connections", "20")
            .set("timezone", "UTC")
            .set("log_timezone", "UTC")
            .set("autovacuum", "off");
        options.time_limit = Duration::from_secs(600);
        Ok(options)
    }

    async fn insert(&self, client: &Client, rows: u32) -> Result<()> {
        Ok(client.batch_execute(&insert_sql(rows)).await?)
    }

    /// Notes what the table holds at this moment. Nobody else writes.
    async fn mark(&mut self, client: &Client, name: &str) -> Result<Lsn> {
        let row = client
            .query_one(
                "select pg_current_wal_lsn()::text, substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8), \
                 to_char(clock_timestamp() at time zone 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"'), \
                 count(*), coalesce(md5(string_agg(id || ':' || amt || ':' || note, ',' order by id)), '') from ledger",
                &[],
            )
            .await?;
        let timeline = u32::from_str_radix(row.get(1), 16).ok().and_then(TimelineId::new);
        let at: &str = row.get(2);
        let mark = Mark {
            name: name.to_owned(),
            timeline: timeline.ok_or_else(|| DemoError::Unexpected("a segment name without timeline".into()))?,
            lsn: lsn(row.get(0))?,
            at: at.parse().map_err(|_| DemoError::Unexpected(format!("a time {at:?}")))?,
            rows: row.get(3),
            md5: row.get(4),
        };
        let lsn = mark.lsn;
        self.marks.push(mark);
        Ok(lsn)
    }

    /// Ends the current segment and waits until it has been archived.
    async fn switch_segment(&mut self, client: &Client) -> Result<()> {
        let row = client.query_one("select pg_walfile_name(pg_switch_wal())", &[]).await?;
        let file = self.spool.join(row.get::<_, String>(0));
        self.wait("archiving", async || Ok(Some(file.exists()))).await
    }

    async fn wait(&self, what: &str, mut there: impl AsyncFnMut() -> Result<Option<bool>>) -> Result<()> {
        let begun = Instant::now();
        while there().await? != Some(true) {
            if self.ctx.cancel.is_set() {
                return Err(PostgresError::Cancelled.into());
            }
            if begun.elapsed() > WAIT_LIMIT {
                return Err(PostgresError::TimedOut { what: what.to_owned(), limit: WAIT_LIMIT }.into());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }
}

fn insert_sql(rows: u32) -> String {
    format!(
        "insert into ledger (amt, note) select (random() * 1000)::int, md5(random()::text) from generate_series(1, {rows})"
    )
}

/// Time of the newest object.
fn newest(dir: &Path) -> Result<Timestamp> {
    let mut newest = Timestamp::UNIX_EPOCH;
    for folder in [dir.join(super::objects::BACKUPS), dir.join(WAL)] {
        for entry in std::fs::read_dir(&folder).map_err(DemoError::io("list", &folder))?.flatten() {
            if let Ok(at) = entry.metadata().and_then(|m| m.modified()) {
                newest = newest.max(Timestamp::try_from(at).unwrap_or_default());
            }
        }
    }
    Ok(newest)
}
