//! A segment of another cluster, or of another segment size, lies in this archive.
//!
//! **Fires** when the first page of a segment carries another system identifier or segment size than the archive around
//! it, and for names that no cluster with this segment size writes. `audit` reads the first pages of each backup's start
//! segment, of the ends of each run, and on both sides of places where upload times run backwards; `verify` reads all.
//!
//! **Why it matters.** Two clusters archive into one prefix, or a new cluster overwrote the WAL of an older one. PostgreSQL
//! ends recovery at the first foreign segment without an error.
//!
//! **Severity.** Critical. Info where a cluster of a higher major version took over in time and in position: that is
//! `pg_upgrade` into the same prefix.
//!
//! **What to do.** Give each cluster a prefix of its own, and take a base backup of the present cluster now.

use std::collections::BTreeMap;

use crate::catalog::FirstPage;
use crate::catalog::evidence::{Damage, DamageKind};
use crate::checks::{CheckContext, Checked, Finding, NotRun, Severity, declare_rule};
use crate::model::{Known, SegmentName};

declare_rule!("WAL006", "foreign-segment", Critical, "foreign_segment.rs");

const ADVICE: &str =
    "find out which cluster writes them and give each its own prefix, then take a base backup of the present cluster";

/// Segments that `verify` read and found to be another cluster's, beside those that their first page told of before.
fn read_strangers(cx: &CheckContext<'_>, out: &mut Vec<Finding>) {
    let Some(content) = cx.evidence.content else { return };
    let known = |name: &SegmentName| cx.archive.first_pages.get(name).is_some_and(Known::is_known);
    let mut groups: BTreeMap<(&Option<String>, &Option<String>), Vec<&Damage>> = BTreeMap::new();
    for damage in content.of_kind(DamageKind::Foreign) {
        if damage.segment.as_ref().is_some_and(|segment| !known(segment)) {
            groups.entry((&damage.expected, &damage.found)).or_default().push(damage);
        }
    }
    for ((expected, found), damages) in groups {
        let Some((first, segment)) = damages.first().and_then(|damage| Some((*damage, damage.segment?))) else {
            continue;
        };
        let last = damages.last().and_then(|damage| damage.segment).unwrap_or(segment);
        let more = match damages.len() {
            1 => String::new(),
            count => format!(", and {} more segments up to {last}", count - 1),
        };
        let mut finding =
            Finding::new(&RULE, format!("wal_005/{segment}"), format!("{segment} {}{more}", first.message))
                .count(damages.len() as u64)
                .segments(segment, last)
                .objects(damages.iter().map(|damage| &damage.key))
                .advise(ADVICE);
        for (name, value) in [("expected", expected), ("found", found)] {
            if let Some(value) = value {
                finding = finding.fact(name, value.as_str());
            }
        }
        out.push(finding);
    }
}

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let archive = cx.archive;
    let before = out.len();
    for pair in archive.incarnations.windows(2) {
        let (old, new) = (&pair[0], &pair[1]);
        if let (Some(from), Some(to)) = (old.system_identifier.copied(), new.system_identifier.copied()) {
            let major = |major: Option<u32>| major.map_or("?".to_owned(), |major| major.to_string());
            out.push(
                Finding::new(
                    &RULE,
                    format!("system {to}"),
                    format!(
                        "PostgreSQL {} (system {to}) continues the archive of PostgreSQL {} (system {from}) from segment number {} on",
                        major(new.pg_major),
                        major(old.pg_major),
                        new.first.0
                    ),
                )
                .severity(Severity::Info)
                .fact("system_identifier", to.to_string())
                .fact("previous_system_identifier", from.to_string())
                .advise("nothing has to be done: recovery windows do not cross the upgrade"),
            );
        }
    }
    let mut strangers: BTreeMap<(u64, u64), Vec<(SegmentName, FirstPage)>> = BTreeMap::new();
    let mut unread = None;
    for (name, page) in &archive.first_pages {
        let page = match page {
            Known::Value(page) => page,
            Known::Unknown(why) => {
                unread.get_or_insert_with(|| format!("wal_005/{name} was not read: {why}"));
                continue;
            }
        };
        let number = name.number(archive.segment_size);
        let here = number.and_then(|number| archive.incarnation(number)).and_then(|i| i.system_identifier.copied());
        let other_id = here.is_some_and(|id| id != page.system_identifier);
        if other_id || page.segment_size != archive.segment_size.bytes() {
            strangers.entry((page.system_identifier, page.segment_size)).or_default().push((*name, *page));
        }
    }
    for ((id, size), segments) in strangers {
        let (first, _) = segments[0];
        let last = segments[segments.len() - 1].0;
        let number = first.number(archive.segment_size);
        let own = number.and_then(|number| archive.incarnation(number)).and_then(|i| i.system_identifier.copied());
        let rows: Vec<_> = segments.iter().flat_map(|(name, _)| archive.wal.at(*name)).collect();
        let what = if own.is_some_and(|own| own != id) {
            format!("was written by system {id}, the archive belongs to {}", own.unwrap_or_default())
        } else {
            format!("has segments of {size} bytes, the archive of {}", archive.segment_size.bytes())
        };
        let more = if segments.len() > 1 {
            format!(" (and {} more of those that were read)", segments.len() - 1)
        } else {
            String::new()
        };
        out.push(
            Finding::new(&RULE, format!("wal_005/{first}"), format!("{first} {what}{more}"))
                .count(segments.len() as u64)
                .segments(first, last)
                .objects(rows.iter().map(|row| archive.segment_key(row)))
                .fact("system_identifier", id.to_string())
                .fact("archive_system_identifier", own.map_or_else(|| "unknown".to_owned(), |own| own.to_string()))
                .fact("segment_size", size)
                .advise(
                    "two clusters write into this prefix, or one overwrote the other's WAL: give each its own prefix, take a \
                     base backup of the present cluster now, and run walproof verify --wal all to see which segments are whose",
                ),
        );
    }
    read_strangers(cx, out);
    for timeline in archive.wal.timelines() {
        let impossible = &archive.wal.line(timeline).impossible;
        let Some(first) = impossible.first() else { continue };
        out.push(
            Finding::new(
                &RULE,
                format!("wal_005/{first}"),
                format!(
                    "{} names on timeline {timeline} cannot come from a cluster with segments of {}, first {first}",
                    impossible.len(),
                    archive.segment_size
                ),
            )
            .count(impossible.len() as u64)
            .objects(impossible.iter().flat_map(|name| archive.wal.at(*name)).map(|row| archive.segment_key(row)))
            .fact("segment_size", archive.segment_size.bytes())
            .advise("find out which cluster writes them and give it a prefix of its own"),
        );
    }
    match unread {
        Some(why) if out.len() == before => Err(NotRun(why)),
        _ => Ok(()),
    }
}
