//! Reads the XML of S3 listings as it arrives, byte by byte.
//!
//! An XML parser would refuse a page because of one raw control character in one key; an auditor has to show that
//! key. So this reads bytes, not characters: any key comes through, in any cut of the body into chunks.

use super::list_text::{decode_text, decode_url, parse_time};
use crate::model::{ObjectKey, ObjectRow, StorageClass, StoreChecksum, Timestamp};
use crate::store::ObjectVersion;

/// Largest page body.
const BODY_BYTES_MAX: u64 = 256 << 20;
/// Largest single tag or text; a key has at most 1024 bytes, at most 6 KiB in its longest spelling.
const TOKEN_BYTES_MAX: usize = 64 << 10;
/// Most rows in a page; S3 sends 1000.
const ROWS_MAX: usize = 100_000;
/// Deepest nesting.
const DEPTH_MAX: usize = 32;

/// What a page of XML says, keys decoded.
#[derive(Debug, Default, PartialEq)]
pub struct Listed {
    /// Objects of `ListObjects` (both versions of the call).
    pub rows: Vec<ObjectRow>,
    /// Versions and delete markers of `ListObjectVersions`.
    pub versions: Vec<ObjectVersion>,
    /// Common prefixes.
    pub prefixes: Vec<ObjectKey>,
    /// There is more.
    pub truncated: bool,
    /// Where the next page begins: `NextContinuationToken`.
    pub next_token: Option<String>,
    /// Likewise `NextMarker` or `NextKeyMarker`.
    pub next_marker: Option<Vec<u8>>,
    /// Likewise `NextVersionIdMarker`.
    pub next_version_marker: Option<String>,
    /// The body was an error instead.
    pub fault: Option<XmlFault>,
}

/// The `Error` document of S3.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct XmlFault {
    /// E.g. `AccessDenied`.
    pub code: String,
    /// For people.
    pub message: String,
    /// Where the bucket lives, if the error is about that.
    pub region: Option<String>,
}

/// The body is no listing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ListXmlError {
    /// Something is larger than any store sends.
    #[error("the listing has {0}")]
    TooLarge(&'static str),
    /// The body ends before the listing does.
    #[error("the listing is cut off after {0} bytes")]
    Cut(u64),
    /// Another document.
    #[error("the answer is no listing but <{0}>")]
    NotAListing(String),
    /// A row without what a row needs.
    #[error("the listing shows {key} {problem}")]
    BadRow {
        /// Which row.
        key: ObjectKey,
        /// What is wrong.
        problem: &'static str,
    },
}

/// A reader that is fed chunks.
#[derive(Debug, Default)]
pub struct ListXml {
    /// Bytes not yet understood: the beginning of a tag or a text.
    pending: Vec<u8>,
    fed: u64,
    depth: usize,
    /// The document is complete.
    closed: bool,
    root: Root,
    group: Group,
    field: Field,
    text: Vec<u8>,
    row: Row,
    url_encoded: bool,
    out: Listed,
}

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Root {
    #[default]
    None,
    List,
    Error,
}

/// The element below the root that is open.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Group {
    #[default]
    None,
    Object,
    Version,
    DeleteMarker,
    Prefixes,
}

/// The element whose text is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Field {
    #[default]
    None,
    Key,
    Size,
    Modified,
    ETag,
    Class,
    ChecksumAlgorithm,
    VersionId,
    IsLatest,
    Prefix,
    Truncated,
    NextToken,
    NextMarker,
    NextVersionMarker,
    EncodingType,
    Code,
    Message,
    Region,
}

/// A row while its fields come in.
#[derive(Debug, Default)]
struct Row {
    key: Option<Vec<u8>>,
    size: Option<u64>,
    modified: Option<Timestamp>,
    etag: Option<Box<str>>,
    version: Option<Box<str>>,
    class: StorageClass,
    checksum: Option<StoreChecksum>,
    latest: bool,
    bad: Option<&'static str>,
}

impl ListXml {
    /// A reader that has seen nothing.
    pub fn new() -> Self {
        ListXml::default()
    }

    /// Reads the next chunk.
    ///
    /// # Errors
    /// Any [`ListXmlError`] but `Cut`. The reader is of no use afterwards.
    pub fn feed(&mut self, chunk: &[u8]) -> Result<(), ListXmlError> {
        self.fed = self.fed.saturating_add(chunk.len() as u64);
        if self.fed > BODY_BYTES_MAX {
            return Err(ListXmlError::TooLarge("a body of more than 256 MiB"));
        }
        let mut pending = std::mem::take(&mut self.pending);
        pending.extend_from_slice(chunk);
        let mut at = 0;
        while let Some(used) = self.token(&pending[at..])? {
            at += used;
        }
        if pending.len() - at > 2 * TOKEN_BYTES_MAX {
            return Err(ListXmlError::TooLarge("a tag or text of more than 64 KiB"));
        }
        pending.drain(..at);
        self.pending = pending;
        Ok(())
    }

    /// The listing, once everything was fed.
    ///
    /// # Errors
    /// `Cut` if it is not complete.
    pub fn finish(mut self) -> Result<Listed, ListXmlError> {
        if !self.closed {
            return Err(ListXmlError::Cut(self.fed));
        }
        if self.url_encoded {
            let versions = self.out.versions.iter_mut().map(|version| &mut version.row.key);
            let rows = self.out.rows.iter_mut().map(|row| &mut row.key);
            for key in rows.chain(versions).chain(&mut self.out.prefixes) {
                if let Some(decoded) = decode_url(key.as_bytes()) {
                    *key = ObjectKey::new(decoded);
                }
            }
            if let Some(marker) = &mut self.out.next_marker
                && let Some(decoded) = decode_url(marker)
            {
                *marker = decoded;
            }
        }
        Ok(self.out)
    }

    /// Reads one tag with the text before it. `None`: it has not all arrived.
    fn token(&mut self, bytes: &[u8]) -> Result<Option<usize>, ListXmlError> {
        let Some(open) = bytes.iter().position(|byte| *byte == b'<') else { return Ok(None) };
        let tag = &bytes[open..];
        let Some(end) = tag_end(tag) else { return Ok(None) };
        if open > TOKEN_BYTES_MAX || end > TOKEN_BYTES_MAX {
            return Err(ListXmlError::TooLarge("a tag or text of more than 64 KiB"));
        }
        if self.field != Field::None {
            decode_text(&bytes[..open], &mut self.text);
            if self.text.len() > TOKEN_BYTES_MAX {
                return Err(ListXmlError::TooLarge("a text of more than 64 KiB"));
            }
        }
        match tag.get(1) {
            Some(b'?') => {}
            Some(b'!') => {
                // Text as it stands; comments and document types say nothing.
                if let Some(plain) = tag[..end].strip_prefix(b"<![CDATA[").and_then(|rest| rest.strip_suffix(b"]]>"))
                    && self.field != Field::None
                {
                    self.text.extend_from_slice(plain);
                }
            }
            Some(b'/') => self.close()?,
            _ => {
                let inner = &tag[1..end - 1];
                let (inner, empty) = inner.strip_suffix(b"/").map_or((inner, false), |inner| (inner, true));
                self.open(name_of(inner))?;
                if empty {
                    self.close()?;
                }
            }
        }
        Ok(Some(open + end))
    }

    fn open(&mut self, name: &[u8]) -> Result<(), ListXmlError> {
        self.depth += 1;
        match self.depth {
            _ if self.closed => {
                return Err(ListXmlError::NotAListing(ObjectKey::new(short(name)).to_string()));
            }
            1 => {
                self.root = match name {
                    b"ListBucketResult" | b"ListVersionsResult" => Root::List,
                    b"Error" => Root::Error,
                    other => return Err(ListXmlError::NotAListing(ObjectKey::new(short(other)).to_string())),
                };
            }
            2 => {
                self.group = match (self.root, name) {
                    (Root::List, b"Contents") => Group::Object,
                    (Root::List, b"Version") => Group::Version,
                    (Root::List, b"DeleteMarker") => Group::DeleteMarker,
                    (Root::List, b"CommonPrefixes") => Group::Prefixes,
                    _ => Group::None,
                };
                self.row = Row::default();
                self.field = match self.root {
                    _ if self.group != Group::None => Field::None,
                    Root::Error => error_field(name),
                    _ => page_field(name),
                };
                self.text.clear();
            }
            3 => {
                self.field = match self.group {
                    Group::None => Field::None,
                    Group::Prefixes if name == b"Prefix" => Field::Prefix,
                    Group::Prefixes => Field::None,
                    _ => row_field(name),
                };
                self.text.clear();
            }
            depth if depth > DEPTH_MAX => return Err(ListXmlError::TooLarge("more than 32 nested elements")),
            _ => self.field = Field::None,
        }
        Ok(())
    }

    fn close(&mut self) -> Result<(), ListXmlError> {
        let Some(depth) = self.depth.checked_sub(1) else {
            return Err(ListXmlError::NotAListing("/".to_owned()));
        };
        let field = std::mem::take(&mut self.field);
        if field != Field::None {
            self.assign(field);
        }
        self.depth = depth;
        match depth {
            0 => self.closed = true,
            1 => self.close_group()?,
            _ => {}
        }
        Ok(())
    }

    fn assign(&mut self, field: Field) {
        let text = self.text.as_slice();
        let string = || String::from_utf8_lossy(text).into_owned();
        match field {
            Field::None => {}
            Field::Key => self.row.key = Some(text.to_vec()),
            Field::Size => match std::str::from_utf8(text.trim_ascii()).ok().and_then(|digits| digits.parse().ok()) {
                Some(size) => self.row.size = Some(size),
                None => self.row.bad = Some("with a size that is no number"),
            },
            Field::Modified => match parse_time(text.trim_ascii()) {
                Some(time) => self.row.modified = Some(time),
                None => self.row.bad = Some("with a time that is none"),
            },
            Field::ETag => {
                let text = text.trim_ascii();
                let bare = text.strip_prefix(b"\"").and_then(|rest| rest.strip_suffix(b"\"")).unwrap_or(text);
                self.row.etag = Some(String::from_utf8_lossy(bare).into());
            }
            Field::Class => self.row.class = StorageClass::parse(String::from_utf8_lossy(text).trim()),
            Field::ChecksumAlgorithm => self.row.checksum = Some(StoreChecksum::S3Algorithm(string())),
            // An unversioned object's version is called "null"; asking for it by that name is right.
            Field::VersionId => self.row.version = Some(string().into()),
            Field::IsLatest => self.row.latest = text.trim_ascii() == b"true",
            Field::Prefix => self.out.prefixes.push(ObjectKey::new(text)),
            Field::Truncated => self.out.truncated = text.trim_ascii().eq_ignore_ascii_case(b"true"),
            Field::NextToken => self.out.next_token = Some(string()).filter(|token| !token.is_empty()),
            Field::NextMarker => self.out.next_marker = Some(text.to_vec()).filter(|marker| !marker.is_empty()),
            Field::NextVersionMarker => self.out.next_version_marker = Some(string()),
            Field::EncodingType => self.url_encoded = text.trim_ascii().eq_ignore_ascii_case(b"url"),
            Field::Code => self.fault().code = string(),
            Field::Message => self.fault().message = string(),
            Field::Region => self.fault().region = Some(string()),
        }
    }

    fn fault(&mut self) -> &mut XmlFault {
        self.out.fault.get_or_insert_default()
    }

    fn close_group(&mut self) -> Result<(), ListXmlError> {
        let group = std::mem::take(&mut self.group);
        if self.out.rows.len().max(self.out.versions.len()).max(self.out.prefixes.len()) > ROWS_MAX {
            return Err(ListXmlError::TooLarge("more than 100000 rows in a page"));
        }
        if matches!(group, Group::None | Group::Prefixes) {
            return Ok(());
        }
        let row = std::mem::take(&mut self.row);
        let key = ObjectKey::new(row.key.unwrap_or_default());
        let problem = |problem| ListXmlError::BadRow { key: key.clone(), problem };
        if let Some(bad) = row.bad {
            return Err(problem(bad));
        }
        if key.as_bytes().is_empty() {
            return Err(problem("an object without a key"));
        }
        let delete_marker = group == Group::DeleteMarker;
        let size = if delete_marker { Some(0) } else { row.size };
        let row_done = ObjectRow {
            size: size.ok_or_else(|| problem("without a size"))?,
            modified: row.modified.ok_or_else(|| problem("without a time"))?,
            etag: row.etag,
            version: row.version,
            class: row.class,
            checksum: row.checksum,
            key,
        };
        match group {
            Group::Object => self.out.rows.push(row_done),
            _ => self.out.versions.push(ObjectVersion { row: row_done, latest: row.latest, delete_marker }),
        }
        Ok(())
    }
}

/// Length of a tag including its `>`, which may also stand inside quotes, comments and the like.
fn tag_end(tag: &[u8]) -> Option<usize> {
    for (begin, end) in [(&b"<!--"[..], &b"-->"[..]), (b"<![CDATA[", b"]]>"), (b"<?", b"?>")] {
        if tag.starts_with(begin) {
            let found = tag[begin.len()..].windows(end.len()).position(|window| window == end)?;
            return Some(begin.len() + found + end.len());
        }
        // Not enough yet to tell which it is.
        if tag.len() < begin.len() && begin.starts_with(tag) && tag.len() > 1 {
            return None;
        }
    }
    let mut quote = None;
    for (at, byte) in tag.iter().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(*byte),
            (Some(open), byte) if open == *byte => quote = None,
            _ => {}
        }
    }
    None
}

/// The name of a tag without namespace and attributes.
fn name_of(inner: &[u8]) -> &[u8] {
    let end = inner.iter().position(u8::is_ascii_whitespace).unwrap_or(inner.len());
    let name = &inner[..end];
    name.iter().position(|byte| *byte == b':').map_or(name, |colon| &name[colon + 1..])
}

fn short(name: &[u8]) -> &[u8] {
    &name[..name.len().min(40)]
}

fn page_field(name: &[u8]) -> Field {
    match name {
        b"IsTruncated" => Field::Truncated,
        b"NextContinuationToken" => Field::NextToken,
        b"NextMarker" | b"NextKeyMarker" => Field::NextMarker,
        b"NextVersionIdMarker" => Field::NextVersionMarker,
        b"EncodingType" => Field::EncodingType,
        _ => Field::None,
    }
}

fn row_field(name: &[u8]) -> Field {
    match name {
        b"Key" => Field::Key,
        b"Size" => Field::Size,
        b"LastModified" => Field::Modified,
        b"ETag" => Field::ETag,
        b"StorageClass" => Field::Class,
        b"ChecksumAlgorithm" => Field::ChecksumAlgorithm,
        b"VersionId" => Field::VersionId,
        b"IsLatest" => Field::IsLatest,
        _ => Field::None,
    }
}

fn error_field(name: &[u8]) -> Field {
    match name {
        b"Code" => Field::Code,
        b"Message" => Field::Message,
        b"Region" => Field::Region,
        _ => Field::None,
    }
}

/// Feeds a body whole and in pieces: neither may panic, and both must agree.
#[doc(hidden)]
pub fn fuzz_one(bytes: &[u8]) {
    let read = |chunk: usize| {
        let mut reader = ListXml::new();
        bytes.chunks(chunk.max(1)).try_for_each(|chunk| reader.feed(chunk)).and_then(|()| reader.finish())
    };
    let whole = read(bytes.len());
    for chunk in [1, 7] {
        match (&whole, read(chunk)) {
            (Ok(whole), Ok(pieces)) => assert_eq!(*whole, pieces),
            (Err(_), Err(_)) => {}
            (whole, pieces) => panic!("{whole:?} whole but {pieces:?} in pieces of {chunk}"),
        }
    }
}

#[cfg(test)]
#[path = "list_xml_tests.rs"]
mod tests;
