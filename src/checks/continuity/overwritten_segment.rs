//! A versioned bucket holds several contents of one WAL key.
//!
//! **Fires** when versions of one WAL object are whole and differ in what recovery reads, that is up to a switch record;
//! or when the current version is damaged and an older one is whole.
//!
//! **Near miss.** Another ETag alone proves nothing: an encrypted object that is uploaded again has another one, and so has
//! one that `archive_command` sent twice. `verify` reads such versions and compares them; equal ones are an info, and so
//! is an older version that is damaged where the current one is whole.
//!
//! **Why it matters.** Two servers archive into one prefix, or a tool overwrote a segment. Which of the contents is the right
//! one decides whether recovery can pass.
//!
//! **When it runs.** With `verify` on stores that keep versions (S3, GCS), for the segments that are read or proven.
//! `--versions always` lists them without reading content, too: the rule passes where the store itself says that all versions
//! have the same bytes. `--versions never` asks for none. Listing needs `s3:ListBucketVersions`, reading older versions
//! `s3:GetObjectVersion`.
//!
//! **What to do.** Compare both versions with `pg_wal` of the server and bring the right one back.

use crate::catalog::evidence::{Overwritten, VersionVerdict};
use crate::checks::{CheckContext, Checked, Finding, NotRun, Severity, declare_rule};

declare_rule!("WAL005", "overwritten-segment", Error, "overwritten_segment.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let Some(seen) = cx.evidence.versions else {
        return Err(NotRun("older versions of objects were not listed (--verify, --versions always)".to_owned()));
    };
    let before = out.len();
    for object in &seen.overwritten {
        match &object.verdict {
            VersionVerdict::Differ { other } => out.push(differing(object, other)),
            VersionVerdict::CurrentDamaged { whole } => out.push(replaced(object, whole)),
            _ => {}
        }
    }
    let equal: Vec<&Overwritten> = seen.of(|verdict| *verdict == VersionVerdict::Equal).collect();
    let older: Vec<&Overwritten> = seen.of(|verdict| *verdict == VersionVerdict::OlderDamaged).collect();
    harmless(&equal, "stored more than once, in versions that hold the same WAL", out);
    harmless(&older, "stored more than once, and only older versions are damaged", out);
    let unread: Vec<(&Overwritten, &str)> = seen
        .overwritten
        .iter()
        .filter_map(|object| match &object.verdict {
            VersionVerdict::NotCompared(why) => Some((object, why.as_str())),
            _ => None,
        })
        .collect();
    let open = unread.len() as u64 + seen.left_out;
    if open > 0 {
        let subject = unread.first().map_or_else(|| "wal_005".to_owned(), |(object, _)| object.key.to_string());
        let why = unread.first().map_or("there are too many", |(_, why)| why);
        let message = match open {
            1 => format!("a segment was overwritten, and its versions were not compared: {why}"),
            _ => format!("{open} segments were overwritten, and their versions were not compared: {why}"),
        };
        out.push(
            Finding::new(&RULE, subject, message)
                .severity(Severity::Info)
                .count(open)
                .objects(unread.iter().map(|(object, _)| &object.key))
                .advise("see that older versions can be read, then compare them: walproof verify"),
        );
    }
    match &seen.unlisted {
        None => Ok(()),
        // What was not seen must not vanish behind what was.
        Some(why) if out.len() > before => {
            out.push(
                Finding::new(&RULE, "wal_005", format!("not all versions were listed: {why}")).severity(Severity::Info),
            );
            Ok(())
        }
        Some(why) => Err(NotRun(why.clone())),
    }
}

fn about(object: &Overwritten, message: String) -> Finding {
    Finding::new(&RULE, format!("wal_005/{}", object.segment), message)
        .segments(object.segment, object.segment)
        .objects([&object.key])
        .fact("timeline", object.segment.timeline.get())
        .fact("versions", object.versions)
        .fact("current_version", object.current.as_str())
}

fn differing(object: &Overwritten, other: &str) -> Finding {
    let Overwritten { segment, versions, .. } = object;
    about(object, format!("{segment} was overwritten: its {versions} versions hold different WAL"))
        .fact("other_version", other)
        .advise(
            "compare both versions with pg_wal of the server and bring the right one back; if two servers archive here, \
             give each a prefix of its own and take a base backup now",
        )
}

fn replaced(object: &Overwritten, whole: &str) -> Finding {
    let segment = object.segment;
    about(object, format!("the current version of {segment} is damaged, an older one is whole: {whole}"))
        .fact("whole_version", whole)
        .advise("bring the older version back: copy it over the current one")
}

fn harmless(objects: &[&Overwritten], what: &str, out: &mut Vec<Finding>) {
    let Some((first, last)) = objects.first().zip(objects.last()) else { return };
    let message = match objects.len() {
        1 => format!("{} is {what}", first.segment),
        count => format!("{count} segments from {} on are {what}", first.segment),
    };
    out.push(
        Finding::new(&RULE, format!("wal_005/{}", first.segment), message)
            .severity(Severity::Info)
            .count(objects.len() as u64)
            .segments(first.segment, last.segment)
            .objects(objects.iter().map(|object| &object.key)),
    );
}
