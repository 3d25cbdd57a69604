use serde::Serialize;

/// Keys that a tool is about to delete.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct DeleteList {
    /// As the file names them: whole keys, addresses without their bucket, or (from wal-g) names relative to the archive.
    pub keys: Vec<String>,
    /// The file is what wal-g prints in a dry run.
    pub from_walg: bool,
}

impl DeleteList {
    /// Whether a key of the bucket is meant; `root` is what every key of the archive begins with.
    pub fn names(&self, key: &str, root: &str) -> bool {
        let relative = key.strip_prefix(root).unwrap_or(key);
        // wal-g names objects relative to the folder it works in: the archive, or one of its two folders.
        let in_folder = relative.split_once('/').map(|(_, rest)| rest).filter(|_| self.from_walg);
        self.keys.binary_search_by(|known| known.as_str().cmp(key)).is_ok()
            || self.keys.binary_search_by(|known| known.as_str().cmp(relative)).is_ok()
            || in_folder.is_some_and(|name| self.keys.binary_search_by(|known| known.as_str().cmp(name)).is_ok())
    }
}

/// Reads any bytes as a list of keys.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let list = read_deletes(&String::from_utf8_lossy(bytes));
    for key in list.keys.iter().take(20) {
        let _ = (list.names(key, ""), list.names(&format!("pg/main/{key}"), "pg/main/"));
    }
}

/// Reads a list of keys, one in each line, or wal-g's dry run (`wal-g delete .. ` without `--confirm`).
pub fn read_deletes(text: &str) -> DeleteList {
    const MARK: &str = "will be deleted: ";
    let marked: Vec<&str> = text.lines().filter_map(|line| Some(line.split_once(MARK)?.1.trim())).collect();
    // wal-g says so even when nothing would go.
    let from_walg = !marked.is_empty() || text.contains("Objects in folder:") || text.contains("Dry run, nothing");
    let lines: Vec<&str> = if from_walg {
        marked
    } else {
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    };
    let mut keys: Vec<String> = lines.into_iter().map(without_bucket).collect();
    keys.sort_unstable();
    keys.dedup();
    DeleteList { keys, from_walg }
}

/// `s3://bucket/key` → `key`.
fn without_bucket(line: &str) -> String {
    match line.split_once("://") {
        Some(("s3" | "gs" | "az", rest)) => rest.split_once('/').map_or(rest, |(_, key)| key).to_owned(),
        _ => line.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_dry_runs() {
        let list = read_deletes("# old\ns3://b/pg/wal_005/x.lz4\n\npg/basebackups_005/y\n");
        assert!(!list.from_walg);
        assert!(list.names("pg/wal_005/x.lz4", "pg/") && list.names("pg/basebackups_005/y", "pg/"));
        assert!(!list.names("pg/wal_005/z", "pg/"));
        let walg = read_deletes(
            "INFO: 2026/11/20 10:00:00.000000 retrieving permanent objects\n\
             INFO: 2026/11/20 10:00:01.000000 Objects in folder:\n\
             INFO: 2026/11/20 10:00:01.000000 \twill be deleted: 000000010000000000000002.lz4\n\
             INFO: 2026/11/20 10:00:01.000000 \twill be deleted: basebackups_005/base_0/metadata.json\n\
             INFO: 2026/11/20 10:00:01.000000 Dry run, nothing were deleted\n",
        );
        assert!(walg.from_walg);
        assert_eq!(walg.keys.len(), 2);
        assert!(walg.names("pg/wal_005/000000010000000000000002.lz4", "pg/"));
        assert!(walg.names("pg/basebackups_005/base_0/metadata.json", "pg/"));
        assert!(read_deletes("INFO: Objects in folder:\n").keys.is_empty());
    }
}
