use std::io::{self, BufRead, BufReader, Read};

use super::*;
use crate::codec::tests::Noise;

/// A header block with a right checksum.
fn header(name: &[u8], flag: u8, size: &[u8], change: impl Fn(&mut [u8; 512])) -> Vec<u8> {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name);
    block[100..107].copy_from_slice(b"0000600");
    block[124..124 + size.len()].copy_from_slice(size);
    block[136..147].copy_from_slice(b"14726745340");
    block[156] = flag;
    block[257..265].copy_from_slice(b"ustar\x0000");
    change(&mut block);
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block.to_vec()
}

fn plain(name: &[u8], flag: u8, body: &[u8]) -> Vec<u8> {
    let mut member = header(name, flag, format!("{:011o}", body.len()).as_bytes(), |_| {});
    member.extend(body);
    member.resize(member.len().next_multiple_of(512), 0);
    member
}

const END: [u8; 1024] = [0; 1024];

type Members = Vec<(Entry, Vec<u8>)>;

/// Reads all bodies, copied and in place, from buffers of several sizes: there must be no difference.
fn walk(bytes: &[u8]) -> Result<Members, TarError> {
    let copied = walk_by(bytes, 0, |body| {
        let mut copy = Vec::new();
        body.read_to_end(&mut copy).map(|_| copy)
    });
    for room in [1, 511, 700, 1 << 20] {
        let in_place = walk_by(bytes, room, |body| {
            let mut copy = Vec::new();
            loop {
                let piece = body.fill_buf()?;
                let bytes = piece.len().min(300);
                if bytes == 0 {
                    return Ok(copy);
                }
                copy.extend(&piece[..bytes]);
                body.consume(bytes);
            }
        });
        assert_eq!(format!("{in_place:?}"), format!("{copied:?}"), "buffers of {room}");
    }
    copied
}

fn walk_by(
    bytes: &[u8],
    room: usize,
    read: impl Fn(&mut Body<'_, BufReader<&[u8]>>) -> io::Result<Vec<u8>>,
) -> Result<Members, TarError> {
    let mut tar = TarReader::new(BufReader::with_capacity(room, bytes));
    let mut members = Vec::new();
    while let Some(entry) = tar.next_entry()? {
        let body = read(&mut tar.body()).map_err(|error| match tar_problem(&error) {
            Some(problem) => TarError::Structure(problem.clone()),
            None => TarError::Read(error),
        })?;
        members.push((entry, body));
    }
    assert_eq!(tar.position(), bytes.len() as u64);
    Ok(members)
}

fn problem(bytes: &[u8]) -> TarProblemKind {
    match walk(bytes) {
        Err(TarError::Structure(problem)) => problem.kind,
        other => panic!("{other:?}"),
    }
}

#[test]
fn names_from_every_extension() {
    let long = [b'n'; 300];
    let pax = [&b"13 path=a/b\xFF\n"[..], b"19 mtime=1700000.5\n", b"10 size=3\n"].concat();
    let prefixed = header(b"1259", b'0', b"00000000000", |block| block[345..351].copy_from_slice(b"base/5"));
    let tar = [
        plain(b"/", b'5', b""),
        plain(b"/global/pg_control", b'0', &[7; 8192]),
        prefixed,
        plain(b"././@LongLink", b'L', &[&long[..], b"\0"].concat()),
        plain(b"short", b'0', b"body"),
        plain(b"./PaxHeaders/x", b'x', &pax),
        // The size in the header is superseded.
        [header(b"short", b'0', b"00000000000", |_| {}), [&b"abc"[..], &[0; 509]].concat()].concat(),
        plain(b"././@LongLink", b'K', b"/mnt/ts\0"),
        plain(b"pg_tblspc/16400", b'2', b""),
        END.to_vec(),
    ]
    .concat();
    let seen = walk(&tar).unwrap();
    let names: Vec<&[u8]> = seen.iter().map(|(entry, _)| &entry.name[..]).collect();
    let expected: [&[u8]; 6] = [b"/", b"/global/pg_control", b"base/5/1259", &long, b"a/b\xFF", b"pg_tblspc/16400"];
    assert_eq!(names, expected);
    assert_eq!(seen[0].0.kind, EntryKind::Directory);
    assert_eq!(seen[1].1, [7; 8192]);
    assert_eq!((seen[1].0.mode, seen[1].0.mtime, seen[1].0.at_byte), (0o600, 0o14726745340, 512));
    assert_eq!((&seen[4].1[..], seen[4].0.mtime), (&b"abc"[..], 1_700_000));
    assert_eq!((seen[5].0.kind, &seen[5].0.link_name[..]), (EntryKind::Symlink, &b"/mnt/ts"[..]));
}

#[test]
fn sizes_beyond_eight_gib_and_absurd_ones() {
    let sized = |size: &[u8]| header(b"big", b'0', size, |_| {});
    let tar = sized(b"\x80\0\0\0\0\0\0\x02\0\0\0\0");
    let entry = TarReader::new(&tar[..]).next_entry().unwrap().unwrap();
    assert_eq!(entry.size, 8 << 30);
    for size in [&[0xFF; 12][..], b"\x80\0\0\0\xFF\0\0\0\0\0\0\0", b"\0\0\0\0\0\0\0\0\0\0\0\0", b"9", b"12 x"] {
        assert_eq!(problem(&sized(size)), TarProblemKind::BadNumber, "{size:?}");
    }
    // The largest size there is does not overflow anything.
    let tar = sized(b"\x80\0\0\0\x7F\xFF\xFF\xFF\xFF\xFF\xFF\xFF");
    assert_eq!(problem(&tar), TarProblemKind::Truncated);
    let mut reader = TarReader::new(&tar[..]);
    reader.next_entry().unwrap();
    assert!(reader.next_entry().is_err());
    assert!(reader.next_entry().is_err());
}

#[test]
fn the_end_has_to_be_whole() {
    let member = plain(b"file", b'0', b"body");
    assert_eq!(walk(&[&member[..], &END].concat()).unwrap().len(), 1);
    assert_eq!(walk(&[&member[..], &END, &[0; 8999]].concat()).unwrap().len(), 1);
    assert_eq!(walk(&END).unwrap().len(), 0);
    let kind = |tail: &[u8]| problem(&[&member[..], tail].concat());
    assert_eq!(kind(b""), TarProblemKind::NoEndMark);
    assert_eq!(kind(&END[..100]), TarProblemKind::NoEndMark);
    assert_eq!(kind(&END[..512]), TarProblemKind::NoEndMark);
    assert_eq!(kind(&END[..1023]), TarProblemKind::NoEndMark);
    assert_eq!(kind(&[&END[..], b"x"].concat()), TarProblemKind::TrailingData);
    assert_eq!(kind(&[&END[..], &[0; 70_000], b"x"].concat()), TarProblemKind::TrailingData);
    assert_eq!(kind(&[&END[..512], &member].concat()), TarProblemKind::TrailingData);
    assert_eq!(kind(&member[..300]), TarProblemKind::Truncated);
    assert_eq!(problem(b""), TarProblemKind::NoEndMark);
    for length in 1..member.len() {
        assert_eq!(problem(&member[..length]), TarProblemKind::Truncated, "{length}");
    }
}

#[test]
fn extensions_are_bounded_and_complete() {
    let member = plain(b"file", b'0', b"body");
    let with = |extension: Vec<u8>| [&extension[..], &member, &END].concat();
    let large = header(b"l", b'L', b"00010000000", |_| {});
    assert_eq!(problem(&large), TarProblemKind::ExtensionTooLarge);
    assert_eq!(problem(&with(plain(b"x", b'x', b"99 path=y\n"))), TarProblemKind::BadExtension);
    assert_eq!(problem(&with(plain(b"x", b'L', b""))), TarProblemKind::BadExtension);
    assert_eq!(problem(&with(plain(b"g", b'g', b"10 path=y\n"))), TarProblemKind::Unsupported);
    assert_eq!(walk(&with(plain(b"g", b'g', b"13 comment=y\n"))).unwrap().len(), 1);
    assert_eq!(problem(&with(plain(b"x", b'x', b"22 GNU.sparse.major=1\n"))), TarProblemKind::Unsupported);
    assert_eq!(problem(&with(plain(b"s", b'S', b""))), TarProblemKind::Unsupported);
    assert_eq!(problem(&with(plain(b"k", b'K', b"x").repeat(20))), TarProblemKind::BadExtension);
    assert_eq!(problem(&plain(b"k", b'K', b"x")), TarProblemKind::Truncated);
    assert_eq!(problem(&[&plain(b"k", b'K', b"x")[..], &END].concat()), TarProblemKind::BadExtension);
}

#[test]
fn a_flipped_bit_in_a_header_is_seen() {
    let tar = [plain(b"base/5/1259", b'0', &[9; 700]), END.to_vec()].concat();
    for bit in 0..512 * 8 {
        let mut flipped = tar.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        // The checksum's own field is not summed, and there is more than one way to write a number.
        if !(148..156).contains(&(bit / 8)) {
            assert_eq!(problem(&flipped), TarProblemKind::BadChecksum, "{bit}");
        }
    }
}

#[test]
fn an_error_of_the_reader_below_is_not_a_structural_one() {
    struct Broken(usize);
    impl Read for Broken {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            let bytes = out.len().min(self.0);
            if bytes == 0 {
                return Err(io::ErrorKind::TimedOut.into());
            }
            self.0 -= bytes;
            out[..bytes].fill(0);
            Ok(bytes)
        }
    }
    for length in [0, 100, 512, 1024, 5000] {
        let mut tar = TarReader::new(Broken(length));
        assert!(matches!(tar.next_entry(), Err(TarError::Read(error)) if error.kind() == io::ErrorKind::TimedOut));
        assert!(tar.next_entry().is_err());
    }
}

#[test]
fn clean_names() {
    let clean = |name: &[u8]| clean_member_name(name);
    assert_eq!(clean(b"/"), Ok(None));
    assert_eq!(clean(b""), Ok(None));
    assert_eq!(clean(b"./"), Ok(None));
    assert_eq!(clean(b"/base/5//1259/"), Ok(Some(b"base/5/1259".to_vec())));
    assert_eq!(clean(b"./a/./b"), Ok(Some(b"a/b".to_vec())));
    assert_eq!(clean(b"..a/b.."), Ok(Some(b"..a/b..".to_vec())));
    assert_eq!(clean(b"a/../../etc"), Err(NameProblem::Parent));
    assert_eq!(clean(b".."), Err(NameProblem::Parent));
    assert_eq!(clean(b"a\0b"), Err(NameProblem::Nul));
    assert_eq!(clean(&[b'a'; 256]), Err(NameProblem::TooLong));
    assert_eq!(clean(&b"a/".repeat(3000)), Err(NameProblem::TooLong));
}

#[test]
fn mutated_tars_never_panic() {
    let tar = [
        plain(b"/", b'5', b""),
        plain(b"././@LongLink", b'L', b"a/long/name\0"),
        plain(b"short", b'0', &[1; 900]),
        plain(b"x", b'x', b"10 path=y\n13 size=1000\n"),
        plain(b"short", b'0', &[2; 1000]),
        END.to_vec(),
    ]
    .concat();
    let mut noise = Noise(5);
    for round in 0..3000 {
        let mut bytes = tar.clone();
        for _ in 0..=noise.below(3) {
            let at = noise.below(bytes.len());
            bytes[at] = noise.next() as u8;
        }
        if round % 2 == 0 {
            // Make the checksums right again, so that the mutation is looked at.
            for block in bytes.chunks_mut(512).filter(|block| block[257] == b'u') {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
                block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
            }
        }
        if round % 5 == 0 {
            bytes.truncate(noise.below(tar.len()));
        }
        fuzz_one(&bytes);
    }
}
