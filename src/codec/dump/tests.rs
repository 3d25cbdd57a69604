use proptest::prelude::*;

use super::*;

/// Writes the format as `pg_dump` does, with numbers of four bytes.
struct Writer(Vec<u8>);

impl Writer {
    fn int(&mut self, value: i32) {
        self.0.push(u8::from(value < 0));
        self.0.extend_from_slice(&value.unsigned_abs().to_le_bytes());
    }

    fn text(&mut self, text: Option<&str>) {
        match text {
            Some(text) => {
                self.int(text.len() as i32);
                self.0.extend_from_slice(text.as_bytes());
            }
            None => self.int(-1),
        }
    }

    fn head(minor: u8, format: u8, entries: i32) -> Self {
        let mut out = Writer(b"PGDMP\x01".to_vec());
        out.0.extend_from_slice(&[minor, 0, 4, 8, format]);
        if minor >= 15 {
            out.0.push(1)
        } else {
            out.int(-1)
        }
        (0..7).for_each(|_| out.int(1));
        out.text(Some("shop"));
        out.text(Some("15.18 (Debian)"));
        out.text(Some("17.2"));
        out.int(entries);
        out
    }

    fn entry(&mut self, minor: u8, number: i32, kind: &str, place: Result<u8, &str>) {
        self.int(number);
        self.int(i32::from(place != Ok(3) && place != Err("")));
        for text in ["1259", "16384", "orders", kind] {
            self.text(Some(text));
        }
        if minor >= 11 {
            self.int(3);
        }
        self.text(Some("SET client_encoding = 'LATIN1';\n"));
        self.text(None);
        self.text(Some("COPY orders FROM stdin;"));
        self.text(Some("public"));
        self.text(Some(""));
        if minor >= 14 {
            self.text(Some("heap"));
        }
        if minor >= 16 {
            self.int(i32::from(b'r'));
        }
        self.text(Some("app"));
        self.text(Some("false"));
        self.text(Some("12"));
        self.text(None);
        match place {
            Ok(state) => {
                self.0.push(state);
                self.0.extend_from_slice(&[0; 8]);
            }
            Err(file) => self.text(Some(file)),
        }
    }

    fn chunk(&mut self, bytes: &[u8]) {
        self.int(bytes.len() as i32);
        self.0.extend_from_slice(bytes);
    }
}

fn custom(minor: u8) -> Vec<u8> {
    let mut out = Writer::head(minor, 1, 4);
    out.entry(minor, 1, "ENCODING", Ok(3));
    out.entry(minor, 5, "TABLE", Ok(3));
    out.entry(minor, 7, "TABLE DATA", Ok(2));
    out.entry(minor, 9, "BLOBS", Ok(1));
    out.0.push(1);
    out.int(7);
    out.chunk(&[7; 40_000]);
    out.chunk(b"more");
    out.int(0);
    out.0.push(3);
    out.int(9);
    out.int(16400);
    out.chunk(b"large object");
    out.int(0);
    out.int(0);
    out.0
}

fn directory(names: &[&str]) -> Vec<u8> {
    let blobs = names.iter().any(|name| name.starts_with("blobs"));
    let mut toc = Writer::head(14, 3, if blobs { 3 } else { 2 });
    if blobs {
        toc.entry(14, 9, "BLOBS", Err("9.dat"));
    }
    toc.entry(14, 5, "TABLE", Err(""));
    toc.entry(14, 7, "TABLE DATA", Err("7.dat"));
    let mut tar = tar::Builder::new(Vec::new());
    for name in names {
        let body: &[u8] = if name.ends_with("toc.dat") { &toc.0 } else { b"1\tx\n\\.\n" };
        let mut header = tar::Header::new_ustar();
        header.set_size(body.len() as u64);
        header.set_mode(0o600);
        tar.append_data(&mut header, name, body).unwrap();
    }
    tar.into_inner().unwrap()
}

fn of(bytes: &[u8]) -> Result<Dump, String> {
    check(&mut &bytes[..]).map_err(|error| error.to_string())
}

#[test]
fn custom_archives_of_every_version_are_walked_to_their_end() {
    for minor in 10..=16 {
        let bytes = custom(minor);
        let dump = of(&bytes).unwrap();
        assert_eq!((dump.kind, dump.entries, dump.data_entries), (DumpKind::Custom, 4, 2));
        assert_eq!(dump.bytes, bytes.len() as u64);
        assert_eq!(dump.database.as_deref(), Some("shop"));
        assert_eq!((dump.encoding.as_deref(), dump.major()), (Some("LATIN1"), Some(17)));
    }
    let mut newer = custom(16);
    newer[6] = 17;
    assert_eq!(of(&newer).unwrap_err(), "archive format 1.17 is not known here (1.10 to 1.16 are)");
}

/// Between two blocks as well: an entry without its data is no whole dump.
#[test]
fn a_custom_archive_cut_anywhere_is_damaged() {
    let whole = custom(14);
    for length in (1..whole.len()).filter(|length| length % 97 == 0 || *length < 700 || whole.len() - length < 60) {
        assert!(matches!(check(&mut &whole[..length]), Err(DumpError::Damaged { .. } | DumpError::NotADump(_))));
    }
    let blobs = whole.len() - 1 - 5 - 5 - 5 - 12 - 5 - 5;
    assert!(of(&whole[..blobs]).unwrap_err().contains("the data of entry 9 is missing"));
    let more = [whole.as_slice(), b"\x09"].concat();
    assert!(of(&more).unwrap_err().contains("ends in the middle"));
}

#[test]
fn tars_hold_what_their_contents_name() {
    let dump = of(&directory(&["toc.dat", "7.dat.gz"])).unwrap();
    assert_eq!((dump.kind, dump.data_entries, dump.directory.as_slice()), (DumpKind::DirectoryInTar, 1, &b""[..]));
    // In a directory, in any order.
    let dump = of(&directory(&["shop/7.dat", "shop/toc.dat"])).unwrap();
    assert_eq!((dump.kind, dump.directory.as_slice()), (DumpKind::DirectoryInTar, &b"shop/"[..]));
    assert_eq!(of(&directory(&["toc.dat", "7.dat", "restore.sql"])).unwrap().kind, DumpKind::Tar);
    // The entry of large objects names a file that tars never have.
    assert_eq!(of(&directory(&["toc.dat", "7.dat", "blobs.toc", "restore.sql"])).unwrap().data_entries, 2);
    assert!(of(&directory(&["toc.dat", "7.dat", "blobs_9.toc"])).is_ok());
    assert!(of(&directory(&["toc.dat", "7.dat", "blobs_8.toc"])).unwrap_err().contains("the file 9.dat"));
    let missing = of(&directory(&["toc.dat", "8.dat"])).unwrap_err();
    assert!(missing.contains("the file 7.dat that its table of contents names is missing"), "{missing}");
    assert!(of(&directory(&["base/1/1234"])).unwrap_err().contains("a tar of 1 members without a toc.dat"));
    let whole = directory(&["toc.dat", "7.dat"]);
    assert!(of(&whole[..700]).is_err() && of(&whole[..whole.len() - 1024]).unwrap_err().contains("tar: "));
}

#[test]
fn plain_sql_ends_with_its_comment() {
    let sql = "--\n-- PostgreSQL database dump\n--\n\n\\restrict abc\n\n-- Dumped from database version 15.18 (Debian)\n\
               -- Dumped by pg_dump version 15.18\n\nSET client_encoding = 'UTF8';\nselect 1;\n\n\
               --\n-- PostgreSQL database dump complete\n--\n\n\\unrestrict abc\n\n";
    let dump = of(sql.as_bytes()).unwrap();
    assert_eq!((dump.kind, dump.major(), dump.encoding.as_deref()), (DumpKind::Plain, Some(15), Some("UTF8")));
    let long = sql.replace("select 1;", &"select 1;\n".repeat(50_000));
    assert_eq!(of(long.as_bytes()).unwrap().bytes, long.len() as u64);
    let cut = &long[..long.len() - 80];
    assert!(of(cut.as_bytes()).unwrap_err().contains("is missing: the dump was cut"));
    // Of a cluster, the closing comment of its last database is not the end.
    let cluster = format!("--\n-- PostgreSQL database cluster dump\n--\n{sql}");
    assert!(of(cluster.as_bytes()).is_err());
    let cluster = format!("{cluster}--\n-- PostgreSQL database cluster dump complete\n--\n");
    assert_eq!(of(cluster.as_bytes()).unwrap().kind, DumpKind::PlainCluster);
    assert!(of(b"create table t ();").unwrap_err().starts_with("not a dump: it begins with"));
    assert!(of(b"").unwrap_err().starts_with("the dump is empty"));
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..300), minor in 10_u8..17) {
        fuzz_one(&bytes);
        let mut whole = custom(minor);
        for (at, byte) in bytes.iter().enumerate().take(20) {
            let at = at * 37 % whole.len();
            whole[at] = *byte;
        }
        fuzz_one(&whole);
    }
}
