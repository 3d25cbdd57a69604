//! The WAL decoder and stitcher against segments of real servers, intact and damaged.
#![cfg(feature = "codecs")]

mod wal_support;

use wal_support::{Random, Segment};
use walproof::model::{Lsn, TimelineId};
use walproof::wal::{
    Ancestry, DecodeOptions, DefectKind, SegmentDecoder, SegmentEnd, SegmentSummary, Stitcher, compare_at_switch,
};

fn options(segment: &Segment, ancestries: &[Ancestry]) -> DecodeOptions {
    let size = segment.header.segment_size().unwrap();
    let mut options = DecodeOptions::new(segment.name.timeline, segment.name.number(size).unwrap(), size);
    options.partial = segment.partial;
    options.system_id = Some(segment.header.system_id);
    options.major = segment.header.major();
    options.ancestry = ancestries.iter().find(|ancestry| ancestry.timeline() == segment.name.timeline).cloned();
    options.digest = true;
    options
}

fn decode(options: DecodeOptions, bytes: &[u8]) -> SegmentSummary {
    let mut decoder = SegmentDecoder::new(options);
    for piece in bytes.chunks(1 << 16) {
        decoder.push(piece);
    }
    decoder.finish().0
}

fn problems(summary: &SegmentSummary) -> Vec<String> {
    summary.defects.iter().map(ToString::to_string).collect()
}

#[test]
fn intact_archives_have_no_defect_and_end_where_the_writer_said() {
    for archive in wal_support::PLAIN_ARCHIVES {
        let Some(expected) = wal_support::expected(archive) else { continue };
        let ancestries = wal_support::ancestries(archive);
        let mut stitcher = Stitcher::new();
        let mut segments = 0;
        wal_support::each_segment(archive, |segment| {
            let summary = decode(options(&segment, &ancestries), &segment.bytes);
            assert_eq!(problems(&summary), Vec::<String>::new(), "{archive} {}", segment.name);
            assert_eq!(segment.header.system_id.to_string(), expected["system_identifier"].as_str().unwrap());
            if segment.partial {
                assert!(matches!(summary.edges.end, SegmentEnd::EndOfData { .. }));
                return;
            }
            let stitched = stitcher.push(&summary.edges);
            assert_eq!(stitched.defects, [], "{archive} {}", segment.name);
            let known = expected["segments"]
                .as_array()
                .unwrap()
                .iter()
                .find(|known| known["object"].as_str().unwrap().starts_with(&format!("wal_005/{}", segment.name)));
            if let Some(used) = known.and_then(|known| known["used_to_lsn"].as_str()) {
                assert_eq!(summary.used_until(), used.parse().unwrap(), "{archive} {}", segment.name);
            }
            segments += 1;
        });
        assert!(segments >= 5, "{archive}: {segments} segments");
    }
}

#[test]
fn last_commits_agree_with_what_the_client_saw() {
    let archive = "walg-lz4-pg15";
    let Some(expected) = wal_support::expected(archive) else { return };
    let marks = expected["marks"].as_array().unwrap();
    let mut checked = 0;
    wal_support::each_segment(archive, |segment| {
        let summary = decode(options(&segment, &[]), &segment.bytes);
        let end = summary.edges.number.end(summary.edges.size);
        let inside = |mark: &&serde_json::Value| {
            let at: Lsn = mark["lsn"].as_str().unwrap().parse().unwrap();
            at >= summary.edges.number.start(summary.edges.size) && at < end
        };
        // A mark is taken after its rows were committed, so no commit before it is later than it.
        for mark in marks.iter().filter(inside) {
            let at: Lsn = mark["lsn"].as_str().unwrap().parse().unwrap();
            let time: walproof::model::Timestamp = mark["time"].as_str().unwrap().parse().unwrap();
            let first = summary.times.first_transaction.unwrap();
            assert!(first.lsn > at || first.time.timestamp().unwrap() <= time, "{} {first:?}", segment.name);
            checked += 1;
        }
    });
    assert!(checked > 10, "{checked}");
}

#[test]
fn the_switch_segments_of_a_fork_are_equal_up_to_the_switch() {
    let archive = "walg-zstd-pg17-timelines";
    if wal_support::tarball(archive).is_none() {
        return;
    }
    let ancestries = wal_support::ancestries(archive);
    let switches = [Lsn(0x901_6440), Lsn(0x700_0090)];
    let mut summaries = Vec::new();
    wal_support::each_segment(archive, |segment| {
        let mut options = options(&segment, &ancestries);
        options.watch = switches.to_vec();
        summaries.push((segment.name.to_string(), segment.partial, decode(options, &segment.bytes)));
    });
    let find = |name: &str, partial: bool| {
        &summaries.iter().find(|(known, is_partial, _)| known == name && *is_partial == partial).unwrap().2
    };
    let (parent, child) = (find("000000010000000000000009", true), find("000000020000000000000009", false));
    assert_eq!(parent.used_until(), switches[0]);
    assert_eq!(compare_at_switch(parent, child, switches[0]), None);
    assert_eq!((child.edges.first_timeline, child.edges.last_timeline), (1, 2));
    let (parent, child) = (find("000000010000000000000007", false), find("000000030000000000000007", false));
    assert_eq!(compare_at_switch(parent, child, switches[1]), None);
    assert_ne!(parent.content, child.content);
    // The path of recovery into timeline 3 holds together.
    let mut stitcher = Stitcher::new();
    for name in ["000000010000000000000006", "000000030000000000000007", "000000030000000000000008"] {
        assert_eq!(stitcher.push(&find(name, false).edges).defects, [], "{name}");
    }
    // One that mixes the branches does not.
    stitcher.reset();
    stitcher.push(&find("000000010000000000000008", false).edges);
    assert!(!stitcher.push(&find("000000030000000000000009", false).edges).defects.is_empty());
}

/// Every flipped bit of the written part must show, without a look at the neighbours unless it is in the record
/// that the first page continues.
#[test]
fn flipped_bits_are_found() {
    for (archive, seed) in [("walg-none-pg15", 1u64), ("walg-zstd-pg17-timelines", 2), ("walg-zstd-pg18-seg1m", 3)] {
        let ancestries = wal_support::ancestries(archive);
        let mut random = Random(seed);
        wal_support::each_segment(archive, |mut segment| {
            if segment.partial {
                return;
            }
            let options = options(&segment, &ancestries);
            let intact = decode(options.clone(), &segment.bytes);
            let used = intact.used_until().0 - options.number.start(options.size).0;
            // Behind the switch there are zeros; a few pages of them are as good as all.
            let carried = 40 + u64::from(intact.edges.carry_in.here_bytes);
            for _ in 0..if used > 1 << 20 { 6 } else { 24 } {
                let at = random.below(used);
                let bit = random.below(8) as u32;
                if at % 8192 == 2 && bit == 2 || (40..carried).contains(&at) {
                    continue;
                }
                segment.bytes[at as usize] ^= 1 << bit;
                let summary = decode(options.clone(), &segment.bytes);
                assert!(summary.is_damaged(), "{archive} {} offset {at} bit {bit}", segment.name);
                segment.bytes[at as usize] ^= 1 << bit;
            }
        });
    }
}

#[test]
fn a_swapped_or_foreign_segment_is_told() {
    let mut segments = Vec::new();
    wal_support::each_segment("walg-zstd-pg18-seg1m", |segment| segments.push(segment));
    let [first, second, ..] = &segments[..] else { return };
    let swapped = decode(options(first, &[]), &second.bytes);
    assert_eq!(swapped.defects.iter().next().unwrap().kind, DefectKind::PageAddress);
    let mut foreign = options(first, &[]);
    foreign.system_id = Some(1);
    assert!(decode(foreign, &first.bytes).defects.iter().all(|defect| defect.kind.is_foreign()));
    let mut other = options(first, &[]);
    other.timeline = TimelineId::new(2).unwrap();
    assert_eq!(
        problems(&decode(other.clone(), &first.bytes)),
        Vec::<String>::new(),
        "an ancestor's page may lie there"
    );
    other.ancestry = Some(Ancestry::none(other.timeline));
    assert_eq!(decode(other, &first.bytes).defects.iter().next().unwrap().kind, DefectKind::PageTimeline);
}

/// Real segments with a few bytes changed: whatever comes out, it comes out.
#[test]
fn mutated_segments_are_read_without_panic() {
    let mut random = Random(99);
    wal_support::each_segment("walg-zstd-pg18-seg1m", |segment| {
        for _ in 0..8 {
            let mut bytes = segment.bytes.clone();
            for _ in 0..1 + random.below(30) {
                let at = random.below(200_000) as usize;
                bytes[at] = [0, 0xFF, random.below(256) as u8][random.below(3) as usize];
            }
            bytes.truncate(random.below(2 << 20) as usize);
            walproof::wal::fuzz_one(&bytes);
            walproof::page::fuzz_one(&bytes[..bytes.len().min(100_000)]);
        }
    });
}
