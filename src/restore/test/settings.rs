//! How a restored server is started: on our terms, whatever its own configuration says.
//!
//! Settings on the command line beat every file. Files of the restored directory that hold settings are put aside:
//! they may name programs, hosts and paths of the source.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::choose::Target;
use crate::model::Timestamp;
use crate::postgres::{PostgresError, Result, Sandbox, ServerOptions, command_literal};
use crate::wal::{CONTROL_FILE_BYTES, ControlFile};

/// Files that would change what the server does, or that a newer server refuses.
const PUT_ASIDE: [&str; 5] =
    ["postgresql.auto.conf", "recovery.conf", "recovery.done", "standby.signal", "postmaster.pid"];
const ASIDE: &str = ".of-the-source";
/// A server that still runs then hangs. Whoever wants less sets `max_time`.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// Reads the restored `pg_control`: the server's sizes must fit what the source had.
///
/// # Errors
/// It cannot be read or is damaged: the reason.
pub fn control_of(data: &Path) -> std::result::Result<ControlFile, String> {
    let path = data.join("global/pg_control");
    let mut bytes = Vec::new();
    let read = std::fs::File::open(&path).and_then(|file| {
        use std::io::Read;
        file.take(CONTROL_FILE_BYTES as u64).read_to_end(&mut bytes)
    });
    read.map_err(|error| format!("global/pg_control: {error}"))?;
    ControlFile::parse(&bytes).map_err(|problem| format!("global/pg_control: {problem}"))
}

/// Makes a restored directory ready for recovery: puts settings of the source aside and asks for archive recovery.
///
/// # Errors
/// The file system refuses.
pub fn prepare_data(sandbox: &Sandbox, data: &Path) -> Result<()> {
    for name in PUT_ASIDE {
        let path = data.join(name);
        if path.symlink_metadata().is_ok() {
            let aside = data.join(format!("{name}{ASIDE}"));
            std::fs::rename(&path, &aside).map_err(PostgresError::io("rename", &path))?;
        }
    }
    for name in ["postgresql.auto.conf", "recovery.signal"] {
        let path = data.join(name);
        // Never through a link that the archive brought along.
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, "").map_err(PostgresError::io("write", &path))?;
        sandbox.identity().give(&path)?;
    }
    Ok(())
}

/// Where replay is to go, as the server is told.
#[derive(Debug, Clone)]
pub struct Recovery<'a> {
    /// The program and the socket that make up `restore_command`.
    pub client: &'a Path,
    /// Where WAL is served.
    pub socket: &'a Path,
    /// How far; without one everything is replayed.
    pub target: &'a Target,
    /// Along the way to this timeline, by number, or `current`.
    pub timeline: String,
}

/// The settings of a server that recovers and then serves queries, and can harm nobody.
///
/// # Errors
/// A path that cannot stand in a setting, or a file that cannot be written.
pub fn options(sandbox: &Sandbox, major: u32, control: &ControlFile, recovery: &Recovery<'_>) -> Result<ServerOptions> {
    let restore_command =
        format!("{} sandbox-wal {} %f \"%p\"", command_literal(recovery.client)?, command_literal(recovery.socket)?);
    let mut options = harmless(sandbox, major, control)?
        .set("restore_command", restore_command)
        .set("recovery_target_timeline", recovery.timeline.clone())
        .set("recovery_target_action", "promote")
        .set("recovery_target_inclusive", "on");
    if let Some((name, value)) = target_setting(recovery.target) {
        options = options.set(name, value);
    }
    Ok(options)
}

/// The same without recovery: for a server that is started again, or that dumps are loaded into.
///
/// # Errors
/// As [`options`].
pub fn harmless(sandbox: &Sandbox, major: u32, control: &ControlFile) -> Result<ServerOptions> {
    let config = file(sandbox, "postgresql.conf", "# settings come from the command line\n")?;
    let hba = file(sandbox, "pg_hba.conf", "local all all trust\n")?;
    let ident = file(sandbox, "pg_ident.conf", "")?;
    let at_least = |stored: u32, least: u32| stored.clamp(least, 65_536).to_string();
    let mut options = ServerOptions::default()
        .set("config_file", text(&config)?)
        .set("hba_file", text(&hba)?)
        .set("ident_file", text(&ident)?)
        // Nothing leaves this machine, nothing starts by itself.
        .set("archive_mode", "off")
        .set("max_wal_senders", "0")
        .set("max_logical_replication_workers", "0")
        .set("autovacuum", "off")
        .set("shared_preload_libraries", "")
        .set("session_preload_libraries", "")
        .set("local_preload_libraries", "")
        .set("ssl", "off")
        .set("wal_level", "replica")
        // Without it replay does not insist on the source's sizes, and nobody connects before its end.
        .set("hot_standby", "off")
        .set("max_connections", "20")
        .set("max_worker_processes", at_least(control.max_worker_processes, 8))
        .set("max_prepared_transactions", at_least(control.max_prepared_transactions, 64))
        .set("max_locks_per_transaction", at_least(control.max_locks_per_transaction, 256))
        // A copy that is thrown away need not survive a crash.
        .set("fsync", "off")
        .set("synchronous_commit", "off")
        .set("full_page_writes", "off")
        .set("shared_buffers", "64MB")
        .set("huge_pages", "off")
        .set("max_wal_size", "4GB")
        .set("checkpoint_timeout", "1h")
        // What is read off the log and out of answers.
        .set("lc_messages", "C")
        .set("timezone", "UTC")
        .set("log_timezone", "UTC")
        .set("datestyle", "ISO")
        .set("log_line_prefix", "")
        .set("log_min_messages", "warning")
        .set("log_min_error_statement", "panic")
        .set("log_connections", "off")
        .set("log_statement", "none");
    if major >= 17 {
        // A trigger at login could refuse or do anything.
        options = options.set("event_triggers", "off");
    }
    options.time_limit = TIME_MAX;
    Ok(options)
}

fn target_setting(target: &Target) -> Option<(&'static str, String)> {
    Some(match target {
        Target::Immediate => ("recovery_target", "immediate".to_owned()),
        Target::Time(time) => ("recovery_target_time", pg_time(*time)),
        Target::Lsn(lsn) => ("recovery_target_lsn", lsn.to_string()),
        Target::Xid(xid) => ("recovery_target_xid", xid.to_string()),
        Target::Name(name) => ("recovery_target_name", name.clone()),
        Target::Latest | Target::Random => return None,
    })
}

fn pg_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%S.%6f+00").to_string()
}

fn file(sandbox: &Sandbox, name: &str, content: &str) -> Result<PathBuf> {
    let path = sandbox.root().join(name);
    std::fs::write(&path, content).map_err(PostgresError::io("write", &path))?;
    sandbox.identity().give(&path)?;
    Ok(path)
}

fn text(path: &Path) -> Result<String> {
    path.to_str().map(ToOwned::to_owned).ok_or_else(|| PostgresError::NotUsable {
        path: path.to_owned(),
        reason: "is not UTF-8, so it cannot stand in a setting of PostgreSQL".into(),
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::postgres::Identity;

    #[test]
    fn targets_become_settings() {
        let setting = |text: &str| target_setting(&text.parse().unwrap()).unwrap();
        assert_eq!(setting("immediate"), ("recovery_target", "immediate".to_owned()));
        assert_eq!(setting("lsn=1A/2B3C"), ("recovery_target_lsn", "1A/2B3C".to_owned()));
        assert_eq!(
            setting("time=2026-11-20T23:13:09.419471Z"),
            ("recovery_target_time", "2026-11-20 23:13:09.419471+00".to_owned())
        );
        assert!(target_setting(&Target::Latest).is_none());
    }

    #[test]
    fn a_long_replay_is_not_cut_off_after_an_hour() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let sandbox = Sandbox::create(Some(base.path()), Identity::resolve(None).unwrap()).unwrap();
        let recovery = Recovery {
            client: Path::new("/bin/walproof"),
            socket: Path::new("/run/wal"),
            target: &Target::Latest,
            timeline: "1".to_owned(),
        };
        let mut file = vec![0; CONTROL_FILE_BYTES];
        file[8..12].copy_from_slice(&1300u32.to_le_bytes());
        file[12..16].copy_from_slice(&202_209_061u32.to_le_bytes());
        file[16] = 6;
        let crc = crc32c::crc32c(&file[..288]);
        file[288..292].copy_from_slice(&crc.to_le_bytes());
        let control = ControlFile::parse(&file).unwrap();
        let options = options(&sandbox, 15, &control, &recovery).unwrap();
        assert_eq!(options.time_limit, Duration::from_secs(86_400));
    }

    #[test]
    fn settings_of_the_source_are_put_aside_and_links_are_not_followed() {
        let base = tempfile::tempdir().unwrap();
        std::fs::set_permissions(base.path(), std::fs::Permissions::from_mode(0o711)).unwrap();
        let sandbox = Sandbox::create(Some(base.path()), Identity::resolve(None).unwrap()).unwrap();
        let data = sandbox.dir("data").unwrap();
        let outside = base.path().join("outside");
        std::fs::write(&outside, "untouched").unwrap();
        std::fs::write(data.join("postgresql.auto.conf"), "archive_command = 'rm -rf /'\n").unwrap();
        std::fs::write(data.join("standby.signal"), "").unwrap();
        std::fs::write(data.join("recovery.conf"), "x").unwrap();
        std::os::unix::fs::symlink(&outside, data.join("recovery.signal")).unwrap();
        prepare_data(&sandbox, &data).unwrap();
        assert_eq!(std::fs::read_to_string(data.join("postgresql.auto.conf")).unwrap(), "");
        assert!(data.join("postgresql.auto.conf.of-the-source").exists());
        assert!(!data.join("standby.signal").exists() && !data.join("recovery.conf").exists());
        assert!(data.join("recovery.signal").symlink_metadata().unwrap().is_file());
        assert_eq!(std::fs::read_to_string(&outside).unwrap(), "untouched");
    }
}
