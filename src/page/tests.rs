//! Pages, relation files and increments made for the purpose.

use proptest::prelude::*;

use super::*;
use crate::model::Lsn;

/// A filled page with the right checksum.
fn page(block: u32, lsn: u64, fill: u8) -> Vec<u8> {
    let mut page = vec![fill; PAGE_BYTES];
    page[0..4].copy_from_slice(&((lsn >> 32) as u32).to_le_bytes());
    page[4..8].copy_from_slice(&(lsn as u32).to_le_bytes());
    page[8..20].copy_from_slice(&[0, 0, 0, 0, 24, 0, 0, 32, 0, 32, 4, 32]);
    let sum = page_checksum(&page, block);
    page[8..10].copy_from_slice(&sum.to_le_bytes());
    page
}

/// The algorithm word by word, without any thought of speed.
fn slow_checksum(page: &[u8], block: u32) -> u16 {
    let mut page = page.to_vec();
    page[8] = 0;
    page[9] = 0;
    // Written twice, so that a slip of the pen in one of the two shows.
    let start: [u32; 32] = [
        0x5B1F36E9, 0xB8525960, 0x02AB50AA, 0x1DE66D2A, 0x79FF467A, 0x9BB9F8A3, 0x217E7CD2, 0x83E13D2C, 0xF8D4474F,
        0xE39EB970, 0x42C6AE16, 0x993216FA, 0x7B093B5D, 0x98DAFF3C, 0xF718902A, 0x0B1C9CDB, 0xE58F764B, 0x187636BC,
        0x5D7B3BB1, 0xE73DE7DE, 0x92BEC979, 0xCCA6C0B2, 0x304A0979, 0x85AA43D4, 0x783125BB, 0x6CA8EAA2, 0xE407EAC6,
        0x4B5CFC3E, 0x9FBF8C76, 0x15CA20BE, 0xF2CA9FD3, 0x959BD756,
    ];
    let mut result = 0u64;
    for (column, start) in start.iter().enumerate() {
        let mut sum = u64::from(*start);
        let rows = page.len() / 128;
        for row in 0..rows + 2 {
            let at = (row * 32 + column) * 4;
            let word = if row < rows { u64::from(u32::from_le_bytes(page[at..at + 4].try_into().unwrap())) } else { 0 };
            let mixed = sum ^ word;
            sum = (mixed * 16_777_619 % (1 << 32)) ^ (mixed >> 17);
        }
        result ^= sum;
    }
    ((result ^ u64::from(block)) % 65_535 + 1) as u16
}

const BACKUP: PageContext = PageContext { start: Some(Lsn(0x100_0000)), end: Some(Lsn(0x200_0000)), checksums: true };

#[test]
fn verdicts_follow_the_backup() {
    let old = page(7, 0x50_0000, 3);
    assert_eq!(check_page(&old, 7, &BACKUP), PageVerdict::Ok);
    assert!(check_page(&old, 8, &BACKUP).is_bad(), "another block number");
    let mut torn = page(7, 0x150_0000, 3);
    torn[8000] ^= 1;
    assert_eq!(check_page(&torn, 7, &BACKUP), PageVerdict::NewerThanBackup);
    assert!(check_page(&torn, 7, &PageContext { checksums: true, ..PageContext::default() }).is_bad());
    // A position behind the backup's end is damage, not news.
    let mut impossible = page(7, 0x50_0000, 3);
    impossible[3] ^= 0x40;
    assert!(check_page(&impossible, 7, &BACKUP).is_bad());
    let mut unset = page(7, 0x50_0000, 3);
    unset[8..10].fill(0);
    assert!(matches!(check_page(&unset, 7, &BACKUP), PageVerdict::Bad { stored: 0, .. }));
}

#[test]
fn new_pages_are_all_zeros() {
    let mut new = vec![0; PAGE_BYTES];
    assert_eq!(check_page(&new, 7, &BACKUP), PageVerdict::New);
    new[5000] = 1;
    assert_eq!(check_page(&new, 7, &BACKUP), PageVerdict::NewNotZero);
}

#[test]
fn without_checksums_headers_must_be_plausible() {
    let context = PageContext { checksums: false, ..BACKUP };
    let mut bytes = page(7, 0x50_0000, 3);
    bytes[8000] ^= 1;
    assert_eq!(check_page(&bytes, 7, &context), PageVerdict::Ok);
    bytes[13] = 0xFF; // pd_lower behind pd_upper
    assert_eq!(check_page(&bytes, 7, &context), PageVerdict::BadHeader { lsn: Lsn(0x50_0000) });
}

#[test]
fn relation_files_are_known_by_their_paths() {
    let file = |path: &str| relation_file(path.as_bytes(), 131_072);
    let first = |path: &str| file(path).map(|file| (file.filenode, file.fork, file.first_block));
    assert_eq!(first("base/5/1259"), Some((1259, Fork::Main, 0)));
    assert_eq!(first("/base/5/1259.2"), Some((1259, Fork::Main, 262_144)));
    assert_eq!(first("./global/1262_fsm"), Some((1262, Fork::FreeSpaceMap, 0)));
    assert_eq!(first("base/5/16385_vm.1"), Some((16385, Fork::VisibilityMap, 131_072)));
    assert_eq!(first("pg_tblspc/16400/PG_15_202209061/5/16385_init"), Some((16385, Fork::Init, 0)));
    assert_eq!(first("pg_tblspc/16400/PG_9.6_201608131/5/16385"), Some((16385, Fork::Main, 0)));
    assert_eq!(first("PG_15_202209061/5/16385"), Some((16385, Fork::Main, 0)));
    for other in [
        "global/pg_control",
        "base/5/PG_VERSION",
        "base/5/pg_filenode.map",
        "base/5/t3_16390",
        "base/pgsql_tmp/1.0",
        "base/pgsql_tmp/pgsql_tmp1.0",
        "pg_xact/0000",
        "pg_multixact/members/0000",
        "base/5/1259_",
        "base/5/1259.",
        "base/5/1259.x",
        "base/5/99999999999",
        "base/5/1.99999",
        "base/1259",
        "x/base/5/1259",
        "base/5/1259/1",
        "",
    ] {
        assert_eq!(file(other), None, "{other}");
    }
}

fn increment(file_bytes: u64, blocks: &[u32]) -> Vec<u8> {
    let mut bytes = INCREMENT_MAGIC.to_vec();
    bytes.extend(file_bytes.to_le_bytes());
    bytes.extend((blocks.len() as u32).to_le_bytes());
    bytes.extend(blocks.iter().flat_map(|block| block.to_le_bytes()));
    for block in blocks {
        bytes.extend(page(block + 131_072, 0x50_0000, *block as u8));
    }
    bytes
}

fn check_increment(bytes: &[u8], member_bytes: u64, piece: usize) -> IncrementReport {
    let mut stream = IncrementStream::new(BACKUP, 131_072, member_bytes);
    bytes.chunks(piece).for_each(|piece| stream.push(piece));
    stream.finish()
}

#[test]
fn increments_are_checked_page_by_page() {
    let bytes = increment(10 * 8192, &[0, 3, 9]);
    for piece in [1, 7, 4096, 100_000] {
        let report = check_increment(&bytes, bytes.len() as u64, piece);
        assert_eq!((report.file_bytes, report.pages.pages), (Some(81_920), 3));
        assert_eq!((report.defects.as_slice(), report.pages.bad_count), (&[][..], 0));
    }
    let mut damaged = bytes.clone();
    damaged[16 + 12 + 8192 + 5000] ^= 1;
    let report = check_increment(&damaged, bytes.len() as u64, 1000);
    assert_eq!((report.pages.bad[0].block, report.pages.bad[0].offset), (131_075, 3 * 8192));
}

#[test]
fn malformed_increments_are_told() {
    let only = |bytes: &[u8], member: usize| {
        let report = check_increment(bytes, member as u64, 1000);
        assert_eq!(report.defect_count, 1, "{:?}", report.defects);
        report.defects[0]
    };
    let good = increment(10 * 8192, &[0, 3]);
    assert_eq!(only(b"\0\0\0\0", 4), IncrementDefect::Short { bytes: 4 });
    assert_eq!(only(&[1; 40], 40), IncrementDefect::Magic([1; 4]));
    assert_eq!(only(&good[..18], good.len()), IncrementDefect::Short { bytes: 18 });
    let (whole, part) = (good.len() as u64, good.len() as u64 - 1);
    assert_eq!(only(&good[..good.len() - 1], good.len() - 1), IncrementDefect::Length { expected: whole, found: part });
    assert_eq!(only(&good[..good.len() - 1], good.len()), IncrementDefect::Length { expected: whole, found: part });
    let twice = increment(10 * 8192, &[3, 3]);
    assert_eq!(only(&twice, twice.len()), IncrementDefect::Order { previous: 3, block: 3 });
    let beyond = increment(3 * 8192, &[3]);
    assert_eq!(only(&beyond, beyond.len()), IncrementDefect::BeyondEnd { block: 3, file_bytes: 24_576 });
    let odd = increment(4 * 8192 + 1, &[3]);
    assert_eq!(only(&odd, odd.len()), IncrementDefect::FileSize(32_769));
    let mut many = increment(8192, &[]);
    many[12..16].fill(0xFF);
    assert!(check_increment(&many, 16, 16).defects.contains(&IncrementDefect::TooManyPages(u32::MAX)));
    let empty = increment(8192, &[]);
    assert_eq!(check_increment(&empty, 16, 16).defect_count, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn the_fast_checksum_is_the_slow_one(seed in proptest::collection::vec(any::<u8>(), 64), block: u32) {
        let page: Vec<u8> = (0..PAGE_BYTES).map(|at| seed[at % 64].wrapping_mul((at / 64) as u8 | 1)).collect();
        prop_assert_eq!(page_checksum(&page, block), slow_checksum(&page, block));
    }

    #[test]
    fn a_flipped_bit_changes_the_verdict(at in 0usize..PAGE_BYTES, bit in 0u8..8, block in 0u32..1000) {
        let mut bytes = page(block, 0x50_0000, 9);
        bytes[at] ^= 1 << bit;
        let verdict = check_page(&bytes, block, &BACKUP);
        // The bits that make the page newer than the backup's start but not newer than its end hide the damage.
        prop_assert!(verdict.is_bad() || verdict == PageVerdict::NewerThanBackup && at < 8, "{:?}", verdict);
    }

    #[test]
    fn streams_do_not_depend_on_their_pieces(piece in 1usize..20_000, pages in 0usize..5, rest in 0usize..100) {
        let mut bytes = Vec::new();
        (0..pages).for_each(|n| bytes.extend(page(n as u32, 9, n as u8)));
        bytes.resize(bytes.len() + rest, 1);
        let mut stream = PageStream::new(BACKUP, PAGE_BYTES, 0);
        bytes.chunks(piece).for_each(|piece| stream.push(piece));
        let report = stream.finish();
        prop_assert_eq!((report.pages, report.bad_count, report.trailing_bytes), (pages as u64, 0, rest as u64));
    }

    #[test]
    fn any_bytes_are_read_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..20_000)) {
        fuzz_one(&bytes);
        let mut increment = INCREMENT_MAGIC.to_vec();
        increment.extend(&bytes);
        fuzz_one(&increment);
    }
}
