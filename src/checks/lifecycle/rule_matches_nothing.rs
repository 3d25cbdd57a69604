//! A rule's prefix matches no object: probably a typo.
//!
//! **Fires** when an enabled rule names a prefix inside the archive that none of its objects has. What else lies in the
//! bucket is not listed, so a prefix outside the archive is not judged.
//!
//! **Near miss.** A rule for `wal_005/` while there is WAL, however old it has to be to expire.
//!
//! **Why it matters.** Nothing is cleaned up, or, worse, the one who wrote it believes that something is protected.
//!
//! **What to do.** Compare the prefix with the keys: no leading slash, no wildcard, case matters.

use crate::checks::{CheckContext, Checked, Finding, declare_rule};

declare_rule!("LFC010", "rule-matches-nothing", Warning, "rule_matches_nothing.rs");

fn check(cx: &CheckContext<'_>, out: &mut Vec<Finding>) -> Checked {
    let outlook = cx.outlook()?;
    for number in &outlook.unmatched {
        let Some(rule) = outlook.bucket.rules.get(*number) else { continue };
        let name = outlook.bucket.rules.name(*number);
        out.push(
            Finding::new(
                &RULE,
                format!("rule \"{name}\""),
                format!("rule \"{name}\" matches no object of the archive ({}): probably a typo", rule.filter),
            )
            .fact("rule_ids", vec![name])
            .advise("compare the prefix with the keys: no leading slash, no wildcard, case matters"),
        );
    }
    Ok(())
}
