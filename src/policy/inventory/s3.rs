//! S3 Inventory: `manifest.json` and its CSV (gzip) or Parquet files.
//!
//! An inventory is eventually consistent: what it lacks may be there, what it names may be gone. It holds no tags.

use std::io::Read;

use parquet::file::reader::{ChunkReader, FileReader, SerializedFileReader};
use parquet::record::Field;
use parquet::schema::types::Type;
use serde_json::Value;

use crate::model::{StorageClass, Timestamp};
use crate::policy::lifecycle::{Lock, ObjectFacts, ObjectTable, Replication};
use crate::policy::span::printable;
use crate::policy::value::moment;

use super::BucketObjects;

/// Format of the data files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum InventoryFormat {
    /// CSV in gzip, without a header; keys are URL-encoded.
    Csv,
    /// Apache Parquet.
    Parquet,
    /// Apache ORC, which is not read.
    Orc,
}

/// One data file, in the bucket that receives the inventory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InventoryFile {
    /// Its key there.
    pub key: String,
    /// Stored bytes.
    pub size: u64,
    /// MD5 of the stored bytes, in hexadecimal, as the manifest has it.
    pub md5: Option<String>,
}

/// A `manifest.json`.
#[derive(Debug, Clone, PartialEq)]
pub struct InventoryManifest {
    /// The bucket that was listed.
    pub bucket: String,
    /// When the scan began.
    pub created: Option<Timestamp>,
    /// Format of the files.
    pub format: InventoryFormat,
    /// Columns of a CSV, in order.
    columns: Vec<Column>,
    /// The data files.
    pub files: Vec<InventoryFile>,
}

/// Columns that matter here; new ones appear from time to time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Column {
    Key,
    VersionId,
    IsDeleteMarker,
    Size,
    LastModified,
    StorageClass,
    Replication,
    LockUntil,
    LegalHold,
    Other,
}

impl Column {
    /// By its name in either format, without regard to case and underscores.
    fn of(name: &str) -> Column {
        let plain: String = name.chars().filter(char::is_ascii_alphanumeric).collect::<String>().to_ascii_lowercase();
        match plain.as_str() {
            "key" => Column::Key,
            "versionid" => Column::VersionId,
            "isdeletemarker" => Column::IsDeleteMarker,
            "size" => Column::Size,
            "lastmodifieddate" => Column::LastModified,
            "storageclass" => Column::StorageClass,
            "replicationstatus" => Column::Replication,
            "objectlockretainuntildate" => Column::LockUntil,
            "objectlocklegalholdstatus" => Column::LegalHold,
            _ => Column::Other,
        }
    }
}

impl InventoryManifest {
    /// Reads a `manifest.json`.
    ///
    /// # Errors
    /// What is missing: a list of files, a known format, the columns that tell key and time.
    pub fn parse(text: &str) -> Result<Self, String> {
        let root: Value =
            serde_json::from_str(text).map_err(|error| format!("manifest.json is not valid JSON: {error}"))?;
        let field = |name: &str| root.get(name).and_then(Value::as_str);
        let format = match field("fileFormat") {
            Some("CSV") => InventoryFormat::Csv,
            Some("Parquet") => InventoryFormat::Parquet,
            Some("ORC") => InventoryFormat::Orc,
            Some(other) => return Err(format!("file format \"{}\" is not known", printable(other))),
            None => return Err("the manifest has no fileFormat: is it an S3 Inventory manifest?".into()),
        };
        let columns: Vec<Column> =
            field("fileSchema").unwrap_or("").split(',').map(|name| Column::of(name.trim())).collect();
        if format == InventoryFormat::Csv {
            for (column, name) in [(Column::Key, "Key"), (Column::LastModified, "LastModifiedDate")] {
                if !columns.contains(&column) {
                    return Err(format!("the inventory has no column {name}: add it to the inventory configuration"));
                }
            }
        }
        let files = root.get("files").and_then(Value::as_array).ok_or("the manifest names no files")?;
        let file = |file: &Value| {
            Some(InventoryFile {
                key: file.get("key")?.as_str()?.to_owned(),
                size: file.get("size").and_then(Value::as_u64).unwrap_or(0),
                md5: file.get("MD5checksum").and_then(Value::as_str).map(str::to_owned),
            })
        };
        let files: Option<Vec<InventoryFile>> = files.iter().map(file).collect();
        let created = root.get("creationTimestamp").and_then(|stamp| match stamp {
            Value::String(text) => text.parse::<i64>().ok(),
            other => other.as_i64(),
        });
        Ok(InventoryManifest {
            bucket: field("sourceBucket").unwrap_or("").to_owned(),
            created: created.and_then(|millis| Timestamp::from_millisecond(millis).ok()),
            format,
            columns,
            files: files.ok_or("a file of the manifest has no key")?,
        })
    }

    /// The objects of all files.
    pub fn objects(&self, table: ObjectTable) -> BucketObjects {
        let mut objects = BucketObjects::new(self.bucket.clone(), "S3 Inventory", table);
        objects.listed_at = self.created;
        objects
    }
}

/// A row before it becomes an object.
#[derive(Default)]
struct Row {
    key: Vec<u8>,
    version: Option<String>,
    marker: bool,
    size: u64,
    modified: Option<Timestamp>,
    class: StorageClass,
    replication: Replication,
    lock: Lock,
}

impl Row {
    fn set(&mut self, column: Column, text: &str) {
        match column {
            Column::Key => self.key = text.as_bytes().to_vec(),
            Column::VersionId => self.version = (!text.is_empty()).then(|| text.to_owned()),
            Column::IsDeleteMarker => self.marker = text.eq_ignore_ascii_case("true"),
            Column::Size => self.size = text.parse().unwrap_or(0),
            Column::LastModified => self.modified = moment(text),
            Column::StorageClass => self.class = StorageClass::parse(text),
            Column::Replication => self.replication = Replication::parse(text),
            Column::LockUntil => self.lock.retain_until = moment(text),
            Column::LegalHold => self.lock.hold = text.eq_ignore_ascii_case("on"),
            Column::Other => {}
        }
    }

    fn push(&self, table: &mut ObjectTable, row: usize) -> Result<(), String> {
        let created = self.modified.ok_or_else(|| format!("row {row} has no readable LastModifiedDate"))?;
        let facts = ObjectFacts {
            class: self.class,
            version: self.version.as_deref(),
            delete_marker: self.marker,
            replication: self.replication,
            lock: self.lock,
            ..ObjectFacts::new(&self.key, self.size, created)
        };
        if table.push(&facts) { Ok(()) } else { Err("more objects than one table takes".into()) }
    }
}

/// Reads one gzipped CSV file of an inventory into a table. Returns the number of rows.
///
/// # Errors
/// Damage, or a row without key or time, with its number.
pub fn read_inventory_csv(
    manifest: &InventoryManifest,
    file: impl Read,
    table: &mut ObjectTable,
) -> Result<usize, String> {
    let plain = flate2::read::MultiGzDecoder::new(file);
    let mut reader = csv::ReaderBuilder::new().has_headers(false).flexible(true).from_reader(plain);
    let mut record = csv::ByteRecord::new();
    let mut rows = 0;
    while reader.read_byte_record(&mut record).map_err(|error| format!("row {}: {error}", rows + 1))? {
        rows += 1;
        let mut row = Row::default();
        for (column, bytes) in manifest.columns.iter().zip(record.iter()) {
            match column {
                Column::Key => row.key = url_decoded(bytes),
                column => row.set(*column, std::str::from_utf8(bytes).unwrap_or("")),
            }
        }
        row.push(table, rows)?;
    }
    Ok(rows)
}

/// `a%2Fb+c` → `a/b c`.
fn url_decoded(bytes: &[u8]) -> Vec<u8> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes.get(at + 1).zip(bytes.get(at + 2));
        let (byte, length) = match (bytes[at], hex.and_then(|(a, b)| Some(digit(*a)? * 16 + digit(*b)?))) {
            (b'%', Some(value)) => (value as u8, 3),
            (b'+', _) => (b' ', 1),
            (byte, _) => (byte, 1),
        };
        out.push(byte);
        at += length;
    }
    out
}

/// Reads one Parquet file of an inventory into a table. Returns the number of rows.
///
/// # Errors
/// Damage, or a row without key or time, with its number.
pub fn read_inventory_parquet<R: ChunkReader + 'static>(file: R, table: &mut ObjectTable) -> Result<usize, String> {
    // The Parquet reader asserts what a hostile file may break.
    let read = std::panic::AssertUnwindSafe(|| parquet_rows(file, table));
    std::panic::catch_unwind(read).unwrap_or_else(|_| Err("the Parquet file is damaged".into()))
}

fn parquet_rows<R: ChunkReader + 'static>(file: R, table: &mut ObjectTable) -> Result<usize, String> {
    let damaged = |error: parquet::errors::ParquetError| format!("not a readable Parquet file: {error}");
    let reader = SerializedFileReader::new(file).map_err(damaged)?;
    let schema = reader.metadata().file_metadata().schema();
    let wanted: Vec<_> = schema
        .get_fields()
        .iter()
        .filter(|field| field.is_primitive() && Column::of(field.name()) != Column::Other)
        .cloned()
        .collect();
    let columns: Vec<Column> = wanted.iter().map(|field| Column::of(field.name())).collect();
    if !columns.contains(&Column::Key) || !columns.contains(&Column::LastModified) {
        return Err("the Parquet file has no columns key and last_modified_date".into());
    }
    let projection = Type::group_type_builder(schema.name()).with_fields(wanted).build().map_err(damaged)?;
    let mut rows = 0;
    for record in reader.get_row_iter(Some(projection)).map_err(damaged)? {
        let record = record.map_err(damaged)?;
        rows += 1;
        let mut row = Row::default();
        for (column, (_, field)) in columns.iter().zip(record.get_column_iter()) {
            match (column, field) {
                (_, Field::Null) => {}
                (Column::Key, Field::Bytes(bytes)) => row.key = bytes.data().to_vec(),
                (Column::IsDeleteMarker, Field::Bool(marker)) => row.marker = *marker,
                (Column::Size, Field::Long(size)) => row.size = u64::try_from(*size).unwrap_or(0),
                (Column::Size, Field::Int(size)) => row.size = u64::try_from(*size).unwrap_or(0),
                (Column::LastModified, field) => row.modified = time(field),
                (Column::LockUntil, field) => row.lock.retain_until = time(field),
                (column, Field::Str(text)) => row.set(*column, text),
                (column, Field::Bytes(bytes)) => row.set(*column, std::str::from_utf8(bytes.data()).unwrap_or("")),
                _ => {}
            }
        }
        row.push(table, rows)?;
    }
    Ok(rows)
}

/// Reads any bytes as a manifest, then as a file of each format.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let columns = "Bucket, Key, VersionId, IsDeleteMarker, Size, LastModifiedDate, StorageClass, ReplicationStatus";
    let manifest = format!(r#"{{"fileFormat": "CSV", "fileSchema": "{columns}", "files": []}}"#);
    let manifest = InventoryManifest::parse(&String::from_utf8_lossy(bytes)).or(InventoryManifest::parse(&manifest));
    if let Ok(manifest) = manifest {
        let _ = read_inventory_csv(&manifest, bytes, &mut ObjectTable::default());
    }
    let _ = read_inventory_parquet(::bytes::Bytes::copy_from_slice(bytes), &mut ObjectTable::default());
}

fn time(field: &Field) -> Option<Timestamp> {
    match field {
        Field::TimestampMillis(millis) => Timestamp::from_millisecond(*millis).ok(),
        Field::TimestampMicros(micros) => Timestamp::from_microsecond(*micros).ok(),
        // Without a logical type the column is a bare number of milliseconds.
        Field::Long(millis) => Timestamp::from_millisecond(*millis).ok(),
        Field::Str(text) => moment(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use parquet::data_type::{BoolType, ByteArray, ByteArrayType, Int64Type};
    use parquet::file::writer::SerializedFileWriter;
    use parquet::schema::parser::parse_message_type;

    use super::*;

    const MANIFEST: &str = r#"{"sourceBucket": "company-backups", "destinationBucket": "arn:aws:s3:::inventory",
        "version": "2016-11-30", "creationTimestamp": "1795186800000", "fileFormat": "CSV",
        "fileSchema": "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag, StorageClass, ReplicationStatus, ObjectLockRetainUntilDate, ObjectLockLegalHoldStatus, NewColumn",
        "files": [{"key": "inv/data/1.csv.gz", "size": 100, "MD5checksum": "aa"}]}"#;

    fn gzip(text: &str) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(text.as_bytes()).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn csv_files() {
        let manifest = InventoryManifest::parse(MANIFEST).unwrap();
        assert_eq!((manifest.bucket.as_str(), manifest.files.len()), ("company-backups", 1));
        assert_eq!(manifest.created.unwrap().to_string(), "2026-11-20T15:00:00Z");
        let rows = "\"company-backups\",\"pg/wal%205+x/%C3%A4%2B\",\"v1\",\"true\",\"false\",\"1024\",\"2026-11-01T02:10:00.000Z\",\"e\",\"GLACIER\",\"FAILED\",\"2027-01-01T00:00:00.000Z\",\"On\",\"?\"\n\
                    \"company-backups\",\"pg/gone\",\"v2\",\"true\",\"true\",\"\",\"2026-11-02T02:10:00.000Z\",\"\",\"\",\"\",\"\",\"\",\"\"\n";
        let mut table = ObjectTable::default();
        assert_eq!(read_inventory_csv(&manifest, &gzip(rows)[..], &mut table), Ok(2));
        let objects = manifest.objects(table);
        let marker = objects.table.get(0);
        assert!(marker.delete_marker && marker.key == b"pg/gone");
        let first = objects.table.get(1);
        assert_eq!(first.key, "pg/wal 5 x/ä+".as_bytes());
        assert_eq!((first.size, first.class, first.version), (1024, StorageClass::Glacier, Some("v1")));
        assert_eq!((first.replication, first.lock.hold), (Replication::Waiting, true));
        assert_eq!(first.lock.retain_until.unwrap().to_string(), "2027-01-01T00:00:00Z");
        let bad = gzip("\"b\",\"k\",\"\",\"\",\"\",\"1\",\"yesterday\"\n");
        assert!(read_inventory_csv(&manifest, &bad[..], &mut ObjectTable::default()).unwrap_err().contains("row 1"));
        let cut = &gzip(rows)[..40];
        assert!(read_inventory_csv(&manifest, cut, &mut ObjectTable::default()).is_err());
    }

    #[test]
    fn manifests_that_do_not_help_are_explained() {
        for (text, want) in [
            ("{}", "fileFormat"),
            ("{\"fileFormat\": \"CSV\", \"fileSchema\": \"Bucket, Key\", \"files\": []}", "LastModifiedDate"),
            ("{\"fileFormat\": \"XLS\"}", "not known"),
            ("{\"fileFormat\": \"ORC\"}", "names no files"),
            ("x", "not valid JSON"),
        ] {
            assert!(InventoryManifest::parse(text).unwrap_err().contains(want), "{text}");
        }
    }

    fn parquet_file() -> Vec<u8> {
        let schema = "message s3.inventory { required binary bucket (STRING); required binary key (STRING);
            optional boolean is_delete_marker; optional int64 size; optional int64 last_modified_date (TIMESTAMP(MILLIS,true));
            optional binary storage_class (STRING); }";
        let schema = Arc::new(parse_message_type(schema).unwrap());
        let mut file = Vec::new();
        let mut writer = SerializedFileWriter::new(&mut file, schema, Default::default()).unwrap();
        let mut group = writer.next_row_group().unwrap();
        let text = |text: &str| ByteArray::from(text.as_bytes().to_vec());
        let mut number = 0;
        while let Some(mut column) = group.next_column().unwrap() {
            let levels = Some(&[1i16, 1][..]);
            match number {
                0 => column.typed::<ByteArrayType>().write_batch(&[text("b"), text("b")], None, None).map(drop),
                1 => column.typed::<ByteArrayType>().write_batch(&[text("k2"), text("k1 +")], None, None).map(drop),
                2 => column.typed::<BoolType>().write_batch(&[false, true], levels, None).map(drop),
                3 => column.typed::<Int64Type>().write_batch(&[7], Some(&[1, 0]), None).map(drop),
                4 => column
                    .typed::<Int64Type>()
                    .write_batch(&[1_795_186_800_000, 1_795_186_800_001], levels, None)
                    .map(drop),
                _ => column
                    .typed::<ByteArrayType>()
                    .write_batch(&[text("DEEP_ARCHIVE"), text("")], levels, None)
                    .map(drop),
            }
            .unwrap();
            column.close().unwrap();
            number += 1;
        }
        group.close().unwrap();
        writer.close().unwrap();
        file
    }

    #[test]
    fn parquet_files() {
        let mut table = ObjectTable::default();
        let file = parquet_file();
        assert_eq!(read_inventory_parquet(bytes::Bytes::from(file.clone()), &mut table), Ok(2));
        let (first, second) = (table.get(0), table.get(1));
        assert_eq!((first.key, first.size, first.class), (&b"k2"[..], 7, StorageClass::DeepArchive));
        assert_eq!((second.key, second.delete_marker), (&b"k1 +"[..], true));
        assert_eq!(first.created.to_string(), "2026-11-20T15:00:00Z");
        let mut seed = 3u64;
        for _ in 0..200 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let mut damaged = file.clone();
            let place = (seed >> 33) as usize % damaged.len();
            damaged[place] ^= 1 << (seed % 8);
            if seed.is_multiple_of(3) {
                damaged.truncate(place);
            }
            let _ = read_inventory_parquet(bytes::Bytes::from(damaged), &mut ObjectTable::default());
        }
    }
}
