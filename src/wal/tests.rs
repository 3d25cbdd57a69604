//! Decoder and stitcher against WAL written for the purpose.

use proptest::prelude::*;

use super::header::magic_of_major;
use super::writer::{SYSTEM, Writer};
use super::*;
use crate::model::{Lsn, PgMajor, SegmentNo, SegmentSize, TimelineHistory, TimelineId};

const V15: PgMajor = PgMajor::V15;

fn options(writer: &Writer, number: SegmentNo) -> DecodeOptions {
    let mut options = DecodeOptions::new(writer.timeline_id(), number, writer.size);
    options.system_id = Some(SYSTEM);
    options.major = Some(writer.major);
    options.digest = true;
    options
}

fn decode(options: DecodeOptions, bytes: &[u8]) -> SegmentSummary {
    let mut decoder = SegmentDecoder::new(options);
    decoder.push(bytes);
    decoder.finish().0
}

/// Decodes and stitches all segments; returns the summaries, all defects as text, and the joined records.
fn run(writer: &Writer, segments: &[(SegmentNo, Vec<u8>)]) -> (Vec<SegmentSummary>, Vec<String>, Vec<JoinedRecord>) {
    let mut stitcher = Stitcher::new();
    let (mut summaries, mut problems, mut joins) = (Vec::new(), Vec::new(), Vec::new());
    for (number, bytes) in segments {
        let summary = decode(options(writer, *number), bytes);
        let stitched = stitcher.push(&summary.edges);
        problems.extend(summary.defects.iter().map(|defect| format!("{:?}: {defect}", defect.kind)));
        problems.extend(stitched.defects.iter().map(|defect| format!("{:?}: {defect}", defect.kind)));
        joins.extend(stitched.joined);
        summaries.push(summary);
    }
    (summaries, problems, joins)
}

/// Where records begin.
#[derive(Default)]
struct Starts(Vec<u64>);

impl RecordSink for Starts {
    fn record(&mut self, record: &Record<'_>) {
        self.0.push(record.lsn.0);
    }
}

fn starts(options: DecodeOptions, bytes: &[u8]) -> (SegmentSummary, Vec<u64>) {
    let mut decoder = SegmentDecoder::with_sink(options, Starts::default());
    decoder.push(bytes);
    let (summary, starts) = decoder.finish();
    (summary, starts.0)
}

fn kinds(summary: &SegmentSummary) -> Vec<DefectKind> {
    summary.defects.iter().map(|defect| defect.kind).collect()
}

#[test]
fn a_record_over_three_segments_is_joined() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.record(10, 0, 1, b"first");
    let huge = writer.record(10, 0, 2, &vec![7; 2_500_000]);
    writer.commit(3, 1_000_000);
    writer.switch();
    let segments = writer.segments();
    assert_eq!(segments.len(), 3);
    let (summaries, problems, joins) = run(&writer, &segments);
    assert_eq!(problems, Vec::<String>::new());
    assert_eq!(joins.len(), 1);
    assert_eq!(joins[0].lsn, huge);
    assert_eq!(joins[0].header.total_bytes, 2_500_000 + 24 + 5);
    assert_eq!(summaries[1].edges.end, SegmentEnd::Continues);
    assert_eq!(summaries[1].edges.first_record, None);
    assert_eq!(summaries[2].times.last_commit.unwrap().time.timestamp().unwrap().to_string(), "2000-01-01T00:00:01Z");
}

#[test]
fn damage_in_a_continued_record_shows_when_stitching() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.record(10, 0, 2, &vec![7; 2_500_000]);
    writer.switch();
    let segments = writer.segments();
    for index in 0..3 {
        let mut damaged = segments.clone();
        damaged[index].1[50_000] ^= 1;
        let (_, problems, joins) = run(&writer, &damaged);
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(problems[0].starts_with("RecordCrc: record at 0/500028 from 000000010000000000000005 into"));
        assert!(joins.is_empty());
    }
}

#[test]
fn a_header_split_between_segments_is_joined() {
    for left in [8u64, 16, 24, 32] {
        let mut writer = Writer::new(V15, 1, 8192, 5);
        writer.fill_until(left);
        let split = writer.commit(77, 42);
        writer.record(10, 0, 1, b"after");
        writer.switch();
        let (summaries, problems, joins) = run(&writer, &writer.segments());
        assert_eq!(problems, Vec::<String>::new(), "{left}");
        let joined = &joins[0];
        assert_eq!(joined.lsn, split);
        let event = joined.event.as_ref().unwrap();
        assert_eq!(event.kind, EventKind::Commit { xid: 77, prepared: false });
        assert_eq!(summaries[0].edges.last_record, Some(split));
        assert_eq!(summaries[1].edges.first_record.unwrap().prev, Some(split));
    }
}

#[test]
fn a_switch_record_may_lie_across_the_boundary() {
    for left in [8u64, 16] {
        let mut writer = Writer::new(V15, 1, 8192, 5);
        writer.fill_until(left);
        let switch = writer.switch();
        let next = writer.record(10, 0, 1, b"next");
        writer.switch();
        let segments = writer.segments();
        assert_eq!(segments.len(), 3);
        let (summaries, problems, joins) = run(&writer, &segments);
        assert_eq!(problems, Vec::<String>::new(), "{left}");
        assert_eq!(joins[0].header.prev, summaries[0].edges.last_record.map(|_| joins[0].header.prev).unwrap());
        assert!(joins[0].header.is_switch());
        assert_eq!(joins[0].end.0, segments[2].0.start(writer.size).0);
        assert!(matches!(summaries[1].edges.end, SegmentEnd::SwitchIfCarried { .. }));
        assert_eq!(summaries[2].edges.first_record, Some(FirstRecord { lsn: next, prev: Some(switch) }));
    }
}

#[test]
fn a_clean_end_needs_no_continuation() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.fill_until(0);
    writer.record(10, 0, 1, b"next");
    writer.switch();
    let (summaries, problems, joins) = run(&writer, &writer.segments());
    assert_eq!(problems, Vec::<String>::new());
    assert!(joins.is_empty());
    assert_eq!(summaries[0].edges.end, SegmentEnd::Clean);
}

#[test]
fn cut_off_records_and_their_replacements_are_fine() {
    for major in [PgMajor::V14, PgMajor::V18, PgMajor::V19] {
        // Within a segment, over a boundary, and given up in the middle of the next segment.
        for (left, pages) in [(50_000u64, 2), (1000, 1), (1000, 3)] {
            let mut writer = Writer::new(major, 1, 8192, 5);
            writer.fill_until(left);
            let before = writer.prev;
            let (cut, replacement) = writer.cut_off(&vec![3; 60_000], pages);
            assert!(cut.0 > before);
            writer.record(10, 0, 1, b"after");
            writer.switch();
            let (summaries, problems, _) = run(&writer, &writer.segments());
            assert_eq!(problems, Vec::<String>::new(), "{major} {left} {pages}");
            assert!(summaries.iter().any(|s| s.times.latest.is_some_and(|m| m.lsn == replacement)));
        }
    }
}

#[test]
fn a_replacement_must_name_the_record_that_was_cut_off() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.fill_until(1000);
    writer.cut_off(&vec![3; 60_000], 1);
    writer.switch();
    let cut = writer.segments();
    let mut other = Writer::new(V15, 1, 8192, 5);
    other.fill_until(0);
    // The left segment ends cleanly, the right one replaces something.
    let (_, problems, _) = run(&writer, &[other.segments()[0].clone(), cut[1].clone()]);
    assert!(problems.iter().any(|p| p.starts_with("Overwrite:")), "{problems:?}");
}

#[test]
fn old_versions_have_pages_behind_a_switch() {
    let mut writer = Writer::new(PgMajor::V9_6, 1, 8192, 5);
    writer.record(10, 0, 1, b"one");
    writer.switch();
    let mut bytes = writer.segments()[0].1.clone();
    bytes[16_384] = 0x93;
    assert_eq!(kinds(&decode(options(&writer, SegmentNo(5)), &bytes)), []);
    writer = Writer::new(PgMajor::V11, 1, 8192, 5);
    writer.record(10, 0, 1, b"one");
    writer.switch();
    let mut bytes = writer.segments()[0].1.clone();
    bytes[16_384] = 0x93;
    let summary = decode(options(&writer, SegmentNo(5)), &bytes);
    assert_eq!(kinds(&summary), [DefectKind::TailNotZero]);
    assert_eq!(summary.defects.iter().next().unwrap().offset, 16_384);
    assert!(!summary.is_damaged());
}

#[test]
fn wrong_lengths_are_told() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.fill_until(0);
    let bytes = writer.segments()[0].1.clone();
    let verdict = |bytes: &[u8]| decode(options(&writer, SegmentNo(5)), bytes);
    for cut in [0, 1, 39, 40, 41, 8192, 100_001, (1 << 20) - 1] {
        let summary = verdict(&bytes[..cut]);
        assert_eq!(kinds(&summary), [DefectKind::ShortSegment], "{cut}");
        assert_eq!(summary.edges.end, SegmentEnd::Damaged);
    }
    let mut long = bytes.clone();
    long.push(0);
    assert_eq!(kinds(&verdict(&long)), [DefectKind::LongSegment]);
}

#[test]
fn data_may_end_anywhere_in_a_partial_segment() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.fill_until(300_000);
    let last = writer.prev;
    let end = writer.at;
    let whole = writer.segments()[0].1.clone();
    let mut options = options(&writer, SegmentNo(5));
    options.partial = true;
    // Zeros behind; the file cut there; another segment's old contents behind.
    let used = (end - 5 * (1 << 20)) as usize;
    let mut recycled = Writer::new(V15, 1, 8192, 3);
    recycled.fill_until(0);
    let mut mixed = recycled.segments()[0].1.clone();
    mixed[..used].copy_from_slice(&whole[..used]);
    for bytes in [&whole[..], &whole[..used], &mixed] {
        let summary = decode(options.clone(), bytes);
        assert_eq!(kinds(&summary), []);
        let SegmentEnd::EndOfData { at, .. } = summary.edges.end else { panic!("{:?}", summary.edges.end) };
        assert_eq!(at, Lsn(end));
        assert_eq!(summary.edges.last_record, Some(Lsn(last)));
    }
    // But damage before the end is damage.
    let mut damaged = mixed.clone();
    damaged[300_000] ^= 4;
    let summary = decode(options.clone(), &damaged);
    assert_eq!(summary.defects.count(), 1, "{:?}", summary.defects);
    assert!(matches!(summary.edges.end, SegmentEnd::EndOfData { at, .. } if at == Lsn(end)));
}

#[test]
fn a_live_file_that_was_never_written_to_has_no_data() {
    let mut old = Writer::new(V15, 1, 8192, 3);
    old.fill_until(0);
    let mut options = options(&old, SegmentNo(5));
    options.partial = true;
    let summary = decode(options, &old.segments()[0].1);
    assert_eq!(kinds(&summary), [DefectKind::PageAddress]);
    assert_eq!(summary.used_until(), Lsn(5 << 20));
    assert_eq!((summary.records, summary.edges.last_record), (0, None));
}

#[test]
fn recycled_pages_are_told() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.fill_until(0);
    let mut old = Writer::new(V15, 1, 8192, 3);
    old.fill_until(0);
    let mut bytes = writer.segments()[0].1.clone();
    bytes[524_288..].copy_from_slice(&old.segments()[0].1[524_288..]);
    let summary = decode(options(&writer, SegmentNo(5)), &bytes);
    let first = summary.defects.iter().next().unwrap();
    assert_eq!((first.kind, first.offset), (DefectKind::PageAddress, 524_288));
    assert_eq!(first.found, 3 * (1 << 20) + 524_288);
    assert_eq!(summary.defects.count(), 64);
}

#[test]
fn timelines_follow_the_ancestry() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.fill_until(600_000);
    let switch = writer.at;
    writer.timeline = 3;
    writer.fill_until(0);
    let (number, bytes) = writer.segments().remove(0);
    let history = format!("1\t{}\tno reason\n", Lsn(switch));
    let history = TimelineHistory::parse(TimelineId::new(3).unwrap(), history.as_bytes()).unwrap();
    let mut options = options(&writer, number);
    assert_eq!(kinds(&decode(options.clone(), &bytes)), []);
    options.ancestry = Some(Ancestry::of(&history));
    let summary = decode(options.clone(), &bytes);
    assert_eq!(kinds(&summary), []);
    assert_eq!((summary.edges.first_timeline, summary.edges.last_timeline), (1, 3));
    // With a switch point one page later, one page is of the wrong timeline.
    let history = format!("1\t{}\tno reason\n", Lsn(switch + 8192));
    let history = TimelineHistory::parse(TimelineId::new(3).unwrap(), history.as_bytes()).unwrap();
    options.ancestry = Some(Ancestry::of(&history));
    assert_eq!(kinds(&decode(options, &bytes)), [DefectKind::PageTimeline]);
}

#[test]
fn copies_of_the_switch_segment_are_compared_up_to_the_switch() {
    let mut parent = Writer::new(V15, 1, 8192, 5);
    parent.fill_until(600_000);
    let switch = Lsn(parent.at);
    let mut child = parent.clone();
    child.timeline = 2;
    parent.fill_until(0);
    child.record(10, 0, 99, b"another life");
    child.switch();
    let verdict = |bytes: &[u8]| {
        let mut options = options(&child, SegmentNo(5));
        options.watch = vec![switch];
        decode(options, bytes)
    };
    let (left, right) = (parent.segments().remove(0).1, child.segments().remove(0).1);
    assert_eq!(compare_at_switch(&verdict(&left), &verdict(&right), switch), None);
    let mut other = right.clone();
    other[100_000] ^= 1;
    let defect = compare_at_switch(&verdict(&left), &verdict(&other), switch).unwrap();
    assert_eq!((defect.kind, defect.expected, defect.found), (StitchKind::SwitchSegment, 98_304, 106_496));
}

#[test]
fn neighbours_of_different_clusters_do_not_fit() {
    let mut left = Writer::new(V15, 1, 8192, 5);
    left.fill_until(0);
    let mut right = Writer::new(PgMajor::V16, 1, 8192, 6);
    right.system_id = SYSTEM + 1;
    right.record(10, 0, 1, b"x");
    right.switch();
    let mut stitcher = Stitcher::new();
    let plain = |number| DecodeOptions::new(TimelineId::FIRST, SegmentNo(number), left.size);
    stitcher.push(&decode(plain(5), &left.segments()[0].1).edges);
    let stitched = stitcher.push(&decode(plain(6), &right.segments()[0].1).edges);
    let kinds: Vec<StitchKind> = stitched.defects.iter().map(|defect| defect.kind).collect();
    assert_eq!(kinds, [StitchKind::SystemId, StitchKind::Magic, StitchKind::PrevLink]);
}

#[test]
fn a_gap_begins_a_new_run() {
    let mut writer = Writer::new(V15, 1, 8192, 5);
    writer.record(10, 0, 2, &vec![7; 3_500_000]);
    writer.switch();
    let mut segments = writer.segments();
    segments.remove(1);
    let (_, problems, joins) = run(&writer, &segments);
    assert_eq!(problems, Vec::<String>::new());
    assert!(joins.is_empty());
}

fn arbitrary_writer() -> impl Strategy<Value = Writer> {
    let majors = [PgMajor::V9_6, PgMajor::V11, V15, PgMajor::V18, PgMajor::V19];
    let record = prop_oneof![
        8 => 0usize..200,
        3 => 200usize..3000,
        1 => 10_000usize..90_000,
    ];
    (
        proptest::sample::select(majors.to_vec()),
        proptest::sample::select(vec![1024usize, 8192, 32_768]),
        proptest::collection::vec((record, 0u8..24, any::<u8>()), 5..60),
        any::<bool>(),
        0usize..4,
    )
        .prop_map(|(major, block, records, switch, cut_offs)| {
            let mut writer = Writer::new(major, 1, block, 2);
            writer.flags = if major < PgMajor::V19 { 4 } else { 0 };
            // Fill most of the first segment so that few records reach the second.
            writer.fill_until(120_000);
            for (index, (len, rmid, info)) in records.iter().enumerate() {
                match index % 7 {
                    3 => writer.commit(index as u32, i64::from(*info)),
                    // Other kinds of XLOG records have a meaning.
                    _ => writer.record((*rmid).max(2), *info, 0, &vec![*info; *len]),
                };
                if index < cut_offs {
                    writer.cut_off(&vec![9; 70_000], 1 + index % 2);
                }
            }
            if switch {
                writer.switch();
                writer.record(10, 0, 3, &[1; 100]);
            }
            writer.switch();
            writer
        })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn what_a_server_writes_is_fine_in_pieces_of_any_size(writer in arbitrary_writer(), sizes in proptest::collection::vec(1usize..50_000, 1..9)) {
        let segments = writer.segments();
        let (summaries, problems, _) = run(&writer, &segments);
        prop_assert_eq!(problems, Vec::<String>::new());
        let mut sizes = sizes.iter().cycle();
        for ((number, bytes), summary) in segments.iter().zip(&summaries) {
            let mut decoder = SegmentDecoder::new(options(&writer, *number));
            let mut rest = &bytes[..];
            while !rest.is_empty() {
                let (piece, more) = rest.split_at(rest.len().min(*sizes.next().unwrap()));
                decoder.push(piece);
                rest = more;
            }
            prop_assert_eq!(&decoder.finish().0, summary);
        }
    }

    #[test]
    fn every_flipped_bit_is_found(writer in arbitrary_writer(), flips in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), 0u8..8), 12)) {
        let segments = writer.segments();
        let used: Vec<usize> = segments.iter().map(|(number, bytes)| {
            let used = decode(options(&writer, *number), bytes).used_until().0 - number.start(writer.size).0;
            used as usize
        }).collect();
        for (which, at, bit) in flips {
            let which = which.index(segments.len());
            let at = at.index(used[which]);
            if at % writer.block == 2 && bit == 2 && writer.major < PgMajor::V19 {
                continue; // BKP_REMOVABLE: nothing depends on it
            }
            let position = segments[which].0.start(writer.size).0 + at as u64;
            let cut_off = writer.cut_offs.iter().any(|(start, end)| (*start..*end).contains(&position));
            if cut_off && at % writer.block >= 24 {
                continue;
            }
            let mut damaged = segments.clone();
            damaged[which].1[at] ^= 1 << bit;
            let (_, problems, _) = run(&writer, &damaged);
            prop_assert!(!problems.is_empty(), "segment {} offset {} bit {}", which, at, bit);
            // Where recovery may begin in spite of it: behind it, on a page that is whole, with all the records.
            let (summary, mut seen) = starts(options(&writer, segments[which].0), &damaged[which].1);
            if let Some(sound) = summary.sound_from.filter(|_| summary.is_damaged()) {
                let (_, mut whole) = starts(options(&writer, segments[which].0), &segments[which].1);
                let page_end = (at / writer.block + 1) * writer.block + segments[which].0.start(writer.size).0 as usize;
                prop_assert!(sound.0 > position, "{} {} offset {} bit {}", sound, Lsn(position), at, bit);
                prop_assert!(at % writer.block >= 24 || sound.0 >= page_end as u64, "{} offset {}", sound, at);
                prop_assert!(at >= 40, "the first page's header is always read");
                seen.retain(|start| *start >= sound.0);
                whole.retain(|start| *start >= sound.0);
                prop_assert_eq!(seen, whole);
            }
        }
    }

    #[test]
    fn page_headers_are_checked_bit_by_bit(writer in arbitrary_writer(), page in any::<prop::sample::Index>(), bit in 0usize..40 * 8) {
        let segments = writer.segments();
        let mut damaged = segments.clone();
        let (number, bytes) = &mut damaged[0];
        let used = decode(options(&writer, *number), bytes).used_until().0 - number.start(writer.size).0;
        let page = page.index((used as usize).div_ceil(writer.block));
        let bit = if page > 0 { bit % (24 * 8) } else { bit };
        if bit == 16 + 2 && writer.major < PgMajor::V19 {
            return Ok(());
        }
        bytes[page * writer.block + bit / 8] ^= 1 << (bit % 8);
        let summary = decode(options(&writer, *number), bytes);
        let (_, problems, _) = run(&writer, &damaged);
        // All but what the first page continues is seen without the neighbours.
        prop_assert!(!problems.is_empty() && (page == 0 || !summary.defects.is_empty()), "page {} bit {}", page, bit);
    }
}

/// What a fuzzer calls: any bytes as a segment, with options taken from them too.
fn fuzz_seeds() -> Vec<Vec<u8>> {
    let mut writer = Writer::new(V15, 1, 1024, 5);
    writer.fill_until(1_000_000);
    writer.cut_off(&vec![3; 5000], 2);
    writer.record(10, 0, 1, &[5; 9000]);
    writer.commit(5, 7);
    writer.switch();
    let bytes = writer.segments().remove(0).1;
    vec![bytes[..80_000].to_vec(), bytes]
}

#[test]
fn mutated_segments_are_read_without_panic() {
    let seeds = fuzz_seeds();
    let mut state = 0x1234_5678_9ABC_DEF0u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..300 {
        let mut bytes = seeds[round % seeds.len()].clone();
        let used = bytes.len().min(80_000) as u64;
        for _ in 0..1 + random() % 20 {
            let at = (random() % used) as usize;
            bytes[at] = match random() % 4 {
                0 => 0,
                1 => 0xFF,
                _ => random() as u8,
            };
        }
        if random().is_multiple_of(4) {
            bytes.truncate((random() % used) as usize);
        }
        fuzz_one(&bytes);
    }
    fuzz_one(&[]);
}

#[test]
fn versions_and_magics_agree() {
    assert_eq!(magic_of_major(V15), Some(0xD110));
    assert_eq!(SegmentSize::DEFAULT.bytes(), 16 << 20);
}
