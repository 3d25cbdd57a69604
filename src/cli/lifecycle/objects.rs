//! Objects that a change of rules would concern: from files, or from the bucket itself.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::audit;
use crate::cli::input;
use crate::cli::session::Session;
use crate::policy::inventory::{BucketObjects, read_listing};

/// JSON is held as a whole: above this a listing is an inventory's business.
const LISTING_BYTES_MAX: u64 = 512 << 20;

/// `--bucket`: the bucket that something stands for which does not name one.
pub(super) struct StandIn {
    pub bucket: String,
    /// What the keys of a directory begin with in that bucket.
    pub prefix: String,
}

impl StandIn {
    /// `name`, `s3://name` or `s3://name/prefix`.
    pub fn parse(text: &str) -> anyhow::Result<Self> {
        let rest = text.split_once("://").map_or(text, |(_, rest)| rest);
        let (bucket, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() || rest.chars().any(char::is_control) {
            anyhow::bail!("--bucket {text}: write a bucket's name, or s3://bucket/prefix");
        }
        let prefix = prefix.trim_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}/") };
        Ok(StandIn { bucket: bucket.to_owned(), prefix })
    }
}

/// Objects of a file, of whatever kind it is.
pub(super) fn of_file(path: &Path) -> anyhow::Result<Vec<BucketObjects>> {
    let name = input::name(path);
    let bytes = input::read_at_most(path, LISTING_BYTES_MAX)?;
    let text = String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{name} is not UTF-8 text"))?;
    if text.contains("\"fileSchema\"") && text.contains("\"sourceBucket\"") {
        return inventory(path, &text).with_context(|| name).map(|objects| vec![objects]);
    }
    let mut found = read_listing(&text).map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    for objects in &mut found {
        objects.source = format!("{} {name}", objects.source);
    }
    Ok(found)
}

#[cfg(not(feature = "inventory"))]
fn inventory(_: &Path, _: &str) -> anyhow::Result<BucketObjects> {
    anyhow::bail!("this build does not read S3 Inventory (feature inventory)")
}

/// An S3 Inventory: its manifest and the data files, as a copy of the bucket that received it holds them.
#[cfg(feature = "inventory")]
fn inventory(path: &Path, text: &str) -> anyhow::Result<BucketObjects> {
    use crate::policy::inventory::{InventoryFormat, InventoryManifest, read_inventory_csv, read_inventory_parquet};
    use crate::policy::lifecycle::ObjectTable;

    let manifest = InventoryManifest::parse(text).map_err(anyhow::Error::msg)?;
    let mut table = ObjectTable::default();
    for file in &manifest.files {
        let found = data_file(path, &file.key).with_context(|| {
            format!("its data file {} is not beside it: copy the folders of the inventory as they are", file.key)
        })?;
        let name = found.display().to_string();
        if let Some(expected) = &file.md5 {
            let seen = md5_of(&found).with_context(|| name.clone())?;
            if !seen.eq_ignore_ascii_case(expected) {
                anyhow::bail!("{name}: its MD5 is {seen}, the manifest says {expected}");
            }
        }
        let open = std::fs::File::open(&found).with_context(|| name.clone())?;
        let read = match manifest.format {
            InventoryFormat::Csv => read_inventory_csv(&manifest, std::io::BufReader::new(open), &mut table),
            InventoryFormat::Parquet => read_inventory_parquet(open, &mut table),
            InventoryFormat::Orc => anyhow::bail!("ORC inventories are not read; choose CSV or Parquet"),
        };
        read.map_err(|error| anyhow::anyhow!("{name}: {error}"))?;
    }
    Ok(manifest.objects(table))
}

/// Looks for a data file at every tail of its key, beside the manifest and above it: the manifest lies in
/// `<prefix>/<bucket>/<config>/<date>/`, the data in `<prefix>/<bucket>/<config>/data/`.
#[cfg(feature = "inventory")]
fn data_file(manifest: &Path, key: &str) -> Option<PathBuf> {
    let parts: Vec<&str> = key.split('/').filter(|part| !part.is_empty()).collect();
    // A manifest is a stranger's text: no key of it leads out of the folders that are looked at.
    if parts.iter().any(|part| *part == ".." || part.contains('\\')) {
        return None;
    }
    let mut folder = manifest.parent().map(Path::to_path_buf)?;
    if folder.as_os_str().is_empty() {
        folder = PathBuf::from(".");
    }
    let folder = folder.canonicalize().ok()?;
    let above = folder.ancestors().take(parts.len() + 2);
    for base in above {
        for tail in 0..parts.len() {
            let found = base.join(parts[tail..].iter().collect::<PathBuf>());
            if found.is_file() {
                return Some(found);
            }
        }
    }
    None
}

#[cfg(feature = "inventory")]
fn md5_of(path: &Path) -> std::io::Result<String> {
    use md5::Digest;
    use std::io::Read;
    let mut file = std::fs::File::open(path)?;
    let mut digest = md5::Md5::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => digest.update(&buffer[..read]),
        }
    }
    Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Live objects of archives, with what their catalogs know of backups.
pub(super) async fn of_archives(
    session: &Session,
    names: &[String],
    stand_in: Option<&StandIn>,
) -> anyhow::Result<Vec<BucketObjects>> {
    let mut found: Vec<BucketObjects> = Vec::new();
    for place in session.places(names)? {
        for target in session.open(&place).await? {
            let prefix = stand_in.map(|told| (told.bucket.as_str(), told.prefix.as_str()));
            for objects in audit::bucket_objects(&target, prefix, &session.options, &session.ctx).await? {
                if found.iter().any(|known| known.bucket == objects.bucket) {
                    anyhow::bail!("several archives of bucket {}: name the folder that holds them all", objects.bucket);
                }
                found.push(objects);
            }
        }
    }
    Ok(found)
}

/// Gives objects that name no bucket the one they can only mean.
pub(super) fn named(
    mut found: Vec<BucketObjects>,
    touched: &[&str],
    stand_in: Option<&StandIn>,
) -> anyhow::Result<Vec<BucketObjects>> {
    for objects in found.iter_mut().filter(|objects| objects.bucket.is_empty()) {
        objects.bucket = match (stand_in, touched) {
            (Some(told), _) => told.bucket.clone(),
            (None, [only]) => (*only).to_owned(),
            _ => anyhow::bail!("{} does not say which bucket it is of: name it with --bucket", objects.source),
        };
    }
    Ok(found)
}
