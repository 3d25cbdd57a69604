//! Timelines as lines of characters: WAL, backups, forks and holes against wall-clock time or position.

use super::Style;
use super::words::date;
use crate::model::{SegmentName, SegmentSize};
use crate::report::data::{ArchiveReport, Restorable, TimelineReport};

/// Timelines that are drawn; more are listed by `list` and in the JSON.
const LINES_MAX: usize = 8;

/// The characters of a drawing.
struct Ink {
    wal: char,
    backup: char,
    lost: char,
    hole: char,
    end: char,
    fork: char,
}

/// Draws the newest timelines; empty where there is nothing to see.
pub(super) fn timelines(archive: &ArchiveReport, style: &Style) -> Vec<String> {
    let ink = if style.unicode {
        Ink { wal: '━', backup: '●', lost: '○', hole: '┅', end: '▶', fork: '┗' }
    } else {
        Ink { wal: '=', backup: 'o', lost: 'x', hole: '.', end: '>', fork: '\\' }
    };
    let Some(size) = archive.wal_segment_size.and_then(|size| SegmentSize::new(size).ok()) else { return Vec::new() };
    let number = |name: &Option<String>| number(name.as_deref()?, size);
    let drawn: Vec<&TimelineReport> = archive.timelines.iter().filter(|line| line.segments > 0).collect();
    let drawn = &drawn[drawn.len().saturating_sub(LINES_MAX)..];
    let first = drawn.iter().filter_map(|line| number(&line.first)).min();
    let last = drawn.iter().filter_map(|line| number(&line.last)).max();
    let (Some(first), Some(last)) = (first, last) else { return Vec::new() };
    let columns = style.width.saturating_sub(16).clamp(20, 100);
    let width = (last - first + 1) as f64;
    let column = |segment: u64| {
        let at = (segment.saturating_sub(first)) as f64 / width * columns as f64;
        (at as usize).min(columns)
    };
    // Up to where the next segment would begin, so that neighbouring runs touch.
    let cover = |from: u64, to: u64| column(from)..column(to + 1).max(column(from) + 1).min(columns);
    let newest = drawn.iter().map(|line| line.id).max();
    let mut lines = Vec::new();
    for line in drawn {
        let mut cells = vec![' '; columns];
        for run in &line.runs {
            let ends = self::number(&run.first, size).zip(self::number(&run.last, size));
            if let Some((from, to)) = ends {
                cells[cover(from, to)].fill(ink.wal);
            }
        }
        for gap in &line.gaps {
            let ends = self::number(&gap.first, size).zip(self::number(&gap.last, size));
            if let Some((from, to)) = ends {
                cells[cover(from, to)].fill(ink.hole);
            }
        }
        if line.forked_at.is_some()
            && let Some(begin) = number(&line.first)
        {
            cells[column(begin).min(columns - 1)] = ink.fork;
        }
        for backup in archive.backups.iter().filter(|backup| backup.timeline == line.id) {
            if let Some(lsn) = backup.start_lsn {
                let mark = if backup.restorable == Restorable::No { ink.lost } else { ink.backup };
                cells[column(lsn.segment(size).0).min(columns - 1)] = mark;
            }
        }
        if Some(line.id) == newest
            && let Some(end) = number(&line.last)
        {
            let at = column(end + 1).saturating_sub(1).min(columns - 1);
            if cells[at] == ink.wal {
                cells[at] = ink.end;
            }
        }
        let text: String = cells.into_iter().collect();
        let dead =
            archive.findings.iter().any(|f| f.code == "TLI004" && f.facts.get("timeline") == Some(&line.id.into()));
        let word = if dead { "  dead branch" } else { "" };
        lines.push(format!("TL{:<3} {}{word}", line.id, text.trim_end()));
    }
    if let Some(scale) = scale(archive, size, columns, &column) {
        lines.push(format!("      {scale}"));
    }
    lines
}

fn number(name: &str, size: SegmentSize) -> Option<u64> {
    Some(SegmentName::parse(name.as_bytes())?.number(size)?.0)
}

/// Dates below the backups that have room for one.
fn scale(archive: &ArchiveReport, size: SegmentSize, columns: usize, column: &dyn Fn(u64) -> usize) -> Option<String> {
    let mut cells = vec![' '; columns + 10];
    let mut free = 0;
    let mut last = String::new();
    for backup in &archive.backups {
        let (Some(lsn), Some(time)) = (backup.start_lsn, backup.finished_at) else { continue };
        let at = column(lsn.segment(size).0);
        let label = date(time)[5..].to_owned();
        if at < free || label == last {
            continue;
        }
        for (offset, c) in label.chars().enumerate() {
            cells[at + offset] = c;
        }
        free = at + label.len() + 2;
        last = label;
    }
    (free > 0).then(|| cells.into_iter().collect::<String>().trim_end().to_owned())
}
