//! History files or backup metadata expire while data that needs them lives.
//!
//! **Fires** when, under the bucket's rules, timeline history files or a backup's small files live shorter than the backups
//! that need them; and for each history file that is there and goes before a backup that has to cross into its timeline.
//!
//! **Near miss.** A rule with a size floor (`ObjectSizeGreaterThan`), which leaves history files alone.
//!
//! **Why it matters.** A history file is written once, at the promotion. Without it no recovery from an older backup finds
//! the timeline. A backup without its sentinel is invisible, though its data is there.
//!
//! **What to do.** Leave them out: by a size floor on S3, by suffix on Google Cloud Storage.

use std::collections::BTreeMap;

use super::date;
use crate::checks::{CheckContext, Checked, Finding, declare_rule};
use crate::model::ObjectKey;
use crate::policy::outlook::End;

declare_rule!("LFC005", "metadata-expires", Error, "metadata_expires.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    super::told(cx, &RULE, out)?;
    let outlook = cx.outlook()?;
    let mut by_file: BTreeMap<&ObjectKey, (&End, Vec<&str>)> = BTreeMap::new();
    let histories: Vec<&ObjectKey> =
        cx.archive.histories.values().flat_map(|file| &file.objects).map(|object| &object.key).collect();
    for (backup, ahead) in cx.archive.backups.iter().zip(&outlook.backups) {
        if let Some(end) = ahead.reach_ends.as_ref().filter(|end| histories.contains(&&end.object)) {
            by_file.entry(&end.object).or_insert((end, Vec::new())).1.push(&backup.name);
        }
    }
    for (file, (end, backups)) in by_file {
        out.push(
            Finding::new(
                &RULE,
                file.to_string(),
                format!(
                    "{} from {} on: {} older backups that live longer cannot cross into its timeline then",
                    outlook.reason(end),
                    date(end.at),
                    backups.len()
                ),
            )
            .count(backups.len() as u64)
            .objects(backups)
            .time_fact("at", Some(end.at))
            .advise("leave history files out of the rule: by a size floor on S3, by suffix on Google Cloud Storage"),
        );
    }
    Ok(())
}
